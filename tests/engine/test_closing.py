"""WebSocket.close and WebSocket.ping: what they promise a handler, and what the peer sees of them."""

from __future__ import annotations

import time

import gevent
import pytest
from gevent.event import Event
from kit import frames
from kit.sites.rooms import SMALL, Room

from geventws import ConnectionClosed

# close


def test_close_is_idempotent_and_the_first_one_counts(inside):
    def handler(ws):
        ws.close(4001, "first")
        ws.close(4002, "second")
        ws.close()
        return ws.close_code, ws.close_reason, ws.closed

    assert inside(handler, lambda client: client.expect_close(4001, "first")) == (4001, "first", True)


def test_close_from_many_greenlets_at_once(inside):
    def handler(ws):
        reader = gevent.spawn(ws.wait)
        closers = [gevent.spawn(ws.close, 4000 + n) for n in range(5)]
        done = gevent.joinall([reader, *closers], timeout=5)
        return len(done), reader.value, ws.close_code

    assert inside(handler, lambda client: client.expect_close(4000)) == (6, None, 4000)


def test_close_is_bounded_by_close_timeout(inside):
    """What comes of it is known here alone: other tests look at when it comes, and that it does."""

    def handler(ws):
        begin = time.monotonic()
        ws.close()
        return time.monotonic() - begin, (ws.close_code, ws.close_reason, ws.closed)

    def client(client):
        client.expect(b"\x88\x02\x03\xe8")
        client.rest()  # and no answer

    seconds, seen = inside(handler, client, close_timeout=0.1)
    assert 0.05 < seconds < 1.5
    assert seen == (1006, "the peer did not answer the close frame (close_timeout)", True)


def test_a_rule_broken_after_our_close_ends_it(inside):
    """RFC 6455 7.1.7: nothing more is processed, so there is no reply to wait for."""

    def handler(ws):
        ws.close()
        return ws.close_code

    def client(client):
        client.expect(b"\x88\x02\x03\xe8")
        client.send(b"\xff\x80" + frames.MASK_KEY)
        assert client.rest() == b""

    assert inside(handler, client, close_timeout=None) == 1002


def test_close_is_bounded_with_a_peer_that_reads_nothing(inside):
    done = Event()

    def handler(ws):
        with gevent.Timeout(0.2, False):
            while True:
                ws.send(b"x" * 1_000_000)
        begin = time.monotonic()
        ws.close()
        done.set()
        return time.monotonic() - begin

    assert inside(handler, lambda client: done.wait(), close_timeout=0.1) < 1.5


def test_close_behind_messages_that_nobody_took(join):
    told = Event()

    def handler(ws):
        told.wait()
        ws.close(4000, "too many")

    client = join(handler)
    client.send(frames.text("x" * 1000) * 3000)
    told.set()
    begin = time.monotonic()
    client.expect_close(4000, "too many")
    assert time.monotonic() - begin < 2
    client.close()
    client.site.settle()


def test_messages_that_came_before_our_close_are_still_there(inside):
    def handler(ws):
        first = ws.wait()
        ws.close()
        return [first, *ws]

    def client(client):
        client.send(frames.text("a") + frames.text("b") + frames.text("c"))
        client.expect_close()
        client.close()

    assert inside(handler, client) == ["a", "b", "c"]


@pytest.mark.parametrize(("fails", "code"), [(False, 1000), (True, 1011)])
def test_context_manager_closes(inside, fails, code):
    def handler(ws):
        try:
            with ws as same:
                assert same is ws
                if fails:
                    raise LookupError
        except LookupError:
            pass
        return ws.closed

    assert inside(handler, lambda client: client.expect_close(code))


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going"), (1014, ""), (3000, "\u20ac" * 41), (4999, "x" * 123)]
)
def test_codes_and_reasons_reach_the_peer(inside, code, reason):
    def handler(ws):
        ws.close(code, reason)
        return ws.close_code, ws.close_reason

    assert inside(handler, lambda client: client.expect_close(code, reason)) == (code, reason)


@pytest.mark.parametrize(
    ("code", "reason", "why"),
    [(1000, "x" * 124, "123"), *((code, "", str(code)) for code in (999, 1004, 1005, 1006, 1015, 5000))],
)
def test_a_close_that_may_not_be_sent_is_an_error_and_the_connection_lives(inside, code, reason, why):
    def handler(ws):
        with pytest.raises(ValueError, match=why):
            ws.close(code, reason)
        assert not ws.closed
        ws.send("alive")

    def client(client):
        client.expect(b"\x81\x05alive")
        client.expect_close()

    inside(handler, client)


