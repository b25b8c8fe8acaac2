"""What others send to one connection: in its turn where a message is sent in parts, and single messages."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit.sites.rooms import SMALL, Room, message, number_of, read_numbers

from geventws import ConnectionClosed, PubSub, SendResult, broadcast
from geventws.websocket import get_connection


@pytest.fixture
def room(serve: Any) -> Room:
    return Room(serve)


def test_a_message_in_parts_is_not_interrupted(room: Room) -> None:
    room.open()
    client = room.connect()
    (ws,) = room.members
    go_on = Event()

    def parts() -> Any:
        yield "a"
        go_on.wait()
        yield "b"

    sending = gevent.spawn(ws.send, parts())
    gevent.sleep(0)
    room.pubsub.publish("room", "between")
    assert ws.try_send("single").value == "queued"
    later = gevent.spawn(ws.send, "behind")
    gevent.sleep(0)
    assert room.pubsub.stats.queued == 1
    go_on.set()
    gevent.joinall([sending, later], raise_error=True)
    received = [client.read_frame() for _ in range(6)]
    assert [frame.payload for frame in received] == [b"a", b"b", b"", b"between", b"single", b"behind"]
    assert [frame.fin for frame in received] == [False, False, True, True, True, True]
    assert room.pubsub.stats.sent == 1


def test_what_the_parts_themselves_publish_does_not_interrupt_them(room: Room) -> None:
    """Neither before nor after the last part has anybody had to wait."""
    room.open()
    client = room.connect()

    def parts() -> Any:
        room.pubsub.publish("room", "1st")
        yield "a"
        room.pubsub.publish("room", "2nd")
        yield "b"
        room.pubsub.publish("room", "3rd")

    room.members[0].send(parts())
    received = [client.read_frame() for _ in range(6)]
    assert [frame.payload for frame in received] == [b"a", b"b", b"", b"1st", b"2nd", b"3rd"]


def test_what_waits_for_a_message_in_parts_goes_with_its_connection(room: Room) -> None:
    room.open()
    client = room.connect()
    (ws,) = room.members

    def parts() -> Any:
        yield "a"
        room.pubsub.publish("room", "between")
        gevent.sleep(0)
        client.reset()
        ws.ended.wait()
        yield "b"

    with pytest.raises(ConnectionClosed):
        ws.send(parts())
    assert room.pubsub.stats.abandoned == room.pubsub.stats.published == 1


def test_single_messages_may_be_sent_without_waiting(room: Room) -> None:
    room.open()
    slow = room.connect([], receive_buffer=SMALL)
    (ws,) = room.members
    drained = Event()
    assert ws.on_drain is None and ws.buffered_amount == 0
    ws.on_drain = lambda whose: drained.set() if whose is ws else None
    results = []
    while not results or results[-1] is not SendResult.DROPPED:
        results.append(ws.try_send(message(len(results))))
    sent, queued = results.count(SendResult.SENT), results.count(SendResult.QUEUED)
    assert results == [SendResult.SENT] * sent + [SendResult.QUEUED] * queued + [SendResult.DROPPED]
    assert sent and 60 <= queued <= 66 and (queued - 1) * 1000 < ws.buffered_amount <= 64 * 1024
    assert not drained.is_set()
    assert read_numbers(slow, sent + queued - 1) == list(range(sent + queued))
    drained.wait()
    assert ws.buffered_amount == 0 and ws.try_send("last") is SendResult.SENT
    ws.on_drain = None
    assert slow.read_message() == "last" and ws.on_drain is None


def test_what_on_drain_raises_is_reported(room: Room, hub_errors: list[BaseException], log: Any) -> None:
    room.open()
    slow = room.connect([], receive_buffer=SMALL)
    (ws,) = room.members

    def fail(_ws: Any) -> None:
        raise ValueError("on_drain failed")

    ws.on_drain = fail
    count = 0
    while ws.try_send(message(count)) is SendResult.SENT:
        count += 1
    read_numbers(slow, count)
    ws.send("still here")
    assert slow.read_message() == "still here"
    room.wait_until(lambda: bool(hub_errors or log()))
    hub_errors.clear()


def test_a_message_in_parts_is_not_interrupted_where_the_peer_takes_nothing(room: Room) -> None:
    room.open()
    slow = room.connect(receive_buffer=SMALL)
    (ws,) = room.members
    sending = gevent.spawn(ws.send, (b"part" * 2500 for _ in range(400)))
    room.wait_until(lambda: get_connection(ws).stream.blocked)
    room.pubsub.publish("room", "between")
    assert ws.try_send("single") is SendResult.QUEUED and room.pubsub.stats.queued == 1
    received = [slow.read_frame() for _ in range(403)]
    assert [frame.opcode for frame in received] == [2, *[0] * 400, 1, 1]
    assert [frame.payload for frame in received[-2:]] == [b"between", b"single"]
    sending.get()


@pytest.mark.parametrize("host", ["blocking", "tls"])
@pytest.mark.parametrize("size", [4, 5000, 50_000])
def test_nothing_follows_the_close_frame_of_one_that_is_too_slow(
    room: Room, secure: Any, size: int, host: str
) -> None:
    """It was sent before anybody knew: the kernel refuses both what is published, and what is sent after that."""
    room.pubsub = PubSub(max_queue=1)
    room.open(host, secure)
    slow = room.connect(receive_buffer=SMALL)
    (ws,) = room.members
    room.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    for number in range(2):
        room.pubsub.publish("room", message(number, 4 if number else 60_000))
    with pytest.raises(ConnectionClosed) if size > 4 else nullcontext():
        ws.send(message(2, size))
    gevent.sleep(0)
    assert ws.closed and room.pubsub.stats[:5] == (2, 0, 1, 0, 1)
    assert number_of(slow.read_message()) == 0
    slow.expect_close(1013, "too slow")


def test_what_was_broadcast_goes_before_a_close_frame_whole(room: Room) -> None:
    room.open()
    slow = room.connect([], receive_buffer=SMALL)
    (ws,) = room.members
    room.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    reading = gevent.spawn(lambda: (number_of(slow.read_message()), slow.expect_close(4000)))
    assert broadcast([ws], message(1, 60_000)) == 1
    ws.close(4000)
    assert reading.get() == (1, "")
