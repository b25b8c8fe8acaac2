"""Outbox: what connections of one loop send in a turn, and what is published to them, leaves in one call at its end.

    1. `send` adds a frame and its stream where many connections are served in one batch; `publish` adds a frame and all
       who get it, always.
    2. The poller flushes: at the end of a batch, before it waits for the next one, and where a greenlet blocks
       elsewhere. Outside of a batch the loop does, in its next round.
    3. Whatever else sends on a stream, ends it, or changes who gets what, flushes first. So each socket gets
       everything in the order of the calls.
    4. One call of the core (fanout.h) sends to each descriptor what is for it, and what it has not taken goes back to
       those who sent it: `refuse`.

Descriptors are asked of the sockets when they are sent to, for somebody may have closed one, and its number be another
file's by then.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from .system import Calls, Clock, System

CLOSED, BLOCKED, OWN_FRAMES, IN_PARTS = 1, 2, 4, 8
"""Why the core may not send to a socket: it is closed to all but its stream, as TLS is; the kernel takes nothing; what
others get is not for it; a message is being sent in parts."""

FEW = 4
"""Connections of a batch below which each frame is sent at once: then there is nothing to gain."""

GATHERED = 2048
"""Bytes past which frames of a stream are sent at once: to copy them costs more than a call of their own."""

MOST_FRAMES = 128
"""Frames past which nothing waits for the end of a batch."""

MOST_BYTES = 64 * 1024
"""The same for the bytes of the frames."""

LONGEST = 0.001
"""Seconds after which a frame waits for no further one."""


class Publication(Protocol):
    """Who sends to many.

    Attributes:
        excepted: one of the members that does not get it, or None.
    """

    excepted: Callable[[], int] | None

    @property
    def members(self) -> Collection[Callable[[], int]]:
        """The `fileno` of the socket of each who gets the frame."""

    def finish(self) -> None:
        """Count the frame as sent; what was refused is told next."""

    def refuse(self, channel: Any, frame: bytes, error: int, sent: int) -> None:
        """Take a frame back that a channel's socket has not taken whole. Never raises, never blocks.

        Args:
            channel: whose frame it was; None where its socket is closed.
            frame: what was to be sent.
            error: the errno; 0 where it was not tried, as it is for Python to do.
            sent: how many bytes were taken.
        """


class Stream(Protocol):
    """Who sends to its own peer."""

    error: Any
    calls: Calls
    members: None

    def put(self, data: bytes | memoryview, flags: int = 0) -> None:
        """Send as much as the kernel takes, and leave the rest to the poller."""

    def block(self, rest: bytes | memoryview) -> None:
        """Leave the rest to the poller."""

    def own(self, size: int) -> None:
        """Count bytes that are left to send, and that nobody waits for."""

    def fail(self, error: OSError) -> None:
        """Give up sending."""


class Owner(Protocol):
    """What an outbox needs of its poller, which has these described."""

    system: System
    clock: Clock
    channels: list[Any]
    current: Any

    def call(self, channel: Any, function: Callable[..., object], *arguments: Any) -> None: ...

    def report(self, channel: Any) -> None: ...


class Outbox:
    """The outbox of one loop: see the module. Nothing here blocks.

    Args:
        poller: the loop's.

    Attributes:
        gathers: whether `send` adds its frames here: in a batch of many connections, and while there are any.
        corked: streams on which others than the greenlet that runs have corked something.
    """

    __slots__ = (  # fmt: skip
        "_batch", "_clock", "_fanout", "_frames", "_poller", "_published", "_senders", "_since", "_size",
        "corked", "gathers",
    )

    def __init__(self, poller: Owner) -> None:
        self._poller = poller
        self._clock = poller.clock  # the loop's
        self._fanout = poller.system.make_fanout(self._write)  # sends, and knows who may be sent to
        self.gathers: bool = False
        self.corked: set[Any] = set()
        self._batch = False  # a batch of many connections is being served
        self._frames: list[bytes] = []  # what is to be sent
        self._senders: list[Any] = []  # of each frame: a Stream or a Publication
        self._size = 0  # bytes of the frames
        self._published = False  # some of them are published
        self._since = 0.0  # when the first of them was added

    def _write(self, fd: int, data: bytes) -> int:
        sent: int = self._poller.channels[fd].stream.transmit(data)
        return sent

    # Whom may be sent to

    def grow(self, size: int) -> None:
        """Make room for descriptors below `size`."""
        self._fanout.grow(size)

    def shut(self, channel: Any, reason: int, shut: bool) -> None:
        """Say whether there is a reason for which a channel's socket may not be sent to without asking its stream."""
        if channel is not None and self._poller.channels[channel.fd] is channel:
            reasons, fd = self._fanout.shut, channel.fd
            reasons[fd] = reasons[fd] | reason if shut else reasons[fd] & ~reason

    def forget(self, fd: int) -> None:
        """Begin anew with a descriptor: what was known of it was another socket's."""
        self._fanout.shut[fd] = CLOSED

    # What is to be sent

    def begin(self) -> None:
        """A batch of many connections begins: FEW or more."""
        self._batch = self.gathers = True

    def end(self) -> None:
        """The batch is over."""
        self._batch = False
        self.flush()

    def add(self, stream: Stream, frame: bytes) -> None:
        """Send a frame of a stream that is not blocked, at the end of the turn.

        Raises:
            OSError: the connection is broken, as far as is known.
        """
        if stream.error is not None:
            raise OSError(*stream.error)
        self._frames.append(frame)
        self._senders.append(stream)
        self._size += len(frame)
        now = self._clock.monotonic()
        if len(self._frames) == 1:
            self._begin(now)
        if now - self._since > LONGEST or len(self._frames) >= MOST_FRAMES or self._size > MOST_BYTES:
            self.flush()

    def flush_corked(self) -> None:
        """Add what is corked anywhere, before something that is to follow it."""
        current = self._poller.current
        if current is not None:
            self._poller.call(current, current.flush)
        for stream in list(self.corked):
            stream.flush()

    def publish(self, publication: Publication, frame: bytes) -> None:
        """Send a frame to all members of a publication, at the end of the turn."""
        if not self._frames:
            self._begin(self._clock.monotonic())
        self._frames.append(frame)
        self._senders.append(publication)
        self._size += len(frame)
        self._published = True
        if self._size > MOST_BYTES or len(self._frames) >= MOST_FRAMES:
            self.flush()

    def _begin(self, now: float) -> None:
        self._since = now
        self.gathers = True
        if self._poller.current is None:
            self._clock.run_callback(self.flush)

    def flush(self) -> None:
        """Send everything. Never raises."""
        frames, senders, published = self._frames, self._senders, self._published
        self.gathers = self._batch
        if not frames:
            return
        self._frames, self._senders, self._size, self._published = [], [], 0, False
        try:
            if published:
                refused = self._fanout.send(frames, *_expand(senders))
            else:
                refused = self._fanout.send(frames, [stream.calls.fileno() for stream in senders])
        except BaseException:  # before anything was sent, as where memory is short: each stream tries by itself
            self._poller.report(None)
            refused = list(_refuse_all(senders))
        for sender in senders if published else ():
            if sender.members is not None:
                sender.finish()
        channels = self._poller.channels
        for fd, number, error, sent in refused:
            channel = channels[fd] if fd >= 0 else None
            sender, frame = senders[number], frames[number]
            if sender.members is not None:
                self._poller.call(channel, sender.refuse, channel, frame, error, sent)
            else:
                self._poller.call(channel, _take_back, sender, memoryview(frame)[sent:], error)

    def clear(self) -> None:
        """Forget everything, in a forked child: it is the parent's to send."""
        self._frames.clear()
        self._senders.clear()
        self._size, self._published = 0, False
        self.gathers = self._batch = False


