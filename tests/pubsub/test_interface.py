"""Subscribers who get messages in a form: it is made once for all of them, and tells them of gaps."""

from __future__ import annotations

import threading
from typing import Any

import gevent
import pytest
from kit.sites.rooms import Room, read_messages

from geventws import PreparedMessage, PubSub
from geventws.pubsub.interface import Event


class Envelope:
    """A form that shows what it was given, and counts."""

    def __init__(self) -> None:
        self.made = 0

    def message(self, topic: str, message: PreparedMessage, position: str | None) -> PreparedMessage:
        self.made += 1
        offset = position.split(":")[1] if position is not None else None
        return PreparedMessage(f"{topic} {offset} {message.payload.decode()}")

    def event(self, topic: str, event: Event) -> PreparedMessage:
        offset = event.position.split(":")[1] if event.position is not None else None
        return PreparedMessage(f"{topic} {offset} {event.kind}")


@pytest.fixture
def room(serve: Any) -> Room:
    site = Room(serve)
    site.pubsub = PubSub(history={"room*": (100, 300)})
    return site


def test_a_form_is_made_once_for_all_who_have_it(room: Room) -> None:
    room.open()
    pubsub, envelope = room.pubsub, Envelope()
    raw, *others = (room.connect(), room.connect([]), room.connect([]))
    for ws in room.members[1:]:
        assert pubsub.subscribe_as(ws, "room", envelope).messages == []
        pubsub.subscribe_as(ws, "plain", envelope)
    assert pubsub.publish("room", "x" * 1000) == 3 and pubsub.publish("plain", "2") == 2
    assert envelope.made == 2
    assert [read_messages(client, 2) for client in others] == [["room 1 " + "x" * 1000, "plain None 2"]] * 2
    pubsub.publish("room", "3", exclude=room.members[1])
    assert read_messages(raw, 2) == ["x" * 1000, "3"] and others[1].read_message() == "room 2 3"
    assert pubsub.count("room") == 3
    assert pubsub.unsubscribe(room.members[1], "room") is True and pubsub.unsubscribe(room.members[1], "room") is False
    others[1].leave()
    room.wait_until(lambda: pubsub.count("room") == 1)
    assert pubsub.stats.published == pubsub.stats.sent == 7


def test_a_second_subscription_changes_the_form(room: Room) -> None:
    room.open()
    client = room.connect()
    room.pubsub.subscribe_as(room.members[0], "room", Envelope())
    room.pubsub.publish("room", "1")
    room.pubsub.subscribe(room.members[0], "room")
    room.pubsub.publish("room", "2")
    assert read_messages(client, 2) == ["room 1 1", "2"] and room.pubsub.count("room") == 1


def test_what_was_missed_comes_in_the_form(room: Room) -> None:
    room.open()
    room.connect([])
    (ws,), pubsub = room.members, room.pubsub
    begin = pubsub.history("room").position
    for number in range(3):
        pubsub.publish("room", str(number))
    looked = pubsub.history_as("room", Envelope(), begin)
    for found in (looked, pubsub.subscribe_as(ws, "room", Envelope(), since=begin)):
        assert [message.payload for message in found.messages] == [b"room 1 0", b"room 2 1", b"room 3 2"]
        assert (found.position, found.gap) == (pubsub.history("room").position, False)
    assert pubsub.history_as("room", Envelope(), begin, 1).messages[0].payload == b"room 1 0"
    assert pubsub.history_as("plain", Envelope(), begin) == ([], None, True)


def test_a_gap_is_told_in_the_form(room: Room, monkeypatch: Any) -> None:
    monkeypatch.setattr("geventws.pubsub.branches.waiting.MOST_WAITING", 1)
    room.open()
    raw, other = room.connect(), room.connect([])
    room.pubsub.subscribe_as(room.members[1], "room", Envelope())
    thread = threading.Thread(target=lambda: [room.pubsub.publish("room", str(number)) for number in range(3)])
    thread.start()
    thread.join()
    assert read_messages(other, 2) == ["room 1 0", "room 3 gap"]
    room.pubsub.publish("room", "after")
    assert other.read_message() == "room 4 after" and read_messages(raw, 2) == ["0", "after"]
    gevent.sleep(0)
    assert room.pubsub.stats.published == room.pubsub.stats.sent + room.pubsub.stats.dropped == 9
