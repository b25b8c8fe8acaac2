"""Who is subscribed to what: by itself, and in any order against a model of two dicts."""

from __future__ import annotations

import tracemalloc
from collections.abc import Hashable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from geventws.pubsub.branches.topics import Topics

PLAIN, DEFLATE, OWN = "plain", "deflate", None


def ignore(name: str, begun: bool) -> None:
    """Do nothing when a topic begins or ends."""


class One:
    """A subscriber."""

    def __init__(self, number: int, sharing: Hashable = PLAIN) -> None:
        self.fileno = number.__index__
        self.sharing = sharing
        self.extension = sharing or "its own"


def test_subscribers_are_grouped_by_what_they_get() -> None:
    topics = Topics(10, ignore)
    ones = [One(number, sharing) for number, sharing in enumerate([PLAIN, DEFLATE, PLAIN, OWN])]
    for one in ones:
        topics.subscribe(one, "room", "close")
    topic = topics.get("room")
    assert topic is not None and len(topic) == 4 and set(topic) == set(ones)
    assert {key: [member() for member in group.members] for key, group in topic.groups.items()} == {
        PLAIN: [0, 2], DEFLATE: [1], OWN: [3],
    }  # fmt: skip
    assert [group.extension for group in topic.groups.values()] == [PLAIN, DEFLATE, None]


def test_a_second_subscription_changes_the_policy() -> None:
    topics, one = Topics(1, ignore), One(1)
    topics.subscribe(one, "room", "close")
    topics.subscribe(one, "room", "latest")
    (group,) = topics.get("room").groups.values()  # type: ignore[union-attr]
    assert [seat.policy for seat in group.members.values()] == ["latest"]
    assert topics.names(one) == ["room"] and topics.count == 1


def test_a_topic_without_subscribers_is_gone() -> None:
    topics, one = Topics(10, ignore), One(1)
    for name in "abc":
        topics.subscribe(one, name, "close")
    assert topics.unsubscribe(one, "b") and not topics.unsubscribe(one, "b") and not topics.unsubscribe(One(2), "a")
    assert topics.names(one) == ["a", "c"] and len(topics) == 2
    topics.leave(one)
    topics.leave(one)
    assert len(topics) == topics.count == 0 and topics.get("a") is None and topics.names(one) == []


def test_a_subscriber_has_so_many_topics_at_the_most() -> None:
    topics, one = Topics(2, ignore), One(1)
    topics.subscribe(one, "a", "close")
    topics.subscribe(one, "b", "close")
    with pytest.raises(ValueError, match=r"may subscribe to at most 2 topics \(max_topics\)"):
        topics.subscribe(one, "c", "close")
    assert topics.names(one) == ["a", "b"] and topics.get("c") is None
    topics.subscribe(one, "b", "latest")
    topics.subscribe(One(2), "c", "close")


class Model(RuleBasedStateMachine):
    """Subscribers that come and go."""

    @initialize(sharing=st.lists(st.sampled_from([PLAIN, DEFLATE, OWN]), min_size=4, max_size=4))
    def begin(self, sharing: list[Hashable]) -> None:
        self.topics = Topics(3, ignore)
        self.ones = [One(number, each) for number, each in enumerate(sharing)]
        self.expected: dict[One, dict[str, str]] = {one: {} for one in self.ones}

    @rule(number=st.integers(0, 3), name=st.sampled_from("abcde"), policy=st.sampled_from(["close", "latest"]))
    def subscribe(self, number: int, name: str, policy: str) -> None:
        one = self.ones[number]
        mine = self.expected[one]
        if name not in mine and len(mine) == 3:
            with pytest.raises(ValueError, match="max_topics"):
                self.topics.subscribe(one, name, policy)
        else:
            self.topics.subscribe(one, name, policy)
            mine[name] = policy

    @rule(number=st.integers(0, 3), name=st.sampled_from("abcde"))
    def unsubscribe(self, number: int, name: str) -> None:
        one = self.ones[number]
        assert self.topics.unsubscribe(one, name) == (self.expected[one].pop(name, None) is not None)

    @rule(number=st.integers(0, 3))
    def leave(self, number: int) -> None:
        self.topics.leave(self.ones[number])
        self.expected[self.ones[number]].clear()

    @invariant()
    def agrees(self) -> None:
        for one, mine in self.expected.items():
            assert self.topics.names(one) == list(mine)
        names = {name for mine in self.expected.values() for name in mine}
        assert len(self.topics) == len(names) and self.topics.count == sum(map(len, self.expected.values()))
        for name in "abcde":
            topic = self.topics.get(name)
            assert (topic is not None) == (name in names)
            groups = topic.groups.items() if topic is not None else ()
            seats = [(key, seat) for key, group in groups for seat in group.members.values()]
            assert {seat.subscriber: seat.policy for _key, seat in seats} == {
                one: mine[name] for one, mine in self.expected.items() if name in mine
            }
            assert all(seat.subscriber.sharing == key for key, seat in seats)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_a_subscription_takes_little_memory() -> None:
    """A thousand subscribers with a hundred of a thousand topics each."""
    topics, ones = Topics(100, ignore), [One(number) for number in range(1000)]
    names = [f"room:{number}" for number in range(1000)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number, one in enumerate(ones):
        for step in range(100):
            topics.subscribe(one, names[(number + 7 * step) % 1000], "close")
    each = (tracemalloc.get_traced_memory()[0] - before) / topics.count
    tracemalloc.stop()
    assert topics.count == 100_000 and each <= 100