def _take_back(stream: Stream, rest: memoryview, error: int) -> None:
    """Have a stream send later what the core has not sent: the greenlet that has sent it has gone on."""
    if error not in (0, errno.EAGAIN):
        stream.fail(OSError(error, os.strerror(error)))
    if stream.error is not None:
        return  # the next send tells
    (stream.block if error else stream.put)(rest)
    stream.own(len(rest))


def _refuse_all(senders: list[Any]) -> Iterator[tuple[int, int, int, int]]:
    """Yield what the core would tell of descriptors to none of which it may send."""
    for number, sender in enumerate(senders):
        for member in list(sender.members) if sender.members is not None else [sender.calls.fileno]:
            if sender.members is None or member is not sender.excepted:
                yield member(), number, 0, 0


def _expand(senders: list[Any]) -> tuple[list[int], list[int], list[int]]:
    """Return the descriptors that get each frame, one frame after the other; how many these are; and all exceptions."""
    fds: list[int] = []
    counts: list[int] = []
    excepts: list[int] = []
    last: Any = None
    for sender in senders:
        members, excepted = sender.members, -1
        if members is None:
            fds.append(sender.calls.fileno())
            counts.append(1)
        else:
            if sender.excepted is not None:
                excepted = sender.excepted()
                if excepted < 0:
                    members = [member for member in members if member is not sender.excepted]
            if members is not last:
                numbers, last = [member() for member in members], members
            fds += numbers
            counts.append(len(numbers))
        excepts.append(excepted)
    return fds, counts, excepts
