"""A PubSub over a bus: what goes where, and that each message comes once, whatever the bus does."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from kit.engine.relay import Relay, RelayBus
from kit.sites.rooms import Room, read_messages

from geventws import ConnectionClosed, PubSub, Recovered


class Two:
    """Two processes with a room each."""

    def __init__(self, serve: Any) -> None:
        self.relay = Relay()
        self.rooms: list[Room] = []
        self.pubsubs: list[PubSub] = []
        self.buses: list[RelayBus] = []
        for _ in range(2):
            pubsub, bus = self.relay.make(history={"room*": (5, 300)})
            room = Room(serve)
            room.pubsub = pubsub
            room.open()
            self.rooms.append(room)
            self.pubsubs.append(pubsub)
            self.buses.append(bus)


@pytest.fixture
def two(serve: Any) -> Two:
    return Two(serve)


def test_what_is_not_kept_is_delivered_here_first(two: Two) -> None:
    clients = [room.connect(["plain"]) for room in two.rooms]
    two.relay.holding = True
    assert two.pubsubs[0].publish("plain", "1", exclude=None) == 1
    assert clients[0].read_message() == "1"
    two.relay.deliver()
    assert clients[1].read_message() == "1"
    two.relay.is_down = True
    assert two.pubsubs[0].publish("plain", "2") == 1 and clients[0].read_message() == "2"
    with pytest.raises(TypeError, match="over a bus, a key is str, not int"):
        two.pubsubs[0].publish("plain", "3", key=5)


def test_what_is_kept_comes_back_with_its_position(two: Two) -> None:
    clients = [room.connect() for room in two.rooms]
    author = two.rooms[0].members[0]
    two.relay.holding = True
    assert two.pubsubs[0].publish("room", "1") == 1 and two.pubsubs[1].publish("room", b"2", exclude=None) == 1
    assert two.pubsubs[0].publish("room", "3", exclude=author) == 1
    two.pubsubs[0].publish("plain", "nobody's")
    author.send("sent meanwhile")
    two.relay.deliver()
    assert read_messages(clients[0], 3) == ["sent meanwhile", "1", b"2"]
    assert read_messages(clients[1], 3) == ["1", b"2", "3"]
    assert two.pubsubs[0].history("room").messages == two.pubsubs[1].history("room").messages == ["1", b"2", "3"]
    two.relay.is_down = True
    assert two.pubsubs[0].publish("room", "lost", exclude=author) == 0
    assert two.pubsubs[0]._store._excluded == {}


def test_one_who_comes_back_in_another_process_gets_what_it_missed(two: Two) -> None:
    two.rooms[0].connect([])
    begin = two.pubsubs[0].subscribe(two.rooms[0].members[0], "room")
    assert begin == Recovered([], "e1:0", False)
    two.pubsubs[1].publish("room", "1")
    two.pubsubs[1].publish("room", "2")
    client = two.rooms[1].connect([])
    missed = two.pubsubs[1].subscribe(two.rooms[1].members[0], "room", since="e1:1")
    assert missed == Recovered(["2"], "e1:2", False)
    two.pubsubs[0].publish("room", "3")
    assert client.read_message() == "3"


def test_all_who_come_back_while_somebody_is_there_ask_the_bus_nothing(two: Two) -> None:
    (room, _), (pubsub, _) = two.rooms, two.pubsubs
    pubsub.publish("room", "1")
    for _ in range(3):
        room.connect([])
        assert pubsub.subscribe(room.members[-1], "room", since="e1:0").messages == ["1"]
        assert pubsub.history("room").messages == ["1"]
    assert two.relay.reads == ["room"] and two.buses[0].log == [("+", "room")]
    for ws in room.members:
        pubsub.unsubscribe(ws, "room")
    assert two.buses[0].log == [("+", "room"), ("-", "room")]
    two.pubsubs[1].publish("room", "2")
    assert pubsub.history("room", "e1:1").messages == ["2"] and two.relay.reads == ["room"] * 2
    assert two.buses[0].log == [("+", "room"), ("-", "room")] * 2 and pubsub._store._watchers == {}


def test_a_bus_that_has_missed_something_fills_the_hole(two: Two) -> None:
    client = two.rooms[0].connect()
    two.pubsubs[1].publish("room", "1")
    two.buses[0].deaf = True
    for text in "234":
        two.pubsubs[1].publish("room", text)
    two.buses[0].deaf = False
    gaps: list[str] = []
    two.pubsubs[0].on_gap = gaps.append
    two.buses[0].fill("room")
    two.buses[0].fill("room")
    two.pubsubs[1].publish("room", "5")
    assert read_messages(client, 5) == list("12345") and gaps == []


def test_what_the_bus_has_lost_is_a_gap(two: Two) -> None:
    client = two.rooms[0].connect()
    gaps: list[str] = []
    two.pubsubs[0].on_gap = gaps.append
    two.pubsubs[1].publish("room", "1")
    two.buses[0].deaf = True
    for text in "2345678":  # more than are kept
        two.pubsubs[1].publish("room", text)
    two.buses[0].deaf = False
    two.buses[0].fill("room")
    assert read_messages(client, 6) == list("145678") and gaps == ["room"]
    two.relay.forget()
    two.buses[0].fill("room")
    gevent.sleep(0)
    assert gaps == ["room"] * 2 and two.pubsubs[0].history("room", "e1:8") == Recovered([], "e1x:0", True)
    two.pubsubs[1].publish("room", "new")
    two.pubsubs[1].publish("room", "newer")
    assert read_messages(client, 2) == ["new", "newer"] and gaps == ["room"] * 2
    two.relay.forget()
    two.pubsubs[1].publish("room", "newest")
    assert client.read_message() == "newest" and gaps == ["room"] * 3


def test_what_is_not_kept_and_was_missed_is_told(two: Two) -> None:
    two.rooms[0].connect(["plain"])
    gaps: list[str] = []
    two.pubsubs[0].on_gap = gaps.append
    two.buses[0].receiver.lost("plain")
    two.buses[0].receiver.lost("nobody's")
    gevent.sleep(0)
    assert gaps == ["plain"]


def test_while_the_bus_is_down_one_may_subscribe_and_learns_of_a_gap(two: Two) -> None:
    (room, _), (pubsub, _) = two.rooms, two.pubsubs
    two.pubsubs[1].publish("room", "1")
    two.relay.is_down = True
    client = room.connect([])
    assert pubsub.history("room") == Recovered([], None, True)
    assert pubsub.subscribe(room.members[0], "room", since="e1:0") == Recovered([], None, True)
    gaps: list[str] = []
    pubsub.on_gap = gaps.append
    two.relay.is_down = False
    two.buses[0].fill("room")
    two.pubsubs[1].publish("room", "2")
    assert client.read_message() == "2" and gaps == ["room"]
    assert pubsub.history("room").messages == ["1", "2"]


def test_one_whose_connection_ends_while_it_waits_for_the_bus_is_not_subscribed(two: Two) -> None:
    (room, _), (pubsub, _) = two.rooms, two.pubsubs
    client = room.connect([])
    subscribing = gevent.spawn(pytest.raises, ConnectionClosed, pubsub.subscribe, room.members[0], "room")
    client.leave()
    subscribing.get()
    assert pubsub.count("room") == 0 and two.buses[0].topics == {}


def test_the_application_hears_of_the_bus(two: Two) -> None:
    heard: list[bool] = []
    two.buses[0].receiver.tell_bus(True)
    two.pubsubs[0].on_bus = heard.append
    two.buses[0].receiver.tell_bus(False)
    assert heard == [False]


def test_who_reads_while_a_topic_is_filled_waits_for_all_of_it(two: Two) -> None:
    """A part of it would look as if the reader knew of more than there is: a gap, and everything once again."""
    for text in "12345":
        two.pubsubs[1].publish("room", text)
    two.relay.pauses = True
    first = gevent.spawn(two.pubsubs[0].history, "room", "")
    position = f"{two.relay.epoch}:4"
    readers = []
    while not first.ready():
        readers.append(gevent.spawn(two.pubsubs[0].history, "room", position))
        gevent.sleep(0)
    assert len(readers) > 3
    assert {(tuple(found.messages), found.gap) for found in (reader.get() for reader in readers)} == {(("5",), False)}
