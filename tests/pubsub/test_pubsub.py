"""PubSub over real sockets: who gets what, in which order, from where, and until when. See also test_slow.py."""

from __future__ import annotations

import errno
from typing import Any

import gevent
import pytest
from kit import frames
from kit.sites.echoes import HOSTS
from kit.sites.rooms import Room, read_messages

from geventws import (
    ConcurrencyError,
    ConnectionClosed,
    PreparedMessage,
    PubSub,
    broadcast,
)
from geventws.websocket import get_connection


@pytest.fixture
def room(serve: Any) -> Room:
    return Room(serve)


@pytest.mark.parametrize("host", HOSTS)
def test_a_message_reaches_all_subscribers(room: Room, host: str, secure: Any) -> None:
    room.open(host, secure)
    clients = [room.connect() for _ in range(3)]
    for message in ("text", b"binary", "", "x" * 70_000, PreparedMessage("prepared"), bytearray(b"a buffer")):
        assert room.pubsub.publish("room", message) == 3
        expected = message.payload.decode() if isinstance(message, PreparedMessage) else message
        assert [client.read_message() for client in clients] == [expected] * 3
    stats = room.pubsub.stats
    assert (stats.published, stats.sent, stats.queued, stats.dropped, stats.abandoned) == (18, 18, 0, 0, 0)
    assert (stats.topics, stats.subscriptions) == (1, 3)


def test_a_message_reaches_nobody_else(room: Room) -> None:
    room.open()
    one, other = room.connect(topics=["a"]), room.connect(topics=["a", "b"])
    assert room.pubsub.publish("nothing", "lost") == 0
    assert room.pubsub.publish("b", "for b") == 1
    assert room.pubsub.publish("a", "for others", exclude=room.members[1]) == 1
    assert room.pubsub.publish("b", "for nobody", exclude=room.members[1]) == 0
    assert room.pubsub.publish("b", "not a member", exclude=room.members[0]) == 1
    assert room.pubsub.publish("a", "for a") == 2
    assert [one.read_message() for _ in range(2)] == ["for others", "for a"]
    assert [other.read_message() for _ in range(3)] == ["for b", "not a member", "for a"]
    assert room.pubsub.stats.published == room.pubsub.stats.sent == 5


def test_what_a_pubsub_tells(room: Room) -> None:
    room.open()
    for _ in range(2):
        room.connect(topics=["a", "b"])
    pubsub, (one, other) = room.pubsub, room.members
    assert pubsub.topics(one) == ["a", "b"] and PubSub().topics(one) == []
    assert pubsub.unsubscribe(one, "a") is True and pubsub.unsubscribe(one, "a") is False
    assert (pubsub.count("a"), pubsub.count("b"), pubsub.count("c")) == (1, 2, 0)
    assert pubsub.subscribers("a") == [other] and pubsub.subscribers("b") == [one, other] != pubsub.subscribers("c")
    assert PubSub().stats == (*(0,) * 7, None)