# ping


@pytest.mark.parametrize("payload", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
def test_a_ping_carries_what_is_bytes_like(join, payload):
    client = join(lambda ws: ws.ping(payload))
    assert client.read_frame() == frames.Frame(frames.PING, b"ab")
    client.expect_close()


@pytest.mark.parametrize(("payload", "error"), [("ab", TypeError), (2, TypeError), (bytes(126), ValueError)])
def test_a_ping_of_anything_else_is_an_error(join, payload, error):
    def handler(ws):
        with pytest.raises(error):
            ws.ping(payload)

    join(handler).expect_close()


def test_ping_times_the_pong(inside):
    def handler(ws):
        assert ws.latency == 0.0
        seconds = ws.ping(b"a").get(timeout=5)
        assert 0 < seconds < 5 and ws.latency == seconds
        return ws.ping().get(timeout=5)

    def client(client):
        client.expect(b"\x89\x01a")
        client.send(frames.frame(frames.PONG, b"unasked") + frames.frame(frames.PONG, b"a"))
        client.send(frames.frame(frames.PONG, client.read_frame().payload))
        client.expect_close()

    assert inside(handler, client) > 0


def test_pong_answers_all_pings_before_it(inside):
    def handler(ws):
        return [result.get(timeout=5) > 0 for result in [ws.ping(b"1"), ws.ping(b"2"), ws.ping(b"3")]]

    def client(client):
        client.expect(b"\x89\x011\x89\x012\x89\x013")
        client.send(frames.frame(frames.PONG, b"3"))
        client.expect_close()

    assert inside(handler, client) == [True] * 3


def test_pings_of_one_payload_are_both_answered(inside):
    def handler(ws):
        return [result.get(timeout=1) > 0 for result in [ws.ping(b"1"), ws.ping(b"1")]]

    def client(client):
        client.expect(b"\x89\x011\x89\x011")
        client.send(frames.frame(frames.PONG, b"1") * 2)
        client.expect_close()

    assert inside(handler, client) == [True] * 2


@pytest.mark.parametrize("count", [1, 64])
def test_ping_without_a_pong_ends_with_the_connection(inside, count):
    def handler(ws):
        pings = [ws.ping() for _ in range(count)]
        assert ws.wait() is None
        return [type(ping.get_nowait) and ping.ready() and type(ping.exception) for ping in pings]

    def client(client):
        for _ in range(count):
            assert client.read_frame().opcode == frames.PING
        client.leave()

    assert inside(handler, client) == [ConnectionClosed] * count


def test_ping_payload_is_at_most_125_bytes(inside):
    def handler(ws):
        with pytest.raises(ValueError, match="125"):
            ws.ping(b"x" * 126)
        ws.ping(b"x" * 125)

    def client(client):
        client.expect(b"\x89\x7d" + b"x" * 125)
        client.expect_close()

    inside(handler, client)


@pytest.mark.parametrize("who", ["we", "the peer"])
@pytest.mark.parametrize("size", [4, 5000, 50_000])
def test_nothing_follows_a_close_frame_that_has_overtaken_a_sender(serve, size, who):
    """It waits until the peer takes what nobody waits for any more."""
    room, errors = Room(serve), []
    room.open()
    client = room.connect(receive_buffer=SMALL)
    (ws,) = room.members

    def send(message):
        try:
            ws.send(message)
        except ConnectionClosed as error:
            errors.append(error)

    killed = gevent.spawn(send, b"x" * 8_000_000)
    gevent.sleep(0)
    killed.kill()
    sending = gevent.spawn(send, b"y" * size)
    gevent.sleep(0)
    if who == "we":
        ending = gevent.spawn(ws.close, 4000)
    else:
        client.send(frames.close(4000))
        ending = gevent.spawn(ws.ended.wait)
    room.wait_until(lambda: ws.closed)
    assert len(client.read_message()) == 8_000_000
    client.expect_close(4000, None, answer=who == "we")
    gevent.joinall([sending, ending], raise_error=True)
    assert len(errors) == 1
