"""Streams: each message once, in order, without a hole, whatever comes when."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from kit.sites.buses import RULE

from geventws.engine.loop.poller import get_poller
from geventws.protocol.prepared import PreparedMessage
from geventws.pubsub.bus import streams as module
from geventws.pubsub.bus.streams import Stream, Streams
from geventws.pubsub.bus.wire.messages import BadMessage, Placed, pack_message
from geventws.pubsub.history import Position, Rule


def data_of(offset: int) -> bytes:
    return pack_message(b"12345678", offset, PreparedMessage(str(offset)), None)


class Owner:
    """A topic as Redis has it, and what is delivered of it. What is asked waits in `questions`."""

    def __init__(self, epoch: str = "e", kept: int = 1000, batch: int = 100) -> None:
        self.epoch, self.kept, self.batch = epoch, kept, batch
        self.offset = 0
        self.questions: list[tuple[Stream, Callable[[Any], None]]] = []
        self.told: list[Any] = []
        self.spoiled: set[int] = set()

    def ask(self, stream: Stream, done: Callable[[Any], None]) -> None:
        self.questions.append((stream, done))

    def answer(self) -> None:
        """Answer the oldest question."""
        stream, done = self.questions.pop(0)
        first = max(self.offset - self.kept, 0) + 1
        if stream.position is not None and stream.position.epoch == self.epoch:
            first = max(first, stream.position.offset + 1)
        last = min(self.offset, first + self.batch - 1)
        entries = [[b"%d" % at, self.data(at), b"0"] for at in range(first, last + 1)]
        done([self.epoch.encode(), b"%d" % self.offset, b"0", entries])

    def data(self, offset: int) -> bytes:
        return b"\x02" if offset in self.spoiled else data_of(offset)

    def publish(self) -> Placed:
        self.offset += 1
        return Placed(self.epoch, self.offset, self.data(self.offset))

    def skip(self, topic: str, error: BadMessage) -> None:
        self.told.append("skipped")

    def deliver(self, stream: Stream, parcel: Any) -> None:
        assert stream.position is not None and stream.position.offset == int(parcel.message.payload)
        self.told.append(stream.position.offset)

    def fill(self, topic: str, position: Position, messages: list[Any]) -> None:
        offsets = [int(message.payload) for _, message in messages]
        assert offsets == list(range(position.offset - len(offsets) + 1, position.offset + 1))
        self.told.append((position, offsets))


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def streams(owner: Owner) -> Streams:
    return Streams(get_poller(), owner)


def watch(streams: Streams, topic: str = "room") -> Stream:
    """Return a topic that is begun with."""
    streams.unwatch(topic)
    streams.watch(topic, RULE, False)
    stream = streams.get(topic)
    assert stream is not None
    return stream


@pytest.fixture
def stream(streams: Streams, owner: Owner) -> Stream:
    """A topic that is subscribed and read, with five messages before."""
    for _ in range(5):
        owner.publish()
    stream = watch(streams)
    streams.read(stream)
    owner.answer()
    assert owner.told == [(Position("e", 5), [1, 2, 3, 4, 5])]
    owner.told.clear()
    return stream


def test_the_next_one_is_delivered(streams: Streams, owner: Owner, stream: Stream) -> None:
    for _ in range(3):
        streams.take(stream, owner.publish())
    assert owner.told == [6, 7, 8] and not owner.questions


def test_what_was_delivered_is_not_again(streams: Streams, owner: Owner, stream: Stream) -> None:
    placed = owner.publish()
    streams.take(stream, placed)
    streams.take(stream, placed)
    streams.take(stream, Placed("e", 2, data_of(2)))
    assert owner.told == [6] and streams.repeated == 2


def test_a_hole_is_filled(streams: Streams, owner: Owner, stream: Stream) -> None:
    owner.publish()
    streams.take(stream, owner.publish())
    streams.take(stream, owner.publish())
    assert owner.told == [] and len(owner.questions) == 1
    owner.answer()
    streams.take(stream, owner.publish())
    assert owner.told == [6, 7, 8, 9] and not owner.questions


def test_a_large_hole_is_read_in_batches(streams: Streams, owner: Owner, stream: Stream) -> None:
    for _ in range(250):
        placed = owner.publish()
    streams.take(stream, placed)
    while owner.questions:
        owner.answer()
    assert owner.told == list(range(6, 256))


def test_what_comes_while_it_is_first_read_comes_after(streams: Streams, owner: Owner) -> None:
    owner.publish()
    stream = watch(streams)
    streams.take(stream, owner.publish())  # of a subscription that is there still
    assert not owner.questions
    streams.read(stream)
    owner.offset = 1  # as if the question had been answered before that
    stream.held.append(Placed("e", 2, data_of(2)))
    owner.answer()
    assert owner.told == [(Position("e", 1), [1]), 2]


def test_the_order_of_what_is_trimmed(owner: Owner, streams: Streams, stream: Stream) -> None:
    """The stream begins after what is missing: told by a `fill` that does not follow."""
    owner.kept = 10
    for _ in range(50):
        placed = owner.publish()
    streams.take(stream, placed)
    owner.answer()
    assert owner.told == [(Position("e", 55), list(range(46, 56)))]


def test_a_stream_that_is_gone(owner: Owner, streams: Streams, stream: Stream) -> None:
    owner.kept = 0
    owner.publish()
    owner.publish()
    streams.read(stream)
    owner.answer()
    assert owner.told == [(Position("e", 7), [])]
    streams.read(stream)
    owner.answer()
    assert len(owner.told) == 1, "there is nothing new"


def test_another_epoch(owner: Owner, streams: Streams, stream: Stream) -> None:
    owner.epoch, owner.offset = "f", 0
    owner.publish()
    streams.take(stream, owner.publish())
    owner.answer()
    streams.take(stream, owner.publish())
    assert owner.told == [(Position("f", 2), [1, 2]), 3]


def test_many_are_told_in_parts(owner: Owner, streams: Streams) -> None:
    owner.batch = 1000
    for _ in range(150):
        owner.publish()
    streams.read(watch(streams))
    owner.answer()
    assert [len(offsets) for _, offsets in owner.told] == [64, 64, 22]


def test_what_cannot_be_read_is_a_hole(owner: Owner, streams: Streams, stream: Stream) -> None:
    owner.spoiled = {7, 9}
    for _ in range(5):
        streams.take(stream, owner.publish())
    assert owner.told == [6, "skipped", 8, "skipped", 10]
    owner.told.clear()
    streams.read(watch(streams))
    owner.answer()
    assert [told for told in owner.told if told != "skipped"] == [
        (Position("e", 6), [1, 2, 3, 4, 5, 6]), (Position("e", 8), [8]), (Position("e", 10), [10])
    ]  # fmt: skip


def test_more_than_is_held_is_read(owner: Owner, streams: Streams, stream: Stream, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "MOST_HELD", 3)
    owner.publish()
    for _ in range(20):
        streams.take(stream, owner.publish())
    while owner.questions:
        owner.answer()
    assert owner.told == list(range(6, 27))


def test_what_cannot_be_asked_is_asked_later(owner: Owner, streams: Streams, stream: Stream) -> None:
    told: list[bool] = []
    owner.publish()
    streams.take(stream, owner.publish())
    streams.when_read("room", told.append)
    owner.questions.pop()[1](None)
    assert stream.is_stale and told == [False]
    streams.retry()
    owner.answer()
    assert owner.told == [6, 7] and not stream.is_stale
    streams.retry()
    assert not owner.questions


def test_an_answer_that_is_none(owner: Owner, streams: Streams, stream: Stream) -> None:
    streams.read(stream)
    owner.questions.pop()[1]([b"nonsense"])
    assert stream.is_stale and owner.told == []


def test_all_who_wait_share_one_reading(owner: Owner, streams: Streams) -> None:
    told: list[bool] = []
    streams.when_read("room", told.append)
    assert told.pop() is False, "nobody is subscribed"
    streams.read(watch(streams))
    for _ in range(100):
        streams.when_read("room", told.append)
    assert len(owner.questions) == 1
    owner.answer()
    assert told == [True] * 100


def test_one_that_is_read_is_not_read_again(owner: Owner, streams: Streams, stream: Stream) -> None:
    told: list[bool] = []
    for _ in range(100):
        streams.when_read("room", told.append)
    assert told == [True] * 100 and not owner.questions


def test_who_waits_for_one_that_is_left_is_told(owner: Owner, streams: Streams) -> None:
    told: list[bool] = []
    streams.read(watch(streams))
    streams.when_read("room", told.append)
    streams.unwatch("room")
    streams.unwatch("room")
    assert told == [False]
    owner.answer()
    assert owner.told == [] and streams.get("room") is None


def test_one_that_is_subscribed_still_is_not_read_again(owner: Owner, streams: Streams, stream: Stream) -> None:
    streams.watch("room", RULE, True)
    assert owner.told == [(Position("e", 5), [])] and not owner.questions
    streams.take(stream, owner.publish())
    assert owner.told[1:] == [6] and streams.get("room") is stream
    streams.watch("room", Rule(3, 1), True)  # of more, or less
    assert len(owner.questions) == 1 and streams.get("room") is not stream


def test_only_so_many_are_read_at_once(owner: Owner, streams: Streams, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "MOST_READING", 3)
    for number in range(10):
        streams.read(watch(streams, f"room {number}"))
    assert len(owner.questions) == 3
    answered = 0
    while owner.questions:
        owner.answer()
        answered += 1
        assert len(owner.questions) <= 3
    assert answered == 10


@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_order_things_happen(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are lost and repeated, the connection is new, Redis answers late: all messages come once, in order."""
    chance = random.Random(seed)
    monkeypatch.setattr(module, "MOST_HELD", 4)
    owner = Owner(batch=3)
    streams = Streams(get_poller(), owner)
    stream = watch(streams)
    streams.read(stream)
    on_its_way: list[Placed] = []
    for _ in range(400):
        step = chance.randrange(6)
        if step <= 1:
            on_its_way.append(owner.publish())
        elif step == 2 and on_its_way:
            streams.take(stream, on_its_way.pop(0))
        elif step == 3 and on_its_way and not chance.randrange(4):
            on_its_way.clear()
            streams.read(stream)
        elif step == 4 and on_its_way and not chance.randrange(4):
            on_its_way.insert(0, on_its_way[0])
        elif owner.questions:
            owner.answer()
    for placed in on_its_way:
        streams.take(stream, placed)
    streams.read(stream)
    while owner.questions:
        owner.answer()
    offsets = [at for told in owner.told for at in (told[1] if isinstance(told, tuple) else [told])]
    assert offsets == list(range(1, owner.offset + 1))