def test_what_is_published_and_sent_leaves_in_the_order_of_the_calls(room: Room) -> None:
    room.open()
    clients = [room.connect(topics=["a", "b"]) for _ in range(2)]
    one, other = room.members
    pubsub = room.pubsub
    one.send("1")
    pubsub.publish("a", "2")
    one.send("3")
    pubsub.publish("b", "4", exclude=other)
    pubsub.publish("a", "5")
    one.ping(b"6")
    pubsub.unsubscribe(one, "a")
    pubsub.publish("a", "for the other")
    one.send("7" * 20_000)
    one.send(iter(["8", ""]))
    pubsub.publish("b", "9")
    pubsub.subscribe(one, "c")
    broadcast([one], "10")
    gevent.spawn(one.close, 1000, "11")
    gevent.sleep(0)
    pubsub.publish("b", "for the other")
    received = [clients[0].read_frame() for _ in range(12)]
    assert [frame.payload[:1] for frame in received[:8]] == [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8"]
    assert [frame.payload for frame in received[8:]] == [b"", b"", b"9", b"10"]
    clients[0].expect_close(1000, "11")
    assert read_messages(clients[1], 5) == ["2", "5", "for the other", "9", "for the other"]


def test_the_order_holds_among_what_is_corked(room: Room) -> None:
    """A handler that has more messages to take corks what it sends."""
    room.open()
    clients = [room.connect() for _ in range(2)]
    publish = room.pubsub.publish
    room.on_message = lambda ws, message: (ws.send(f"{message} to you"), publish("room", f"{message} to all"))
    clients[0].send(b"".join(frames.text(str(number)) for number in range(20)))
    expected = [f"{number} to {whom}" for number in range(20) for whom in ("you", "all")]
    assert read_messages(clients[0], 40) == expected
    assert read_messages(clients[1], 20) == expected[1::2]


def test_many_handlers_of_one_batch_publish_and_send_in_order(room: Room) -> None:
    room.open()
    clients = [room.connect() for _ in range(12)]
    room.on_message = lambda ws, message: (ws.send(f"{message} to you"), room.pubsub.publish("room", message))
    for number, client in enumerate(clients):
        client.send(frames.text(str(number)) * 3)
    for number, client in enumerate(clients):
        received = read_messages(client, 3 * 13)
        assert [message for message in received if message.endswith("you")] == [f"{number} to you"] * 3
        mine = [message for message in received if message.split(" ")[0] == str(number)]
        assert mine == [f"{number} to you", str(number)] * 3


def test_leaving_is_automatic(room: Room) -> None:
    room.open()
    pubsub = room.pubsub
    by_close, by_end, by_reset, by_us, stays = (room.connect() for _ in range(5))
    by_close.leave()
    by_end.shut_down()
    by_reset.reset()
    gevent.spawn(room.members[3].close, 1000)
    by_us.expect_close(1000)
    room.wait_until(lambda: pubsub.count("room") == 1)
    assert pubsub.publish("room", "left alone") == 1 and stays.read_message() == "left alone"
    assert pubsub.topics(room.members[3]) == [] and pubsub.stats.subscriptions == 1
    with pytest.raises(ConnectionClosed):
        pubsub.subscribe(room.members[3], "room")
    assert pubsub.unsubscribe(room.members[3], "room") is False
    stays.leave()
    room.wait_until(lambda: pubsub.count("room") == 0)
    assert pubsub.stats.topics == 0


def test_a_publisher_leaves_as_soon_as_it_has_begun_to_close(room: Room) -> None:
    room.open()
    client = room.connect()
    (ws,) = room.members
    room.pubsub.publish("room", "before")
    closing = gevent.spawn(ws.close, 1000)
    gevent.sleep(0)
    assert room.pubsub.count("room") == 0 and room.pubsub.publish("room", "behind") == 0
    assert client.read_message() == "before"
    client.expect_close(1000)
    closing.join()


# Mistakes


def test_what_may_not_be_subscribed_to(room: Room) -> None:
    room.pubsub = PubSub(max_topics=2, max_topic_length=5)
    room.open()
    room.connect(topics=["a", "b"])
    (ws,) = room.members
    with pytest.raises(ValueError, match=r"may subscribe to at most 2 topics \(max_topics\)"):
        room.pubsub.subscribe(ws, "c")
    for topic in ("", "longer"):
        with pytest.raises(ValueError, match="1 to 5 characters"):
            room.pubsub.subscribe(ws, topic)
    with pytest.raises(TypeError, match="a topic is str, not bytes"):
        room.pubsub.subscribe(ws, b"a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a policy is one of close, drop_newest, drop_oldest, latest, not 'block'"):
        room.pubsub.subscribe(ws, "a", "block")
    with pytest.raises(TypeError, match="str or bytes-like"):
        room.pubsub.publish("a", 5)  # type: ignore[arg-type]
    assert room.pubsub.topics(ws) == ["a", "b"]


def test_a_connection_is_subscribed_in_its_own_thread(room: Room, in_thread: Any) -> None:
    room.open()
    room.connect()
    (ws,) = room.members

    def work() -> None:
        for call in (room.pubsub.subscribe, room.pubsub.unsubscribe):
            with pytest.raises(ConcurrencyError):
                call(ws, "room")
        with pytest.raises(ConcurrencyError):
            broadcast([ws], "message")
        with pytest.raises(ConcurrencyError):
            ws.try_send("message")

    in_thread(work)


def test_a_subscriber_whose_socket_somebody_has_closed_is_nobody(room: Room) -> None:
    """Its number may be another file's by then, which must not get a byte."""
    room.open()
    client, other = room.connect(), room.connect()
    room.sockets[0]._sock.close()
    assert room.pubsub.publish("room", "message") == 2
    assert other.read_message() == "message"
    assert room.pubsub.stats.sent == room.pubsub.stats.abandoned == 1
    client.close()
    get_connection(room.members[0]).receive_eof(errno.EBADF)
