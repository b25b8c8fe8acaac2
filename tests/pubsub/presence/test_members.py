"""Who is where, on a clock that the test turns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from geventws.pubsub.presence.members import Change, Members


def told(changes: list[Change]) -> list[tuple[str, str, str | None, Any]]:
    return [(change.topic, change.event.kind, change.event.member, change.event.info) for change in changes]


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_member_joins_once_and_leaves_after_the_last_of_its_connections() -> None:
    clock = Clock()
    members = Members(clock, 5.0, 10)
    assert told(members.track("c1", "room", "ana", 1)) == [("room", "join", "ana", 1)]
    assert members.track("c2", "room", "ana", 1) == members.track("c1", "room", "ana", 1) == []
    assert told(members.track("c2", "room", "ana", 2)) == [("room", "join", "ana", 2)]
    members.leave("c1")
    assert members.due is None and members.find("room") == {"ana": 2}
    members.leave("c2")
    clock.now += 4
    assert members.due == 1 and members.expire() == [] and members.find("room") == {"ana": 2}
    clock.now += 1
    assert members.due == 0 and members.find("room") == {}
    assert told(members.expire()) == [("room", "leave", "ana", 2)] and members.due is None
    assert members._topics == members._connections == {}


def test_one_who_comes_back_in_time_has_not_left() -> None:
    clock = Clock()
    members = Members(clock, 5.0, 10)
    members.track("c1", "room", "ana", None)
    members.leave("c1")
    clock.now += 4
    assert members.track("c2", "room", "ana", None) == []
    clock.now += 4
    assert members.expire() == [] and members.find("room") == {"ana": None}
    members.leave("c2")
    clock.now += 5
    assert told(members.expire()) == [("room", "leave", "ana", None)]


def test_one_who_comes_and_goes_again_and_again_is_kept_once() -> None:
    """A client may do that as fast as it can."""
    now = [0.0]
    members = Members(lambda: now[0], 5.0, 10)
    for number in range(1000):
        now[0] = number / 1000
        members.track("ws", "room", "ana", None)
        members.release("ws", "room")
    assert len(members._leaving) == 1 and members.due == 5.0
    now[0] = 5.998
    assert members.expire() == [] and members.due is not None
    now[0] = 5.999
    assert [change.event.kind for change in members.expire()] == ["leave"] and members.due is None


def test_one_who_goes_leaves_at_once() -> None:
    members = Members(Clock(), 5.0, 10)
    members.track("c1", "room", "ana", None)
    members.track("c2", "room", "ana", None)
    assert members.untrack("c1", "room") == members.untrack("c1", "room") == members.untrack("c3", "room") == []
    assert told(members.untrack("c2", "room")) == [("room", "leave", "ana", None)]
    assert members._topics == members._connections == {}


def test_a_connection_is_one_member_in_a_topic() -> None:
    members = Members(Clock(), 5.0, 2)
    members.track("c1", "room", "ana", None)
    assert told(members.track("c1", "room", "bob", 1)) == [("room", "leave", "ana", None), ("room", "join", "bob", 1)]
    members.track("c1", "other", "bob", None)
    with pytest.raises(ValueError, match="may be in at most 2 topics"):
        members.track("c1", "third", "bob", None)
    members.track("c1", "room", "ana", None)
    assert set(members) == {("room", "ana"), ("other", "bob")} and len(members) == 2
    assert members.find_info("other", "bob") == (None, True) and members.find_info("other", "ana") == (None, False)
    assert members.is_member("c1", "room") and not members.is_member("c1", "third")
    members.clear()
    assert members.find("room") == {} and not members.is_member("c1", "room")


class Model(RuleBasedStateMachine):
    """Random steps, against a model: who has which connections, and until when who has none stays."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.members = Members(self.clock, 5.0, 2)
        self.connections: dict[int, dict[str, str]] = {}
        self.until: dict[tuple[str, str], float] = {}
        self.heard: dict[str, set[str]] = {"a": set(), "b": set()}

    def hear(self, changes: list[Change]) -> None:
        for topic, kind, name, _info in told(changes):
            assert name is not None and (name in self.heard[topic]) == (kind == "leave"), "a join, then a leave"
            (self.heard[topic].add if kind == "join" else self.heard[topic].remove)(name)

    @rule(connection=st.integers(0, 3), topic=st.sampled_from("ab"), name=st.sampled_from("xyz"))
    def track(self, connection: int, topic: str, name: str) -> None:
        self.hear(self.members.track(connection, topic, name, None))
        self.connections.setdefault(connection, {})[topic] = name

    @rule(connection=st.integers(0, 3), topic=st.sampled_from("ab"))
    def untrack(self, connection: int, topic: str) -> None:
        self.hear(self.members.untrack(connection, topic))
        self.connections.get(connection, {}).pop(topic, None)

    @rule(connection=st.integers(0, 3))
    def leave(self, connection: int) -> None:
        self.members.leave(connection)
        for topic, name in self.connections.pop(connection, {}).items():
            self.until[topic, name] = self.clock.now + 5

    @rule(seconds=st.integers(1, 6))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def expire(self) -> None:
        self.hear(self.members.expire())

    @invariant()
    def agrees(self) -> None:
        for topic in "ab":
            there = {mine[topic] for mine in self.connections.values() if topic in mine}
            found = set(self.members.find(topic))
            assert there <= found
            for name in found - there:
                assert self.until[topic, name] > self.clock.now
            assert found <= self.heard[topic]


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
