"""Outbox: collects the frames that a loop's connections send, or that are published to them, in one turn of the loop,
and sends them in one call at its end.

    1. `send` adds a frame and its stream, if many connections are served in the batch; `publish` always adds a frame
       and its members.
    2. The poller flushes: at the end of a batch, before it waits for the next one, and when a greenlet blocks
       elsewhere. Outside of a batch the loop flushes, in its next round.
    3. Any other code that sends on a stream, ends it, or changes a topic's subscribers, flushes first. So each socket
       gets everything in the order of the calls.
    4. A message for more connections than one turn can serve goes out over several turns (waves.py).
    5. One call of the core (fanout.h) sends each descriptor its frames. A frame that a socket has not accepted goes
       back to its sender: `refuse`.

The sockets are asked for their descriptors right before the call: somebody may have closed a socket, and its number may
be another file's by then.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

from ..._core.fanout.pure import write_frames
from .turns import count_units
from .waves import MOST_UNITS, Waves, abandon_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ..._core.fanout.pure import Refusal
    from .system import Calls, Clock, System
    from .turns import Turns
    from .waves import Slow

CLOSED, BLOCKED, OWN_FRAMES, IN_PARTS, ENCRYPTED = 1, 2, 4, 8, 16
"""Reasons why the core may not send to a socket: it is not watched, or nothing may follow its close frame; the kernel
accepts nothing; its frames differ from those of others; a message is being sent in parts; it has TLS."""

FEW = 4
"""Connections in a batch, below which each frame is sent at once: there is nothing to gain."""

GATHERED = 2048
"""Bytes of a frame beyond which it is sent at once: copying it costs more than a call of its own."""

MOST_FRAMES = 128
"""Frames in the outbox with which it is flushed before the end of the batch."""

MOST_BYTES = 64 * 1024
"""Bytes of frames beyond which it is flushed before the end of the batch."""

MOST_REFUSED = 256
"""Refusals in a call beyond which fewer published frames are gathered for the next call: Python sends refused frames
one by one, as where each connection compresses in a context of its own."""

LONGEST = 0.001
"""Seconds that a frame waits for others at most."""


class Publication(Protocol):
    """A frame to many connections.

    Attributes:
        excepted: one of the members, which does not get the frame; or None.
        count: how many get it.
    """

    excepted: Callable[[], int] | None
    count: int

    @property
    def members(self) -> Collection[Callable[[], int]]:
        """The `fileno` method of the socket of each connection that gets the frame."""

    def finish(self, count: int) -> None:
        """Count the frame as sent to `count` members; `refuse` follows for each that has not accepted it."""

    def refuse(self, channel: Any, frame: bytes, error: int, sent: int) -> None:
        """Take back a frame that a channel's socket has not accepted whole. Never raises, never blocks.

        Args:
            channel: the channel; None if its socket is closed.
            frame: the frame.
            error: the errno; 0 if the core has not tried, as only the stream may send it.
            sent: how many bytes were accepted.
        """


class Stream(Protocol):
    """A sender to its own peer."""

    error: Any
    calls: Calls
    members: None
    overtaken: bool

    def put(self, data: bytes | memoryview, flags: int = 0) -> None:
        """Send as much as the kernel accepts, and leave the rest to the poller."""

    def block(self, rest: bytes | memoryview) -> None:
        """Leave the rest to the poller."""

    def own(self, size: int) -> None:
        """Count bytes that are left to send, and that no greenlet waits for."""

    def fail(self, error: OSError) -> None:
        """Send nothing more."""


class Owner(Protocol):
    """What an outbox needs of its poller, which has these described."""

    system: System
    clock: Clock
    channels: list[Any]
    current: Any
    turns: Turns

    def call(self, channel: Any, function: Callable[..., object], *arguments: Any) -> None: ...

    def report(self, channel: Any) -> None: ...


class Outbox:
    """The outbox of one loop: see the module. Nothing here blocks.

    Args:
        poller: the loop's.

    Attributes:
        gathers: whether `send` adds its frames here: in a batch of many connections, and while anything waits here.
        holds: whether anything waits here.
        corked: the streams with corked frames, other than that of the connection whose greenlet runs.
    """

    __slots__ = (  # fmt: skip
        "_batch", "_clock", "_fanout", "_frames", "_most_frames", "_poller", "_senders", "_since", "_size", "_waves",
        "_widest", "corked", "gathers", "holds",
    )

    def __init__(self, poller: Owner) -> None:
        self._poller = poller
        self._clock = poller.clock  # the loop's
        self._fanout = poller.system.make_fanout(self._write)  # sends, and knows which descriptors it may send to
        self.gathers: bool = False
        self.holds: bool = False
        self.corked: set[Any] = set()
        self._batch = False  # whether a batch of many connections is being served
        self._frames: list[bytes] = []  # the frames to send
        self._senders: list[Any] = []  # the Stream or Publication of each frame
        self._size = 0  # bytes of the frames
        self._most_frames = MOST_FRAMES  # how many frames, some of them published, may wait
        self._widest = 0  # the most members of one of the publications; 0 if there is none
        self._since = 0.0  # when the first frame was added
        self._waves = Waves(poller, self._send, self.flush)  # messages to very many connections

    def _write(self, fd: int, data: bytes) -> int:
        stream = self._poller.channels[fd].stream
        sent: int = stream.attempt(stream.transmit, data)
        return sent

    # Which sockets the core may send to

    def grow(self, size: int) -> None:
        """Make room for descriptors below `size`."""
        self._fanout.grow(size)

    def shut(self, channel: Any, reason: int, shut: bool) -> None:
        """Set or clear a reason why the core may not send to a channel's socket."""
        if channel is not None and self._poller.channels[channel.fd] is channel:
            reasons, fd = self._fanout.shut, channel.fd
            reasons[fd] = reasons[fd] | reason if shut else reasons[fd] & ~reason

    def admit(self, channel: Any, encrypted: bool) -> None:
        """Note that frames may be sent to a channel's socket from now on: by the core, or by OpenSSL."""
        self.shut(channel, CLOSED, False)
        self.shut(channel, ENCRYPTED, encrypted)

    def forget(self, fd: int) -> None:
        """Forget what is known of a descriptor: it is now another socket's."""
        self._fanout.shut[fd] = CLOSED

    # Frames

    def begin(self) -> None:
        """Begin a batch of many connections: FEW or more."""
        self._batch = self.gathers = True

    def add(self, stream: Stream, frame: bytes) -> None:
        """Send a frame of a stream that is not blocked, at the end of the turn.

        Raises:
            OSError: the connection is broken already.
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

    def _flush_corked(self) -> None:
        """Add all corked frames, before a frame that has to follow them."""
        current = self._poller.current
        if current is not None and current.stream.corked:
            self._poller.call(current, current.flush)
        for stream in list(self.corked):
            stream.flush()

    def publish(self, publication: Publication, frame: bytes) -> None:
        """Send a frame to all members of a publication, at the end of the turn."""
        current = self._poller.current
        if self.corked or (current is not None and current.stream.corked):
            self._flush_corked()
        frames = self._frames
        if not frames:
            self._begin(self._clock.monotonic())
        frames.append(frame)
        self._senders.append(publication)
        self._size += len(frame)
        if publication.count > self._widest:
            self._widest = publication.count
        if self._size > MOST_BYTES or len(frames) >= self._most_frames:
            self.flush()

    def publish_slowly(self, publication: Publication, frame: Slow) -> None:
        """Send a frame to all members of a publication as soon as it is made, in the next turns."""
        self._flush_corked()
        self.flush()
        self._waves.begin_slow(publication, frame)
        self.flush()  # notes that waves wait

    def _begin(self, now: float) -> None:
        self._since = now
        self.gathers = self.holds = True
        if self._poller.current is None:
            self._clock.run_callback(self.flush)

    def settle(self, stream: Stream) -> None:
        """Flush, and send everything that waits for this stream's peer, without delay. Never raises."""
        self.flush()
        if self._waves.waiting:
            self._waves.hurry([stream.calls.fileno])

    def flush(self, end: bool = False) -> None:
        """Send everything; a message to very many connections goes out over several turns. Never raises.

        Args:
            end: whether this is the end of the batch.
        """
        frames, senders, size, widest = self._frames, self._senders, self._size, self._widest
        self._batch = self._batch and not end
        self.holds = bool(self._waves.waiting)
        self.gathers = self._batch or self.holds
        if not frames:
            return
        self._frames, self._senders, self._size, self._widest = [], [], 0, 0
        if widest and count_units(widest * len(frames), size) > MOST_UNITS:  # perhaps: some may be the same
            if count_units(_count_members(senders), size) > MOST_UNITS:
                self._waves.begin(frames, senders)
                self.flush()  # notes that waves wait
                return
        if self.holds:  # waves wait
            for sender in senders:
                self._waves.hurry([sender.calls.fileno] if sender.members is None else sender.members)
        self._send(frames, senders, widest > 0)

    def _send(self, frames: list[bytes], senders: list[Any], published: bool) -> None:
        """Send frames at once; some of them are published, or none. Never raises."""
        try:
            if published:
                refused = self._fanout.send(frames, *_expand(frames, senders))
            else:
                refused = self._fanout.send(frames, [stream.calls.fileno() for stream in senders])
        except BaseException:  # nothing was sent, for lack of memory, say: each stream tries by itself
            self._poller.report(None)
            refused = list(_refuse_all(frames, senders))
        else:
            refused = self._encrypt(refused, frames) if refused else refused
        if len(refused) > MOST_REFUSED:
            self._most_frames = max(self._most_frames // 2, 1)
        elif self._most_frames < MOST_FRAMES:
            self._most_frames *= 2
        for sender in senders if published else ():
            if sender.members is not None:
                sender.finish(sender.count)
        channels = self._poller.channels
        for fd, number, error, sent in refused:
            channel = channels[fd] if fd >= 0 else None
            sender, frame = senders[number], frames[number]
            if sender.members is not None:
                self._poller.call(channel, sender.refuse, channel, frame, error, sent)
            else:
                self._poller.call(channel, _take_back, sender, memoryview(frame)[sent:], error)

    def _encrypt(self, refused: list[Refusal], frames: list[bytes]) -> list[Refusal]:
        """Send what is for sockets with TLS, in one call for each; return what is still refused."""
        shut, channels = self._fanout.shut, self._poller.channels
        left: list[Refusal] = []
        for fd, refusals in groupby(refused, itemgetter(0)):
            these = list(refusals)
            if these[0][2] or shut[fd] != ENCRYPTED or channels[fd].stream.error is not None:
                left += these
            else:
                numbers = [number for _, number, _, _ in these]
                self._poller.call(channels[fd], left.extend, write_frames(self._write, fd, numbers, frames))
        return left

    def clear(self) -> None:
        """Forget everything, in a forked child: it is the parent's to send."""
        self._frames.clear()
        self._senders.clear()
        self._size = self._widest = 0
        self._waves.clear()
        self.gathers = self._batch = self.holds = False


def _take_back(stream: Stream, rest: memoryview, error: int) -> None:
    """Have a stream send later what the core has not sent. The greenlet that sent it does not wait for that."""
    if error not in (0, errno.EAGAIN):
        stream.fail(OSError(error, os.strerror(error)))
    with suppress(OSError):  # the next `send` raises it
        if stream.error is None and not stream.overtaken:
            (stream.block if error else stream.put)(rest)
            stream.own(len(rest))


def _count_members(senders: list[Any]) -> int:
    """Return how many connections get something. Consecutive publications to the same members count once."""
    count, last = 0, None
    for sender in senders:
        if sender.members is not last and sender.members is not None:
            last = sender.members
            count += len(last)
    return count


def _refuse_all(frames: list[bytes], senders: list[Any]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the refusals of a core that may not send to any descriptor."""
    for number, sender in enumerate(senders):
        if sender.members is not None:
            abandon_gone(sender, frames[number])
        for member in list(sender.members) if sender.members is not None else [sender.calls.fileno]:
            if sender.members is None or member is not sender.excepted:
                yield member(), number, 0, 0


def _expand(frames: list[bytes], senders: list[Any]) -> tuple[list[int], list[int], list[int] | None]:
    """Return the descriptors, how many there are for each frame, and the exceptions: what the core's `send` takes.

    First, count those as abandoned who have left the members since.
    """
    fds: list[int] = []
    counts: list[int] = []
    excepts: list[int] | None = None
    last: Any = None
    for sender in senders:
        members = sender.members
        if members is None:
            fds.append(sender.calls.fileno())
            counts.append(1)
        else:
            if sender.excepted is not None or len(members) != sender.count:
                abandon_gone(sender, frames[len(counts)])
                members, excepted = _except(sender)
                if excepted >= 0:
                    excepts = excepts or [-1] * len(senders)
                    excepts[len(counts)] = excepted
            if members is not last:
                numbers, last = [member() for member in members], members
            fds += numbers
            counts.append(len(numbers))
    return fds, counts, excepts


def _except(sender: Any) -> tuple[Any, int]:
    """Return the members of a publication, and the descriptor of the excepted one: -1 if it is not among them."""
    excepted = sender.excepted() if sender.excepted is not None else -1
    if sender.excepted is not None and excepted < 0:
        return [member for member in sender.members if member is not sender.excepted], -1
    return sender.members, excepted
