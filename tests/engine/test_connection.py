"""A connection on the wire: how it replies, how it answers breaches, and how it ends."""

from __future__ import annotations

import gc
import time
import weakref

import gevent
import pytest
from gevent.event import Event
from kit import frames


def echo(ws) -> None:
    for message in ws:
        ws.send(message)


# Breaches (RFC 6455 7.1.7), and what they do to nobody else

BREACHES = {
    "unmasked": (frames.frame(frames.TEXT, "a", key=None), 1002),
    "rsv1": (frames.frame(frames.TEXT, "a", rsv=4), 1002),
    "rsv3": (frames.frame(frames.TEXT, "a", rsv=1), 1002),
    "opcode 3": (frames.frame(3), 1002),
    "opcode 15": (frames.frame(15), 1002),
    "ping in fragments": (frames.frame(frames.PING, fin=False), 1002),
    "ping of 126 bytes": (frames.frame(frames.PING, b"x" * 126), 1002),
    "nothing to continue": (frames.frame(frames.CONTINUATION, "a"), 1002),
    "message in a message": (frames.frame(frames.TEXT, "a", fin=False) + frames.text("b"), 1002),
    "length not minimal": (b"\x81\xfe\x00\x01" + frames.MASK_KEY + b"\x00", 1002),
    "length of 64 bits not minimal": (b"\x81\xff" + bytes(7) + b"\x01" + frames.MASK_KEY + b"\x00", 1002),
    "length over 63 bits": (b"\x82\xff\x80" + bytes(7) + frames.MASK_KEY, 1002),
    "close of one byte": (frames.frame(frames.CLOSE, b"\x03"), 1002),
    "close with 1005": (frames.close(1005), 1002),
    "close with 999": (frames.close(999), 1002),
    "close reason": (frames.frame(frames.CLOSE, b"\x03\xe8\xff"), 1007),
    "text": (frames.frame(frames.TEXT, b"\xff"), 1007),
    "text, early": (frames.frame(frames.TEXT, b"\xc0\x80", fin=False), 1007),
    "text, of a frame begun": (frames.frame(frames.TEXT, b"\xed\xa0\x80" + b"x" * 900)[:60], 1007),
    "text, cut": (frames.frame(frames.TEXT, b"\xe2\x82"), 1007),
    "too long": (frames.binary(b"x" * 1001)[:8], 1009),
    "far too long": (b"\x82\xff\x7f" + b"\xff" * 7 + frames.MASK_KEY, 1009),
    "too long in fragments": (
        frames.frame(frames.BINARY, b"x" * 600, fin=False) + frames.frame(0, b"x" * 401)[:8],
        1009,
    ),
}


@pytest.mark.parametrize("way", ["whole", "byte by byte", "and more"])
@pytest.mark.parametrize(("data", "code"), BREACHES.values(), ids=BREACHES)
def test_breach_is_answered_with_its_code_and_one_log_line(join, log, data, code, way):
    client = join(echo, frames.text("before"), max_message_size=1000)
    client.expect(b"\x81\x06before")
    if way == "byte by byte":
        for byte in data:
            client.send(bytes((byte,)))
            gevent.sleep(0)
    else:
        client.send(data + (frames.text("behind") * 3 if way == "and more" else b""))
    why = client.expect_close(code, None, answer=False)
    client.close()
    client.site.settle()
    (record,) = log()
    line = record.getMessage()
    assert str(code) in line and why in line and record.exc_info is None
    assert ("max_message_size" in line) == (code == 1009)


def test_breach_costs_its_own_connection_only(join):
    client = join(echo)
    other = client.site.connect()
    client.send(frames.frame(frames.TEXT, "a", key=None))
    other.send(frames.text("fine"))
    other.expect(b"\x81\x04fine")
    client.expect_close(1002, None, answer=False)
    other.leave()


def test_what_came_before_a_breach_is_answered(join):
    client = join(echo)
    client.send(frames.text("a") + frames.text("b") + frames.frame(3))
    client.expect(b"\x81\x01a\x81\x01b")
    client.expect_close(1002, None, answer=False)


