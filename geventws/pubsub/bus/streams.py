"""Streams: delivers the messages of topics with history, each once, in order, and without a hole.

A message that arrives over the channel of such a topic has a position. If it is the next one, it is delivered; if it
was delivered before, it is dropped. If messages are missing, or may be, the stream reads them from Redis, and holds
what arrives meanwhile. That happens at the first subscription, after a lost connection, and when the topic has a new
epoch because Redis has lost its data.
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
"""Topics that are read at the same time, at most."""

MOST_HELD = 1000
"""Messages of one topic that are held at most while it is read; later ones are read from Redis."""

PART = 64
"""Messages that are delivered between two looks at the clock."""


class Owner(Protocol):
    """The core."""

    def ask(self, stream: Stream, done: Callable[[Any], None]) -> None:
        """Read a stream after its position; `done` is called with the answer, or with None if there is none."""

    def skip(self, topic: str, error: BadMessage) -> None:
        """Count a message that is not in the known format."""

    def deliver(self, stream: Stream, parcel: Parcel) -> None:
        """Deliver the message at a stream's position."""

    def fill(self, topic: str, position: Position, messages: list[tuple[float, PreparedMessage]]) -> None:
        """Pass on messages of a stream, up to a position."""


class Stream:
    """One topic with history.

    Attributes:
        topic: its name.
        rule: how much of it is kept.
        position: the position of the last message delivered; None before it was first read.
        is_reading: whether it is being read, or waits for that.
        is_stale: whether the last attempt to read it has failed.
        is_overfull: whether more messages have arrived during the reading than are held.
        held: the messages that have arrived during the reading.
        waiting: functions to call when it has been read (True), or could not be (False).
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
        repeated: messages that arrived twice.
        filled: messages that were missed on the channel, and read from Redis.
    """

    def __init__(self, poller: Poller, owner: Owner) -> None:
        self.repeated: int = 0
        self.filled: int = 0
        self._poller = poller
        self._owner = owner
        self._streams: dict[str, Stream] = {}  # by topic: those whose channel is, or will be, subscribed
        self._due: deque[Stream] = deque()  # streams that wait to be read
        self._reading = 0  # how many are being read

    def get(self, topic: str) -> Stream | None:
        """Return the stream of a topic; None if it has no history, or nobody here is subscribed."""
        return self._streams.get(topic)

    def watch(self, topic: str, rule: Rule, is_subscribed: bool) -> None:
        """Start a stream. It is read when its channel is confirmed.

        Args:
            topic: the topic.
            rule: how much of it is kept.
            is_subscribed: whether the channel still is subscribed, so that no confirmation follows.
        """
        stream = self._streams.get(topic)
        if is_subscribed and stream is not None and stream.rule == rule:
            if stream.position is not None and not stream.is_reading and not stream.is_stale:
                self._owner.fill(topic, stream.position, [])  # nothing was missed
            return
        stream = self._streams[topic] = Stream(topic, rule)
        if is_subscribed:
            self.read(stream)

    def unwatch(self, topic: str) -> None:
        """End the stream of a topic."""
        stream = self._streams.pop(topic, None)
        if stream is not None:
            self._tell(stream, False)

    def take(self, stream: Stream, placed: Placed) -> None:
        """Take a message that has arrived over the channel."""
        if stream.is_reading or stream.position is None or not self._take_next(stream, placed):
            if len(stream.held) < MOST_HELD:
                stream.held.append(placed)
            else:
                stream.is_overfull = True
            if stream.position is not None:
                self.read(stream)

    def _take_next(self, stream: Stream, placed: Placed) -> bool:
        """Deliver a message, unless that was done before; return False if others are missing before it."""
        before = stream.position
        if before is None or placed.epoch != before.epoch or placed.offset > before.offset + 1:
            return False
        if placed.offset <= before.offset:
            self.repeated += 1
        else:
            self._deliver(stream, placed.offset, placed.data)
        return True

    def read(self, stream: Stream) -> None:
        """Read a topic after the position of its stream, unless that is being done."""
        if not stream.is_reading:
            stream.is_reading, stream.is_stale = True, False
            self._due.append(stream)
            self._read_next()

    def when_read(self, topic: str, done: Callable[[bool], None]) -> None:
        """Call `done` with True once a topic has been read, or with False if it cannot be."""
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
        """Read the streams that could not be read. To be called when Redis can be reached again."""
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
        """Deliver what has arrived during the reading; return False if messages are missing in it."""
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
