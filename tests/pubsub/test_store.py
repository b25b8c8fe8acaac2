"""History over real sockets: what was missed, and what is sent, each message once and in order."""

from __future__ import annotations

import threading
from typing import Any

import gevent
import pytest
from kit import frames
from kit.sites.rooms import Room, read_messages

from geventws import PubSub, Recovered


@pytest.fixture
def room(serve: Any) -> Room:
    site = Room(serve)
    site.pubsub = PubSub(history={"room*": (100, 300)})
    return site


def test_one_who_comes_back_gets_what_it_missed(room: Room) -> None:
    pubsub = room.pubsub
    room.open()
    first, _other = room.connect([]), room.connect()
    ws = room.members[0]
    begin = pubsub.subscribe(ws, "room")
    assert begin == Recovered([], begin.position, False) and begin.position is not None
    pubsub.publish("room", "1")
    pubsub.unsubscribe(ws, "room")
    pubsub.publish("room", "2")
    pubsub.publish("room", b"3", exclude=room.members[1])
    missed = pubsub.subscribe(ws, "room", since=begin.position)
    assert (missed.messages, missed.gap) == (["1", "2", b"3"], False)
    pubsub.publish("room", "4")
    assert read_messages(first, 2) == ["1", "4"]
    assert pubsub.history("room", missed.position).messages == ["4"]
    assert pubsub.history("room", limit=2).messages == [b"3", "4"]
    assert pubsub.subscribe(ws, "room", "latest", since="unknown:3") == Recovered(
        ["1", "2", b"3", "4"], pubsub.history("room").position, True
    )


def test_without_history_one_who_comes_back_has_a_gap(room: Room) -> None:
    room.open()
    room.connect()
    (ws,) = room.members
    assert room.pubsub.subscribe(ws, "plain") == room.pubsub.history("plain") == Recovered([], None, False)
    assert room.pubsub.subscribe(ws, "plain", since="a:1") == Recovered([], None, True)
    with pytest.raises(ValueError, match="a limit is 0 or more"):
        room.pubsub.history("room", limit=-1)
    with pytest.raises(ValueError, match="1 to 256 characters"):
        room.pubsub.history("")


def test_what_nobody_hears_is_kept(room: Room) -> None:
    assert room.pubsub.publish("room", "1") == 0
    assert room.pubsub.history("room").messages == ["1"]


def test_a_topic_whose_subscribers_have_left_is_unwatched(room: Room) -> None:
    room.open()
    clients = [room.connect(["room:1", "room:2"]) for _ in range(2)]
    assert room.pubsub._store._watchers == {"room:1": 1, "room:2": 1}
    for client in clients:
        client.leave()
    room.wait_until(lambda: room.pubsub.count("room:1") == 0)
    assert room.pubsub._store._watchers == {}


def test_what_native_threads_have_left_comes_before_what_is_published_here(room: Room) -> None:
    """And one who subscribes in between gets it once: here it was missed."""
    room.open()
    client, late = room.connect(), room.connect(topics=[])
    begin = room.pubsub.history("room").position

    def publish() -> None:
        for number in range(5):
            room.pubsub.publish("room", f"thread {number}", exclude=room.members[0] if number == 3 else None)

    thread = threading.Thread(target=publish)
    thread.start()
    thread.join()  # the loop has no turn meanwhile
    room.pubsub.publish("room", "here")
    missed = room.pubsub.subscribe(room.members[1], "room", since=begin)
    assert missed.messages == [*[f"thread {number}" for number in range(5)], "here"]
    room.pubsub.unsubscribe(room.members[1], "room")
    thread = threading.Thread(target=publish)
    thread.start()
    thread.join()
    assert room.pubsub.subscribe(room.members[1], "room", since=missed.position).messages == missed.messages[:5]
    room.pubsub.publish("room", "last")
    heard = [f"thread {number}" for number in (0, 1, 2, 4)]
    assert read_messages(client, 10) == [*heard, "here", *heard, "last"]
    assert late.read_message() == "last"


def test_a_thread_and_the_loop_publish_by_turns(room: Room) -> None:
    """What was published before its turn is not looked at again: each time would double the work."""
    room.open()
    client = room.connect()
    for number in range(0, 80, 2):
        thread = threading.Thread(target=room.pubsub.publish, args=("room", str(number)))
        thread.start()
        thread.join()  # the loop has no turn meanwhile
        room.pubsub.publish("room", str(number + 1))
    assert read_messages(client, 80) == [str(number) for number in range(80)]
    assert room.pubsub.stats.sent == room.pubsub.stats.published == 80


def test_what_native_threads_publish_past_the_bound_is_a_gap(room: Room, monkeypatch: Any) -> None:
    monkeypatch.setattr("geventws.pubsub.branches.waiting.MOST_WAITING", 3)
    room.open()
    client = room.connect()
    gaps: list[str] = []
    room.pubsub.on_gap = gaps.append

    def publish() -> None:
        for number in range(5):
            room.pubsub.publish("room", str(number))

    for _ in range(2):
        thread = threading.Thread(target=publish)
        thread.start()
        thread.join()
        assert read_messages(client, 3) == ["0", "1", "2"]
    gevent.sleep(0)
    assert gaps == ["room", "room"]
    thread = threading.Thread(target=publish)
    thread.start()
    thread.join()
    room.pubsub.publish("room", "here")
    assert read_messages(client, 4) == ["0", "1", "2", "here"]
    gevent.sleep(0.01)
    assert gaps == ["room"] * 3


def test_the_first_to_subscribe_may_be_a_callback_that_has_no_environ_any_more(room: Room) -> None:
    room.on_message = lambda ws, topic: room.pubsub.subscribe(ws, topic) and None
    room.open("callbacks")
    client = room.connect([])
    client.send(frames.text("room"))
    room.wait_until(lambda: room.pubsub.count("room") == 1)
    room.pubsub.publish("room", "message")
    assert client.read_message() == "message"
