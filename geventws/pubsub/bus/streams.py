"""Streams: the topics whose history is kept, as this process has them: each message once, in order, without a hole.

What comes over the channel of a topic has its position. The next one is delivered, one that was delivered is not, and
when there is a hole, or may be one, the rest is read from Redis; what comes meanwhile is held. That is so at the first
subscription, after a connection was lost, and where the topic has another epoch: Redis has forgotten what was.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ..history import Position
from .wire.messages import BadMessage, unpack_message
from .wire.scripts import parse_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...engine.loop.poller import Poller
    from ...protocol.prepared import PreparedMessage
    from ..history import Rule
    from .wire.messages import Parcel, Placed
    from .wire.scripts import Entry, Reading

MOST_READING = 100
"""Topics that are read at the same time."""

MOST_HELD = 1000
"""Messages of one topic that are held while it is read; those after them are read, too."""

PART = 64
"""Messages that are delivered between two looks at the clock."""


class Owner(Protocol):
    """The core."""

    def ask(self, stream: Stream, done: Callable[[Any], None]) -> None:
        """Read a stream from its position on; `done` is called with the answer, or None where there is none."""

    def skip(self, topic: str, error: BadMessage) -> None:
        """Note that a message is none that we know."""

    def deliver(self, stream: Stream, parcel: Parcel) -> None:
        """Deliver the message at a stream's position."""

    def fill(self, topic: str, position: Position, messages: list[tuple[float, PreparedMessage]]) -> None:
        """Tell what the stream has, up to a position."""


class Stream:
    """One topic.

    Attributes:
        topic: its name.
        rule: how much of it is kept.
        position: that of the last message that was delivered; None before it was first read.
        is_reading: whether it is being read, or is about to be.
        is_stale: whether it has to be read, and could not be.
        is_overfull: whether more has come meanwhile than is held.
        held: what has come meanwhile.
        waiting: who is to be told when it has been read, and whether it could be.
    """

    __slots__ = ("held", "is_overfull", "is_reading", "is_stale", "position", "rule", "topic", "waiting")

    def __init__(self, topic: str, rule: Rule) -> None:
        self.topic: str = topic
        self.rule: Rule = rule
        self.position: Position | None = None
        self.is_reading: bool = False
        self.is_stale: bool = False
        self.is_overfull: bool = False
        self.held: deque[Placed] = deque()
        self.waiting: list[Callable[[bool], None]] = []


