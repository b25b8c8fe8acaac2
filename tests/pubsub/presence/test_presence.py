"""Presence over real sockets."""

from __future__ import annotations

import threading
from typing import Any

import gevent
import pytest
from kit.sites.rooms import Room, read_messages

from geventws import ConnectionClosed, PreparedMessage, PubSub, connect
from geventws.pubsub.interface import Event


class Envelope:
    """A form that shows events."""

    def message(self, topic: str, message: PreparedMessage, position: str | None) -> PreparedMessage:
        return message

    def event(self, topic: str, event: Event) -> PreparedMessage | None:
        return PreparedMessage(f"{event.kind} {event.member} {event.info}")


class Quiet(Envelope):
    """One whose subscribers hear of nobody."""

    def event(self, topic: str, event: Event) -> PreparedMessage | None:
        return None


@pytest.fixture
def room(serve: Any) -> Room:
    site = Room(serve)
    site.pubsub = PubSub(presence_grace=0.05)
    return site


def test_others_hear_who_joins_and_leaves(room: Room) -> None:
    room.open()
    heard: list[Any] = []
    pubsub = room.pubsub
    pubsub.on_join = lambda *what: heard.append(("join", *what))
    pubsub.on_leave = lambda *what: heard.append(("leave", *what))
    raw, listener, quiet, one = room.connect(), room.connect([]), room.connect([]), room.connect([])
    pubsub.subscribe_as(room.members[1], "room", Envelope())
    pubsub.subscribe_as(room.members[2], "room", Quiet())
    pubsub.track(room.members[3], "room", "ana", {"age": 5})
    pubsub.track(room.members[3], "room", "ana", {"age": 6})
    assert pubsub.presence("room") == {"ana": {"age": 6}} and pubsub.presence("other") == {}
    one.leave()
    assert read_messages(listener, 3) == ["join ana {'age': 5}", "join ana {'age': 6}", "leave ana {'age': 6}"]
    assert pubsub.presence("room") == {}
    pubsub.publish("room", "last")
    assert [client.read_message() for client in (raw, listener, quiet)] == ["last"] * 3
    assert heard == [(kind, "room", "ana", {"age": age}) for kind, age in (("join", 5), ("join", 6), ("leave", 6))]


def test_one_who_reconnects_has_not_left(room: Room) -> None:
    room.pubsub = PubSub(presence_grace=30)
    room.open()
    listener, first = room.connect([]), room.connect([])
    pubsub = room.pubsub
    pubsub.subscribe_as(room.members[0], "room", Envelope())
    pubsub.track(room.members[1], "room", "ana")
    first.leave()
    room.wait_until(lambda: pubsub._presence._waking is not None)
    room.connect([])
    pubsub.track(room.members[2], "room", "ana")
    assert pubsub.untrack(room.members[2], "room") is True and pubsub.untrack(room.members[2], "room") is False
    assert read_messages(listener, 2) == ["join ana None", "leave ana None"]
    pubsub._presence._timer.stop()


def test_who_leaves_while_others_wait_is_seen_to_in_time(room: Room) -> None:
    room.open()
    listener, *others = (room.connect([]) for _ in range(4))
    room.pubsub.subscribe_as(room.members[0], "room", Envelope())
    for number in range(3):
        room.pubsub.track(room.members[number + 1], "room", str(number))
    for client in others:
        client.leave()
        gevent.sleep(0.01)
    assert read_messages(listener, 6) == [f"{kind} {number} None" for kind in ("join", "leave") for number in range(3)]


def test_what_may_not_be_tracked(room: Room) -> None:
    room.pubsub = PubSub(max_topic_length=5)
    room.open()
    room.connect([])
    (ws,), track = room.members, room.pubsub.track
    for member, info, error, words in (
        ("", None, ValueError, "1 to 256 characters"),
        ("x" * 257, None, ValueError, "1 to 256 characters, not 257"),
        (b"x", None, TypeError, "a member is str, not bytes"),
        ("x", "x" * 4095, ValueError, "at most 4096 bytes as JSON, not 4097"),
        ("x", object(), TypeError, "JSON serializable"),
        ("x", [[]] * 10**5, ValueError, "4096 bytes"),
    ):
        with pytest.raises(error, match=words):
            track(ws, "room", member, info)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 to 5 characters"):
        track(ws, "longer", "x")
    track(ws, "room", "x", "x" * 4094)
    assert room.pubsub.untrack(ws, "room")
    ws.close()
    with pytest.raises(ConnectionClosed):
        track(ws, "room", "x")
    assert room.pubsub.presence("room") == {}


def test_what_the_application_raises_harms_nobody(room: Room, log: Any) -> None:
    room.open()
    listener = room.connect([])
    room.pubsub.subscribe_as(room.members[0], "room", Envelope())

    def fail(*what: Any) -> None:
        raise RuntimeError

    room.pubsub.on_join = room.pubsub.on_leave = fail
    room.pubsub.track(room.members[0], "room", "ana")
    room.pubsub.untrack(room.members[0], "room")
    assert read_messages(listener, 2) == ["join ana None", "leave ana None"]
    assert ["internal error" in record.getMessage() for record in log()] == [True, True]


def test_members_of_two_loops_are_in_one_topic(room: Room) -> None:
    room.open()
    listener = room.connect([])
    room.pubsub.subscribe_as(room.members[0], "room", Envelope())
    pubsub, port, go = room.pubsub, room.site.port, threading.Event()

    def serve_there() -> None:
        with connect(f"ws://127.0.0.1:{port}/?none") as ws:
            pubsub.track(ws, "room", "there")
            while not go.is_set():
                gevent.sleep(0.001)
        while pubsub.presence("room") != {"here": None}:
            gevent.sleep(0.001)
        gevent.sleep(0.1)
        gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=serve_there)
    thread.start()
    assert listener.read_message() == "join there None"
    pubsub.track(room.members[0], "room", "here")
    assert pubsub.presence("room") == {"there": None, "here": None}
    go.set()
    assert read_messages(listener, 2) == ["join here None", "leave there None"]
    gevent.get_hub().threadpool.apply(thread.join)
