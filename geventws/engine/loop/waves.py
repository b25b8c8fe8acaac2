"""Waves: a message for more connections than one turn of the loop can serve goes out over several turns.

    1. The outbox passes a flush that is too much for one turn to `begin`. Frames for the same members are one wave.
    2. Each turn sends a wave to as many of its members as there is time for; each of them also gets what later waves
       have for it. A large message is compressed first, slice by slice.
    3. If anything else is sent to a member meanwhile, what waits for it goes first (`hurry`). So each socket gets
       everything in the order of the calls, and nobody waits for a room that it is not in.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Protocol

from .turns import count_units

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from .turns import Turns

MOST_UNITS = 1024
"""Units of work that one flush may take at once: about 5 ms."""

UNITS = 256
"""Units between two looks at the clock."""

MOST_AT_ONCE = 64 * 1024
"""Bytes for one member beyond which it gets nothing of later waves at the same time."""

MOST_WAITING = 1 << 18
"""Members left in all waves together, beyond which the oldest wave is sent without looking at the clock."""

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of all waves' frames, with the same consequence."""


def abandon_gone(publication: Any, frame: bytes) -> None:
    """Count those as abandoned that a message was for, and who have left its members since."""
    members, excepted = publication.members, publication.excepted
    here = len(members) - (excepted is not None and excepted in members)
    gone, publication.count = publication.count - here, here
    for _ in range(gone):
        publication.finish(1)
        publication.refuse(None, frame, errno.EPIPE, 0)


class Slow(Protocol):
    """A frame that takes long to make, as compression does."""

    def make(self) -> Iterator[object]:
        """Make the frame in steps that take a bounded time; yield after each step."""

    @property
    def frame(self) -> bytes:
        """The frame, once it is made."""

    @property
    def plain(self) -> bytes:
        """A frame with the same message that is made at once."""


class Share:
    """A publication to some of its members only: see `Publication` in outbox.py."""

    __slots__ = ("count", "finish", "members", "refuse")

    excepted = None

    def __init__(self, publication: Any, members: list[Any]) -> None:
        if publication.excepted is not None and publication.excepted in members:
            members = [member for member in members if member != publication.excepted]
        self.members: list[Any] = members
        self.count: int = len(members)
        self.finish: Callable[[int], None] = publication.finish
        self.refuse: Callable[..., None] = publication.refuse


