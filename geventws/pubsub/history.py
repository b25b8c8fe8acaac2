"""History: what was published to a topic lately, so that a client that comes back gets what it has missed.

    Position    a place in the order of a topic's messages: an epoch and an offset
    Ring        the last messages of one topic
    History     the rings of all topics that have a rule

The offset counts the messages of a topic. The epoch is a random name for one such count. When a process restarts, or
has forgotten a topic meanwhile, it counts from zero under a new epoch, so that nobody mistakes an old offset for one
of the new count.

No I/O, and no clock but the one passed in. Nothing here is locked: see `store`.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from secrets import token_urlsafe
from typing import TYPE_CHECKING, NamedTuple

from ..frames import Opcode

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from ..protocol.prepared import PreparedMessage

__all__ = ["Recovered"]

MOST_BYTES = 4 * 1024 * 1024
"""Bytes kept of one topic at most. The last message is always kept, however large."""

MOST_BYTES_IN_ALL = 256 * 1024 * 1024
"""Bytes kept of all topics together at most, besides the last message of each."""

COST = 200
"""Bytes that a message takes besides its payload, roughly."""


class Recovered(NamedTuple):
    """What was published to a topic after a position, as far as it is kept.

    Attributes:
        messages: the messages, the oldest first.
        position: the position after the last of them, to go on from; None if the topic has no history.
        gap: True if messages after the position are no longer kept, or if that is unknown.
    """

    messages: list[str | bytes]
    position: str | None
    gap: bool


class Position(NamedTuple):
    """A place in the order of a topic's messages: after the message with this offset.

    Attributes:
        epoch: the random name of the count.
        offset: how many messages the count has seen.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    def follows(self, other: Position) -> bool:
        """Whether this position comes directly after another one."""
        return self.epoch == other.epoch and self.offset == other.offset + 1

    def is_after(self, other: Position) -> bool:
        """Whether this position comes after another one. With two epochs, each counts as after the other."""
        return self.epoch != other.epoch or self.offset > other.offset

    def before(self) -> Position:
        """Return the position of the previous message."""
        return Position(self.epoch, self.offset - 1)


def parse_position(text: str) -> Position | None:
    """Return the position that a client has sent, or None if the text is not one."""
    epoch, _, offset = text.rpartition(":")
    if not (epoch and offset.isascii() and offset.isdigit() and len(offset) < 20):
        return None
    return Position(epoch, int(offset))


class Kept(NamedTuple):
    """A message that is kept.

    Attributes:
        when: the time on the history's clock when it was published.
        opcode: TEXT or BINARY.
        payload: its bytes.
    """

    when: float
    opcode: Opcode
    payload: bytes

    @property
    def message(self) -> str | bytes:
        """The message, as it was published."""
        return self.payload.decode() if self.opcode == Opcode.TEXT else self.payload


class Found(NamedTuple):
    """What was found of a topic after a position: see `Recovered`."""

    kept: list[Kept]
    position: Position | None
    gap: bool

    def recover(self) -> Recovered:
        """Return the messages."""
        position = str(self.position) if self.position is not None else None
        return Recovered([kept.message for kept in self.kept], position, self.gap)


class Rule(NamedTuple):
    """How much of a topic is kept: at most so many messages, none older than so many seconds."""

    max_messages: int
    seconds: float


class Ring:
    """The last messages of one topic.

    Args:
        rule: how much is kept.
        live: whether it has all messages that the rule keeps.

    Attributes:
        rule: as above.
        live: as above. Over a bus, a ring is live once it has been filled, and as long as somebody here uses the topic.
        position: the position of the last message; offset 0 before the first one.
        used: when it was last written or read, or lost its last subscriber.
        size: the bytes that its messages take.
    """

    __slots__ = ("_kept", "live", "position", "rule", "size", "used")

    def __init__(self, rule: Rule, live: bool) -> None:
        self.rule: Rule = rule
        self.position: Position = Position(token_urlsafe(6), 0)
        self.live: bool = live
        self.used: float = 0.0
        self.size: int = 0
        self._kept: deque[Kept] = deque()  # the oldest first

    def append(self, kept: Kept) -> None:
        """Add a message, and forget the oldest until the ring is within its limits."""
        self.position = Position(self.position.epoch, self.position.offset + 1)
        self._kept.append(kept)
        self.size += len(kept.payload) + COST
        while len(self._kept) > self.rule.max_messages or (self.size > MOST_BYTES and len(self._kept) > 1):
            self._forget()

    def expire(self, now: float) -> None:
        """Forget what is too old."""
        while self._kept and self._kept[0].when + self.rule.seconds <= now:
            self._forget()

    def begin(self, position: Position) -> None:
        """Forget all messages; the next one will follow the given position."""
        self._kept.clear()
        self.size = 0
        self.position = position

    def forget_all_but_last(self) -> None:
        """Forget all messages but the last one."""
        while len(self._kept) > 1:
            self._forget()

    def find(self, since: str | None = None, limit: int | None = None) -> Found:
        """Return messages, the oldest first.

        Args:
            since: the position after which they begin; "" or None for all.
            limit: how many to return at most: with `since` the oldest, without it the latest. None for no limit.
        """
        wanted = parse_position(since) if since is not None else None
        first = self.position.offset - len(self._kept)  # the offset before that of the oldest
        begin, gap = first, bool(since)
        if wanted is not None and wanted.epoch == self.position.epoch and wanted.offset <= self.position.offset:
            begin, gap = max(wanted.offset, first), wanted.offset < first
        end = self.position.offset
        if limit is not None and since is None:
            begin = max(begin, end - limit)
        elif limit is not None:
            end = min(end, begin + limit)
        kept = list(islice(self._kept, begin - first, end - first))
        return Found(kept, Position(self.position.epoch, end), gap)

    def _forget(self) -> None:
        self.size -= len(self._kept.popleft().payload) + COST


