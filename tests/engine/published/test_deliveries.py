"""What waits for one connection: each policy by itself, and all of them in any order against a model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from geventws.engine.published.deliveries import (
    CLOSE,
    DROP_NEWEST,
    DROP_OLDEST,
    LATEST,
    POLICIES,
    Delivery,
    Limits,
    Queue,
    Tally,
)

LIMITS = Limits(max_bytes=100, max_messages=4)


class Waiting:
    """A queue, and the names of what waits in it."""

    def __init__(self) -> None:
        self.tally, self.queue = Tally(), Queue()
        self.names: dict[Delivery, str] = {}

    def offer(self, name: str, policy: str, size: int = 10, key: Any = None) -> bool:
        new = Delivery(bytes(size), self.tally, policy, key)
        self.tally.published += 1
        self.tally.queued += 1
        self.queue.make_room(new, LIMITS)
        if not self.queue.fits(new, LIMITS):
            new.drop()
            return False
        self.names[new] = name
        self.queue.append(new)
        return True

    @property
    def waiting(self) -> list[str]:
        return [self.names[delivery] for delivery in self.queue]


@pytest.mark.parametrize("policy", [CLOSE, DROP_NEWEST])
def test_who_comes_last_finds_no_room(policy: str) -> None:
    one = Waiting()
    assert [one.offer(name, policy) for name in "abcdef"] == [True] * 4 + [False] * 2
    assert one.waiting == list("abcd")
    assert not Waiting().queue and one.offer("g", policy, key="g") is False


def test_the_oldest_make_room() -> None:
    one = Waiting()
    assert all(one.offer(name, DROP_OLDEST) for name in "abcdef")
    assert one.waiting == list("cdef") and one.tally.dropped == 2
    assert one.offer("g", DROP_OLDEST, 65) and one.waiting == list("defg")
    assert one.offer("h", DROP_OLDEST, 100) and one.waiting == ["h"]


def test_only_those_that_may_be_dropped_make_room() -> None:
    one = Waiting()
    one.offer("a", CLOSE)
    one.offer("b", DROP_OLDEST)
    one.offer("c", CLOSE)
    one.offer("d", DROP_NEWEST)
    assert one.offer("e", DROP_OLDEST) and one.waiting == list("acde")
    assert not one.offer("f", CLOSE)
    assert one.offer("g", LATEST) and one.waiting == list("acdg")


def test_the_latest_of_a_key_goes_to_the_end() -> None:
    one = Waiting()
    for name, key in ("a", 1), ("b", 2), ("c", 1), ("d", 3):
        assert one.offer(name, LATEST, key=key)
    assert one.waiting == list("bcd") and one.tally.dropped == 1
    assert one.offer("e", LATEST, 80, key=2) and one.waiting == list("cde")


def test_what_has_begun_stays() -> None:
    one = Waiting()
    one.offer("a", LATEST, key=1)
    (first,) = one.queue
    first.advance(3)
    assert len(first.rest) == 7
    assert one.offer("b", LATEST, key=1) and one.waiting == list("ab")
    assert not one.offer("c", DROP_OLDEST, 95) and one.waiting == ["a"]


def test_the_first_may_be_of_any_size() -> None:
    one = Waiting()
    assert one.offer("a", CLOSE, 1000) and not one.offer("b", CLOSE, 1)


class Model(RuleBasedStateMachine):
    """Every policy on one queue, of which some is sent and some abandoned meanwhile."""

    @initialize()
    def begin(self) -> None:
        self.one = Waiting()
        self.offered = 0

    @rule(policy=st.sampled_from(POLICIES), size=st.sampled_from([1, 10, 30, 99, 100, 101]), key=st.integers(0, 2))
    def offer(self, policy: str, size: int, key: int) -> None:
        before = self.one.waiting
        accepted = self.one.offer(str(self.offered), policy, size, key)
        after = self.one.waiting
        assert accepted == (bool(after) and after[-1] == str(self.offered))
        kept = after[:-1] if accepted else after
        assert kept == [name for name in before if name in kept], "the order of what is left is as it was"
        if policy not in (DROP_OLDEST, LATEST):
            assert kept == before
        self.offered += 1

    @rule(part=st.integers(1, 9))
    def begin_first(self, part: int) -> None:
        for delivery in list(self.one.queue)[:1]:
            if not delivery.begun and delivery.size > part:
                delivery.advance(part)

    @rule(count=st.integers(1, 3))
    def send(self, count: int) -> None:
        for delivery in list(self.one.queue)[:count]:
            delivery.finish()

    @rule()
    def abandon(self) -> None:
        for delivery in list(self.one.queue):
            delivery.abandon()

    @invariant()
    def reconcile(self) -> None:
        tally, queue = self.one.tally, self.one.queue
        assert tally.published == tally.sent + tally.queued + tally.dropped + tally.abandoned == self.offered
        assert tally.queued == len(queue)
        assert queue.size == sum(delivery.size for delivery in queue)
        assert len(queue) <= LIMITS.max_messages and (queue.size <= LIMITS.max_bytes or len(queue) == 1)
        keys = [delivery.key for delivery in queue if delivery.key is not None and not delivery.begun]
        assert len(keys) == len(set(keys))


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_tallies_are_added() -> None:
    one, other = Waiting(), Tally()
    for name in "abcde":
        one.offer(name, CLOSE)
    other.add(one.tally)
    other.add(one.tally)
    assert (other.published, other.queued, other.dropped, other.sent, other.abandoned) == (10, 8, 2, 0, 0)