class Streams:
    """All topics with history that this process is subscribed to.

    Args:
        poller: the loop's.
        owner: the core.

    Attributes:
        repeated: messages that have come twice.
        filled: messages that were not delivered by their channel, and were read.
    """

    def __init__(self, poller: Poller, owner: Owner) -> None:
        self.repeated: int = 0
        self.filled: int = 0
        self._poller = poller
        self._owner = owner
        self._streams: dict[str, Stream] = {}  # topics that somebody here is subscribed to
        self._due: deque[Stream] = deque()  # those that are to be read
        self._reading = 0  # how many are being read

    def get(self, topic: str) -> Stream | None:
        """Return a topic, or None where it has no history, or nobody here is subscribed to it."""
        return self._streams.get(topic)

    def watch(self, topic: str, rule: Rule, is_subscribed: bool) -> None:
        """Begin with a topic, which is read when its channel is confirmed.

        Args:
            topic: the topic.
            rule: how much of it is kept.
            is_subscribed: whether the channel is subscribed still, so that this is known already.
        """
        stream = self._streams.get(topic)
        if is_subscribed and stream is not None and stream.rule == rule:
            if stream.position is not None and not stream.is_reading and not stream.is_stale:
                self._owner.fill(topic, stream.position, [])  # all is here
            return
        stream = self._streams[topic] = Stream(topic, rule)
        if is_subscribed:
            self.read(stream)

    def unwatch(self, topic: str) -> None:
        """Have no more to do with a topic."""
        stream = self._streams.pop(topic, None)
        if stream is not None:
            self._tell(stream, False)

    def take(self, stream: Stream, placed: Placed) -> None:
        """Take a message that has come over the channel."""
        if stream.is_reading or stream.position is None or not self._take_next(stream, placed):
            if len(stream.held) < MOST_HELD:
                stream.held.append(placed)
            else:
                stream.is_overfull = True
            if stream.position is not None:
                self.read(stream)

    def _take_next(self, stream: Stream, placed: Placed) -> bool:
        """Deliver a message, unless that was done; return False where others come before it."""
        before = stream.position
        if before is None or placed.epoch != before.epoch or placed.offset > before.offset + 1:
            return False
        if placed.offset <= before.offset:
            self.repeated += 1
        else:
            self._deliver(stream, placed.offset, placed.data)
        return True

    def read(self, stream: Stream) -> None:
        """Read a topic, from where it is on, unless that is being done."""
        if not stream.is_reading:
            stream.is_reading, stream.is_stale = True, False
            self._due.append(stream)
            self._read_next()

    def when_read(self, topic: str, done: Callable[[bool], None]) -> None:
        """Call `done` with True once a topic is read, or with False when it cannot be."""
        stream = self._streams.get(topic)
        if stream is None:
            done(False)
        elif stream.position is not None and not stream.is_reading and not stream.is_stale:
            done(True)
        else:
            stream.waiting.append(done)
            if stream.is_stale:
                self.read(stream)

    def retry(self) -> None:
        """Read what could not be read. To be called when Redis is there again."""
        for stream in list(self._streams.values()):
            if stream.is_stale:
                self.read(stream)

    def _read_next(self) -> None:
        while self._due and self._reading < MOST_READING:
            stream = self._due.popleft()
            self._reading += 1
            self._owner.ask(stream, partial(self._take_reading, stream))

    def _take_reading(self, stream: Stream, reply: Any) -> None:
        self._reading -= 1
        self._read_next()
        if self._streams.get(stream.topic) is not stream:
            return  # nobody is subscribed any more
        try:
            reading = parse_reading(reply) if reply is not None else None
        except ValueError:
            reading = None
        if reading is None:
            stream.is_reading, stream.is_stale = False, True
            stream.held.clear()
            self._tell(stream, False)
            return
        self._fill(stream, reading)
        is_all = not reading.entries or reading.entries[-1].offset >= reading.offset
        if not (is_all and self._take_held(stream)):
            stream.is_reading = False
            self.read(stream)
        else:
            stream.is_reading = False
            self._tell(stream, True)

    def _take_held(self, stream: Stream) -> bool:
        """Deliver what has come meanwhile; return False where something is missing in it."""
        while stream.held:
            if not self._take_next(stream, stream.held[0]):
                return False
            stream.held.popleft()
            self._poller.turns.spend(1)
        is_overfull, stream.is_overfull = stream.is_overfull, False
        return not is_overfull

    def _tell(self, stream: Stream, is_read: bool) -> None:
        waiting, stream.waiting = stream.waiting, []
        for done in waiting:
            done(is_read)

    # Delivering

    def _fill(self, stream: Stream, reading: Reading) -> None:
        """Deliver what was read."""
        before, entries = stream.position, reading.entries
        last = entries[-1].offset if entries else reading.offset
        if before is not None and before.epoch == reading.epoch:
            if entries and entries[0].offset == before.offset + 1:
                for entry in entries:
                    self.filled += 1
                    self._deliver(stream, entry.offset, entry.data)
                    self._poller.turns.spend(1)
                return
            if not entries and reading.offset <= before.offset:
                return  # there is nothing new
        stream.position = Position(reading.epoch, last)
        for part in self._split(stream.topic, entries):
            messages = [(age, message) for _, age, message in part]
            self._owner.fill(stream.topic, Position(reading.epoch, part[-1][0]), messages)
            self._poller.turns.spend(PART)
        if not entries:
            self._owner.fill(stream.topic, stream.position, [])

    def _split(self, topic: str, entries: list[Entry]) -> Iterator[list[tuple[int, float, PreparedMessage]]]:
        """Yield the messages with their offsets and ages, in parts without a hole."""
        part: list[tuple[int, float, PreparedMessage]] = []
        for entry in entries:
            try:
                message = unpack_message(entry.data).message
            except BadMessage as error:
                self._owner.skip(topic, error)
                continue
            if part and (len(part) >= PART or entry.offset != part[-1][0] + 1):
                yield part
                part = []
            part.append((entry.offset, entry.age, message))
        if part:
            yield part

    def _deliver(self, stream: Stream, offset: int, data: bytes) -> None:
        assert stream.position is not None
        stream.position = Position(stream.position.epoch, offset)
        try:
            parcel = unpack_message(data)
        except BadMessage as error:
            self._owner.skip(stream.topic, error)
        else:
            self._owner.deliver(stream, parcel)
