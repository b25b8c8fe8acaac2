"""The branches of a PubSub: one for each loop, and native threads that publish."""

from __future__ import annotations

import socket
import threading
from typing import Any

import gevent
import pytest
from kit import frames
from kit.sites.echoes import check
from kit.sites.rooms import SMALL, Room, message, number_of, read_messages

from geventws import ConnectionClosed, PubSub, WebSocketWSGI
from geventws.protocol.permessage_deflate import Deflate


@pytest.fixture
def room(serve: Any) -> Room:
    return Room(serve)


def test_a_native_thread_may_publish(room: Room, in_thread: Any) -> None:
    room.open()
    clients = [room.connect() for _ in range(3)]

    def work() -> list[int]:
        return [room.pubsub.publish("room", str(number), exclude=room.members[2]) for number in range(100)]

    assert in_thread(work) == [3] * 100
    for client in clients[:2]:
        assert read_messages(client, 100) == [str(number) for number in range(100)]
    room.pubsub.publish("room", "last")
    assert [client.read_message() for client in clients] == ["last"] * 3
    assert room.pubsub.stats.published == room.pubsub.stats.sent == 203


def test_what_a_native_thread_publishes_past_the_bound_is_dropped(room: Room, monkeypatch: Any) -> None:
    """The loop does nothing meanwhile, so that everything has to wait."""
    monkeypatch.setattr("geventws.pubsub.branches.waiting.MOST_WAITING", 10)
    room.open()
    client = room.connect()
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.extend(room.pubsub.publish("room", str(n)) for n in range(15)))
    thread.start()
    thread.join()
    assert counts == [1] * 10 + [0] * 5
    assert room.pubsub.stats.dropped == room.pubsub.stats.published == 5
    assert read_messages(client, 10) == [str(number) for number in range(10)]
    assert room.pubsub.stats.published == 15 and room.pubsub.stats.sent == 10


def test_what_native_threads_publish_is_bounded_in_bytes_too(room: Room, monkeypatch: Any) -> None:
    monkeypatch.setattr("geventws.pubsub.branches.waiting.MOST_WAITING_BYTES", 1000)
    room.open()
    client = room.connect()
    counts: list[int] = []
    for _ in range(2):  # what has been published makes room again
        counts.clear()
        thread = threading.Thread(target=lambda: counts.extend(room.pubsub.publish("room", "x" * 400) for _ in "12345"))
        thread.start()
        thread.join()
        assert counts == [1, 1, 1, 0, 0]
        assert read_messages(client, 3) == ["x" * 400] * 3
    stats = room.pubsub.stats
    assert (stats.published, stats.sent, stats.dropped) == (10, 6, 4)


def test_one_that_cannot_be_published_costs_no_other(room: Room, monkeypatch: Any, log: Any) -> None:
    room.open()
    client = room.connect()
    branch = room.pubsub._branches.get()
    publish = branch.publish

    def fail_once(*arguments: Any) -> int:
        monkeypatch.setattr(branch, "publish", publish)
        raise MemoryError

    monkeypatch.setattr(branch, "publish", fail_once)
    thread = threading.Thread(target=lambda: [room.pubsub.publish("room", str(n)) for n in range(3)])
    thread.start()
    thread.join()
    assert read_messages(client, 2) == ["1", "2"]
    assert ["internal error" in record.getMessage() for record in log()] == [True]


def test_many_of_them_are_published_in_turns(room: Room, monkeypatch: Any) -> None:
    monkeypatch.setattr("geventws.engine.loop.turns.TURN", 0.0)
    room.open()
    client = room.connect()
    thread = threading.Thread(target=lambda: [room.pubsub.publish("room", str(n)) for n in range(20)])
    thread.start()
    thread.join()
    published = []
    while (sent := room.pubsub.stats.published) < 20:
        published.append(sent)
        gevent.get_hub().wait(gevent.get_hub().loop.timer(0))
    assert len(set(published)) > 5  # others have had their turn in between
    assert read_messages(client, 20) == [str(n) for n in range(20)]


@pytest.mark.parametrize("host", ["blocking", "callbacks"])
def test_a_handler_that_publishes_for_each_message_leaves_others_their_turns(
    room: Room, serve: Any, monkeypatch: Any, host: str
) -> None:
    """It has hundreds of messages at hand, and nothing that it calls blocks."""
    room.open(host)
    room.on_message = lambda ws, message: room.pubsub.publish("room", message)
    for _ in range(40):
        room.connect()
    greedy = room.connect(topics=[])
    honest = serve(WebSocketWSGI(lambda ws: [ws.send(message) for message in ws])).connect()
    check(honest)
    monkeypatch.setattr("geventws.engine.loop.turns.TURN", 0.0)
    greedy.send(b"".join(frames.text(f"{number:03}") for number in range(400)))
    room.wait_until(lambda: room.pubsub.stats.published > 0)
    before = room.pubsub.stats.published
    check(honest)
    assert before < 20 * 40 and room.pubsub.stats.published - before < 20 * 40
    room.wait_until(lambda: room.pubsub.stats.sent == 400 * 40)
    assert read_messages(room.site._clients[0], 400) == [f"{number:03}" for number in range(400)]
    greedy.leave()
    honest.leave()


def test_who_was_too_slow_for_what_is_on_its_way_does_not_subscribe(room: Room) -> None:
    room.pubsub = PubSub(max_queue=1)
    room.open()
    slow = room.connect(receive_buffer=SMALL)
    (ws,) = room.members
    room.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    for number in range(2):
        room.pubsub.publish("room", message(number, 4 if number else 60_000))
    assert not ws.closed
    with pytest.raises(ConnectionClosed):
        room.pubsub.subscribe(ws, "other")
    assert ws.closed and room.pubsub.publish("other", "after the close frame") == room.pubsub.stats.topics == 0
    assert number_of(slow.read_message()) == 0
    slow.expect_close(1013, "too slow")


def test_what_cannot_be_compressed_is_not_counted(room: Room, monkeypatch: Any) -> None:
    def fail(self: Deflate, payload: bytes) -> bytes:
        raise MemoryError

    room.open()
    client = room.connect(sec_websocket_extensions="permessage-deflate")
    with monkeypatch.context() as patch:
        patch.setattr(Deflate, "encode", fail)
        with pytest.raises(MemoryError):
            room.pubsub.publish("room", "x" * 10_000)
    assert room.pubsub.publish("room", "next") == 1
    assert client.read_message() == "next" and room.pubsub.stats[:5] == (1, 1, 0, 0, 0)