class History:
    """The rings of all topics that have a rule.

    A topic's ring, and its epoch, are made when the topic is first written or read. The ring is removed when nobody is
    subscribed and it has not been used for as long as its messages are kept.

    Args:
        rules: (messages, seconds) to keep, by topic, or by a prefix and a `*`. The first pattern that matches applies.
        clock: returns the seconds since some moment.
        watched: the topics that somebody is subscribed to.

    Raises:
        ValueError: a rule keeps less than one message, or no time, or has a `*` before its end.

    Attributes:
        live: whether new rings are live: see `Ring`.
        rules: the patterns and their rules, in order.
    """

    def __init__(
        self, rules: Mapping[str, tuple[int, float]], clock: Callable[[], float], watched: Container[str]
    ) -> None:
        self.live: bool = True
        self._clock = clock
        self._watched = watched
        self.rules: list[tuple[str, Rule]] = [(pattern, _check_rule(pattern, rule)) for pattern, rule in rules.items()]
        self._rings: dict[Rule, dict[str, Ring]] = {rule: {} for _, rule in self.rules}  # the longest unused first
        self._size = 0  # the bytes of all rings

    def find_rule(self, topic: str) -> Rule | None:
        """Return how much of a topic is kept, or None if nothing is."""
        for pattern, rule in self.rules:
            if topic.startswith(pattern[:-1]) if pattern.endswith("*") else topic == pattern:
                return rule
        return None

    def clear(self) -> None:
        """Forget everything. Later messages get new epochs."""
        for rings in self._rings.values():
            rings.clear()
        self._size = 0

    def append(self, topic: str, rule: Rule, message: PreparedMessage, age: float = 0.0) -> Position:
        """Keep a message that was published `age` seconds ago; return its position."""
        ring = self.use(topic, rule)
        before = ring.size
        ring.append(Kept(ring.used - age, message.opcode, message.payload))
        self._size += ring.size - before
        if self._size > MOST_BYTES_IN_ALL:
            self._make_room(ring)
        return ring.position

    def begin(self, topic: str, rule: Rule, position: Position) -> None:
        """Forget what is kept of a topic; its next message will follow the given position."""
        ring = self.use(topic, rule)
        self._size -= ring.size
        ring.begin(position)

    def use(self, topic: str, rule: Rule) -> Ring:
        """Return the ring of a topic, without expired messages; make it if needed. Remove rings that nobody uses."""
        now, rings = self._clock(), self._rings[rule]
        ring = rings.pop(topic) if topic in rings else Ring(rule, self.live)
        rings[topic] = ring  # the last of them
        ring.used = now
        self._expire(ring, now)
        for name, other in list(islice(rings.items(), 2)):  # two for each new one, so that old ones do not pile up
            if other.used + rule.seconds > now:
                break
            del rings[name]
            self._expire(other, now)
            if name in self._watched:
                rings[name] = other
                other.used = now
        return ring

    def _expire(self, ring: Ring, now: float) -> None:
        before = ring.size
        ring.expire(now)
        self._size += ring.size - before

    def _make_room(self, ring: Ring) -> None:
        """Forget topics without subscribers, the longest unused first; if that is too little, most of this ring."""
        for rings in self._rings.values():
            for name, other in list(islice(rings.items(), 2)):
                if name not in self._watched and other is not ring:
                    del rings[name]
                    self._size -= other.size
        if self._size > MOST_BYTES_IN_ALL:
            self._size -= ring.size
            ring.forget_all_but_last()
            self._size += ring.size


def _check_rule(pattern: str, rule: tuple[int, float]) -> Rule:
    max_messages, seconds = rule
    if max_messages < 1 or not seconds > 0:
        raise ValueError(f"a history rule is at least 1 message and more than 0 seconds: {pattern!r} has {rule!r}")
    if "*" in pattern[:-1]:
        raise ValueError(f"a history pattern has a * only at its end: {pattern!r}")
    return Rule(max_messages, seconds)
