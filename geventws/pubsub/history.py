"""History: what was published to a topic lately, so that one who comes back gets what it has missed.

    Position    a place in the order of what is published to a topic: an epoch and an offset
    Ring        the last messages of one topic
    History     the rings of all topics that a rule says are kept

The offset counts what is published to a topic. The epoch is a random name for one such count: it is another one when
the process has begun anew, or has forgotten the topic meanwhile, so that an offset of then means nothing now.

No I/O, and no clock but the one that is given. Nothing here is locked: see `store`.
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
"""Bytes of one topic that are kept. The last message always is, however large."""

MOST_BYTES_IN_ALL = 256 * 1024 * 1024
"""Bytes of all topics that are kept, besides the last message of each."""

COST = 200
"""Bytes that a message takes besides its payload, about."""


class Recovered(NamedTuple):
    """What was published to a topic after a position, as far as it is kept.

    Attributes:
        messages: the messages, the oldest first.
        position: the one after the last of them, to go on from; None for a topic of which no history is kept.
        gap: whether messages are missing that are kept no more, or whether that is unknown.
    """

    messages: list[str | bytes]
    position: str | None
    gap: bool


class Position(NamedTuple):
    """A place in the order of what is published to a topic: after the message that has this offset."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    def follows(self, other: Position) -> bool:
        """Whether there is nothing between this and another one before it."""
        return self.epoch == other.epoch and self.offset == other.offset + 1

    def is_after(self, other: Position) -> bool:
        """Whether this one comes after another one; of two epochs, whichever is asked."""
        return self.epoch != other.epoch or self.offset > other.offset

    def before(self) -> Position:
        """Return the position of the message before."""
        return Position(self.epoch, self.offset - 1)


def parse_position(text: str) -> Position | None:
    """Return the position that a client has brought back, or None where it is none."""
    epoch, _, offset = text.rpartition(":")
    if not (epoch and offset.isascii() and offset.isdigit() and len(offset) < 20):
        return None
    return Position(epoch, int(offset))


class Kept(NamedTuple):
    """A message that is kept."""

    when: float
    opcode: Opcode
    payload: bytes

    @property
    def message(self) -> str | bytes:
        """What was published."""
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
    """How much of a topic is kept."""

    max_messages: int
    seconds: float


class Ring:
    """The last messages of one topic.

    Args:
        rule: how much is kept.
        live: whether it has everything that was published, as far as that is to be kept.

    Attributes:
        rule: as above.
        live: as above. Over a bus that is so once it was filled, and as long as somebody watches.
        position: that of the last message; of the beginning before the first one.
        used: when it was last written, read, or left by its last subscriber.
        size: the bytes that it takes.
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
        """Add a message, and forget what finds no room for it."""
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
        """Begin anew: the next message follows a position."""
        self._kept.clear()
        self.size = 0
        self.position = position

    def forget_all_but_last(self) -> None:
        """Forget all messages but the last one."""
        while len(self._kept) > 1:
            self._forget()

    def find(self, since: str | None = None, limit: int | None = None) -> Found:
        """Return what was published after a position, or with "" all, the oldest first; without one, the last ones.

        Args:
            since: the position.
            limit: how many at the most.
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
    """The rings of all topics that are kept.

    A topic's ring, and with it an epoch, is made when the topic is first written or read. It is removed when it has not
    been used for as long as its messages are kept, and nobody is subscribed.

    Args:
        rules: how much is kept, as (messages, seconds), by the topic, or by what it begins with and a `*`. The first
            that matches holds.
        clock: returns the seconds since some moment.
        watched: the topics that somebody is subscribed to.

    Raises:
        ValueError: a rule keeps less than one message or no time, or has a `*` elsewhere than at its end.

    Attributes:
        live: whether new rings are: see `Ring`.
        rules: those that there are, with their patterns.
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
        """Return how much of a topic is kept, or None where nothing is."""
        for pattern, rule in self.rules:
            if topic.startswith(pattern[:-1]) if pattern.endswith("*") else topic == pattern:
                return rule
        return None

    def clear(self) -> None:
        """Forget everything: what follows has other epochs."""
        for rings in self._rings.values():
            rings.clear()
        self._size = 0

    def append(self, topic: str, rule: Rule, message: PreparedMessage, age: float = 0.0) -> Position:
        """Keep a message, which was published so many seconds ago; return its position."""
        ring = self.use(topic, rule)
        before = ring.size
        ring.append(Kept(ring.used - age, message.opcode, message.payload))
        self._size += ring.size - before
        if self._size > MOST_BYTES_IN_ALL:
            self._make_room(ring)
        return ring.position

    def begin(self, topic: str, rule: Rule, position: Position) -> None:
        """Forget what is kept of a topic: the next message follows a position."""
        ring = self.use(topic, rule)
        self._size -= ring.size
        ring.begin(position)

    def use(self, topic: str, rule: Rule) -> Ring:
        """Return the ring of a topic, made if there is none, without what is too old; remove others that are over."""
        now, rings = self._clock(), self._rings[rule]
        ring = rings.pop(topic) if topic in rings else Ring(rule, self.live)
        rings[topic] = ring  # the last of them
        ring.used = now
        self._expire(ring, now)
        for name, other in list(islice(rings.items(), 2)):  # two for one that comes: none stays for good
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
        """Forget topics that nobody is subscribed to, the longest unused first; or else most of the one at hand."""
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
        raise ValueError(f"history keeps a message at least, for some time: {pattern!r} has {rule!r}")
    if "*" in pattern[:-1]:
        raise ValueError(f"a pattern of history has a * at its end only: {pattern!r}")
    return Rule(max_messages, seconds)
