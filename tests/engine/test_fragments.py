"""Messages that are sent in parts, and whose turn it is meanwhile."""

from __future__ import annotations

from collections import UserDict

import gevent
import pytest
from gevent.event import Event
from kit import frames

from geventws import ConcurrencyError, ConnectionClosed


@pytest.mark.parametrize("parts", [["a", "é", ""], [b"a", bytearray(b"b"), memoryview(b"c")]])
def test_the_parts_of_a_message_are_its_fragments(join, parts):
    client = join(lambda ws: ws.send(iter(parts)))
    frames = [client.read_frame() for _ in range(len(parts) + 1)]
    encoded = [part.encode() if isinstance(part, str) else bytes(part) for part in parts]
    assert [frame.payload for frame in frames] == [*encoded, b""]
    assert [frame.opcode for frame in frames] == [1 if isinstance(parts[0], str) else 2, 0, 0, 0]
    assert [frame.fin for frame in frames] == [False, False, False, True]
    client.expect_close(1000)


def test_no_parts_are_no_message(join):
    client = join(lambda ws: ws.send([]))
    client.expect_close(1000)


def test_each_part_goes_when_it_comes_and_nothing_comes_between(join):
    go = Event()

    def handler(ws):
        def parts():
            yield "a"
            go.wait()
            yield "b"

        senders = [gevent.spawn(ws.send, parts())]
        gevent.sleep(0)
        senders.append(gevent.spawn(ws.send, "second"))
        gevent.joinall(senders, raise_error=True)

    client = join(handler)
    client.expect(b"\x01\x01a")
    client.send(frames.frame(frames.PING, b"p"))
    client.expect(b"\x8a\x01p")  # control frames may stand between fragments (RFC 6455 5.4)
    go.set()
    client.expect(b"\x00\x01b\x80\x00\x81\x06second")
    client.expect_close(1000)


@pytest.mark.parametrize(
    ("parts", "error"), [(["a", b"b"], TypeError), (["a", 1], TypeError), (["a", ValueError()], ValueError)]
)
def test_a_message_that_cannot_be_finished_ends_the_connection(join, parts, error):
    def produce():
        for part in parts:
            if isinstance(part, Exception):
                raise part
            yield part

    def handler(ws):
        with pytest.raises(error):
            ws.send(produce())
        with pytest.raises(ConnectionClosed):
            ws.send("more")

    client = join(handler)
    client.expect(b"\x01\x01a")
    client.expect_close(1011, "a message was not finished")


@pytest.mark.parametrize("wrong", [[1, 2], [ValueError()], {"a": 1}, UserDict(a="b"), {"a"}, {"a": 1}.keys(), 5, None])
def test_a_message_of_which_nothing_was_sent_costs_nothing(join, wrong):
    def produce():
        for part in wrong:
            if isinstance(part, Exception):
                raise part
            yield part

    def handler(ws):
        with pytest.raises((TypeError, ValueError)):
            ws.send(produce() if isinstance(wrong, list) else wrong)
        ws.send("more")

    client = join(handler)
    client.expect(b"\x81\x04more")
    client.expect_close(1000)


@pytest.mark.parametrize("wrong", [{"a": 1}, frozenset({"a", "b"}), 5])
def test_what_is_no_message_is_named_with_the_call_for_it(join, wrong):
    """A dict's keys, and what a set holds in no order, are not parts."""

    def handler(ws):
        with pytest.raises(TypeError, match=f"not {type(wrong).__name__}; send_json sends JSON$"):
            ws.send(wrong)

    join(handler).expect_close(1000)


def test_a_part_of_another_type_is_named(join):
    def handler(ws):
        with pytest.raises(TypeError, match="a part of a message is str or bytes-like, not int"):
            ws.send([1])

    join(handler).expect_close(1000)


def test_a_part_may_not_send_a_message_itself(join):
    caught = []

    def handler(ws):
        def parts():
            yield "a"
            with pytest.raises(ConcurrencyError) as error:
                ws.send("within")
            caught.append(error)
            yield "b"

        ws.send(parts())

    client = join(handler)
    client.expect(b"\x01\x01a\x00\x01b\x80\x00")
    client.expect_close(1000)
    assert caught


def test_a_large_message_in_one_frame_waits_for_its_turn(join):
    """It is sent past the parts' protocol, and still not between them."""
    go = Event()

    def handler(ws):
        def parts():
            yield "a"
            go.wait()

        senders = [gevent.spawn(ws.send, parts())]
        gevent.sleep(0)
        senders.append(gevent.spawn(ws.send, bytes(100_000)))
        gevent.sleep(0)
        go.set()
        gevent.joinall(senders, raise_error=True)

    client = join(handler)
    client.expect(b"\x01\x01a\x80\x00")
    assert client.read_message() == bytes(100_000)
    client.expect_close(1000)


def test_the_connection_ends_while_others_wait_for_their_turn(join):
    def handler(ws):
        def parts():
            yield "a"
            ended.wait()

        ended, codes = ws.ended, []

        def send(message):
            with pytest.raises(ConnectionClosed) as caught:
                ws.send(message)
            codes.append(caught.value.code)

        gevent.joinall([gevent.spawn(send, parts()), gevent.spawn(send, "second")])
        return codes

    seen = []
    client = join(lambda ws: seen.extend(handler(ws)))
    client.expect(b"\x01\x01a")
    client.reset()
    client.site.settle()
    assert seen == [1006, 1006]