class Wave:
    """Frames for the same members.

    Args:
        members: the `members` of their publications.

    Attributes:
        members: as above.
        left: the members that have not got them yet, as keys.
        size: the bytes of the frames.
        steps: the iterator that makes the frame; None once it is made.
    """

    __slots__ = ("_frames", "_publications", "_slow", "left", "members", "size", "steps")

    def __init__(self, members: Collection[Any]) -> None:
        self.members: Collection[Any] = members
        self.left: dict[Any, None] = dict.fromkeys(members)
        self.size: int = 0
        self.steps: Iterator[object] | None = None
        self._frames: list[bytes] = []  # the frames that all members get
        self._publications: list[Any] = []  # the publication of each frame
        self._slow: Slow | None = None  # the frame, if it is slow to make

    def add(self, publication: Any, frame: bytes) -> None:
        """Add a frame for the members."""
        self._publications.append(publication)
        self._frames.append(frame)
        self.size += len(frame)

    def add_slow(self, publication: Any, slow: Slow) -> None:
        """The same for a frame that is yet to be made, the only one."""
        self._publications.append(publication)
        self._slow, self.steps, self.size = slow, iter(slow.make()), len(slow.plain)

    def step(self) -> None:
        """Go on making the frame."""
        assert self.steps is not None and self._slow is not None
        if next(self.steps, self) is self:
            self.steps, slow = None, self._slow
            self._frames, self.size = [slow.frame], len(slow.frame)

    def take(self) -> list[Any]:
        """Return the members that come next, and forget them."""
        most = max(UNITS // count_units(1, self.size), 1)
        return [self.left.popitem()[0] for _ in range(min(most, len(self.left)))]

    def pick(self, members: Collection[Any]) -> list[Any]:
        """Return those of these members that have not got the frames yet, and forget them."""
        found = [member for member in members if member in self.left]
        for member in found:
            del self.left[member]
        return found

    def share(self, members: list[Any]) -> tuple[list[bytes], list[Share]]:
        """Return the frames, each with its publication as far as these members go."""
        frames = self._frames
        if self.steps is not None:
            assert self._slow is not None
            frames = [self._slow.plain]
        return frames, [Share(publication, members) for publication in self._publications]


class Owner(Protocol):
    """What waves need of their poller, which has these described."""

    turns: Turns

    def report(self, channel: Any) -> None: ...


class Waves:
    """The waves of one loop. Nothing here blocks.

    Args:
        owner: the poller.
        send: the outbox's, which sends frames at once.
        rest: called when all is sent.

    Attributes:
        waiting: the waves, the oldest first.
    """

    def __init__(self, owner: Owner, send: Callable[..., None], rest: Callable[[], None]) -> None:
        self._owner = owner
        self._send = send
        self._rest = rest
        self.waiting: list[Wave] = []
        self._due = False  # whether the loop will call `_go_on`

    def begin(self, frames: list[bytes], senders: list[Any]) -> None:
        """Send as much as this turn has time for, and the rest in the next ones."""
        wave: Wave | None = None
        for frame, sender in zip(frames, senders, strict=True):
            if sender.members is None:
                self.hurry([sender.calls.fileno])
                self._send([frame], [sender], False)
                wave = None  # that peer has got it
                continue
            if wave is None or wave.members is not sender.members:
                wave = Wave(sender.members)
                self.waiting.append(wave)
            abandon_gone(sender, frame)
            wave.add(sender, frame)
        self._start()

    def begin_slow(self, publication: Any, slow: Slow) -> None:
        """The same for one frame that is yet to be made."""
        wave = Wave(publication.members)
        abandon_gone(publication, slow.plain)
        wave.add_slow(publication, slow)
        self.waiting.append(wave)
        self._start()

    def hurry(self, members: Collection[Any]) -> None:
        """Send these members everything that waits for them, now."""
        self._serve([(wave, wave.pick(members)) for wave in self.waiting])

    def clear(self) -> None:
        """Forget everything."""
        self.waiting.clear()
        self._due = False

    def _start(self) -> None:
        while self._is_too_much():
            self._advance()
        if not self._due:
            self._go_on()

    def _is_too_much(self) -> bool:
        waves = self.waiting
        members, size = sum([len(wave.left) for wave in waves]), sum([wave.size for wave in waves])
        return len(waves) > 1 and (members > MOST_WAITING or size > MOST_BYTES)

    def _go_on(self) -> None:
        """Send for as long as the turn lasts."""
        self._due = False
        try:
            while self.waiting:
                self._advance()
                if self._owner.turns.is_over():
                    break
        finally:  # also where memory is short
            if self.waiting and not self._due:
                self._due = True
                self._owner.turns.later(self._go_on)
        if not self.waiting:
            self._rest()

    def _advance(self) -> None:
        """Do the next step of the oldest wave."""
        wave = self.waiting[0]
        if wave.steps is None:
            self._send_next(wave)
            return
        try:
            wave.step()
        except BaseException:  # out of memory, say: the members get the plain frame
            self._owner.report(None)
            self.hurry(list(wave.left))

    def _send_next(self, wave: Wave) -> None:
        members, size = wave.take(), wave.size
        served = [(wave, members)]
        for later in self.waiting[1:]:
            if later.steps is not None or size > MOST_AT_ONCE:
                break  # and later waves neither: each member gets everything in order
            served.append((later, later.pick(members)))
            size += later.size
        self._serve(served)

    def _serve(self, served: list[tuple[Wave, list[Any]]]) -> None:
        """Send waves to members that were taken from them."""
        frames: list[bytes] = []
        shares: list[Share] = []
        for wave, members in served:
            if members:
                made, parts = wave.share(members)
                frames += made
                shares += parts
        self.waiting = [wave for wave in self.waiting if wave.left]
        if frames:
            self._send(frames, shares, True)