def test_handler_that_does_not_wait_learns_of_a_breach(join):
    def handler(ws):
        with gevent.Timeout(5):
            while not ws.closed:
                gevent.sleep(0.01)

    client = join(handler)
    client.send(frames.frame(3))
    client.expect_close(1002, None, answer=False)
    client.close()
    client.site.settle()


# Fragments, control frames


def test_control_frames_between_fragments(join):
    client = join(echo)
    for data in (b"\x01", b"\x00", b"\x80"):
        client.send(frames.frame(data[0] & 15, "part", fin=data[0] > 127) + frames.frame(frames.PING, data))
        client.expect(b"\x8a\x01" + data)
    client.expect(b"\x81\x0cpartpartpart")
    client.leave()


@pytest.mark.parametrize("busy", ["sleeping", "sending"])
def test_pong_and_close_are_answered_while_the_handler_is_busy(join, busy):
    told = Event()

    def handler(ws):
        if busy == "sending":
            ws.send("busy")
        told.wait()
        assert ws.closed and ws.close_code == 4000
        assert ws.wait() is None

    client = join(handler)
    if busy == "sending":
        client.expect(b"\x81\x04busy")
    client.send(frames.frame(frames.PING, b"1") + frames.frame(frames.PING, b"x" * 125))
    client.expect(b"\x8a\x011\x8a\x7d" + b"x" * 125)
    client.send(frames.close(4000, "bye"))
    client.expect(b"\x88\x05\x0f\xa0bye")
    told.set()
    assert client.rest() == b""


# Ending


@pytest.mark.parametrize("who", ["client", "server"])
def test_our_side_ends_within_a_second_whether_or_not_the_peer_hangs_up(join, who):
    client = join(echo if who == "client" else lambda ws: ws.close())
    begin = time.monotonic()
    if who == "client":
        client.send(frames.close())
        client.expect(b"\x88\x02\x03\xe8")
    else:
        client.expect(b"\x88\x02\x03\xe8")
        client.send(frames.close())
    assert client.rest() == b""
    assert time.monotonic() - begin < 0.5  # the peer sees the end at once
    client.site.settle()  # though it keeps its own side open
    assert time.monotonic() - begin < 1.5


def test_peer_that_goes_on_sending_after_both_closes(join):
    client = join(echo)
    client.send(frames.close())
    client.expect_close(answer=False)
    begin = time.monotonic()
    with pytest.raises(OSError):
        while True:
            client.send(frames.binary(b"x" * 10_000))
    assert time.monotonic() - begin < 2


def test_simultaneous_close(join):
    closing = Event()

    def handler(ws):
        ws.send("now")
        closing.set()
        ws.close(4001)
        assert ws.close_code == 4002

    client = join(handler)
    closing.wait()
    client.send(frames.close(4002))
    client.expect(b"\x81\x03now")
    client.expect_close(4001, answer=False)


@pytest.mark.parametrize("how", ["reset", "close", "shut_down"])
@pytest.mark.parametrize("cut", [0, 1, 2, 5, 6, 9, -1])
def test_peer_lost_anywhere(join, log, hub_errors, how, cut):
    seen = []

    def handler(ws):
        seen.extend([ws.wait(), ws.wait(), ws.close_code])

    client = join(handler, frames.text("first"))
    client.send(frames.text("second")[:cut])
    getattr(client, how)()
    client.site.settle()
    assert seen == ["first", None, 1006] and log() == [] and hub_errors == []


# What is left


def test_nothing_refers_to_a_connection_that_is_over(join):
    references = []

    def handler(ws):
        references.append(weakref.ref(ws))
        echo(ws)

    client = join(handler, frames.text("a"))
    client.expect(b"\x81\x01a")
    client.leave()
    client.site.settle()
    gevent.sleep(0)
    gc.collect()
    assert references[0]() is None
