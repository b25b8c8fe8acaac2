"""Publication: one message for all members of one group: one frame in the loop's outbox, and one count.

Only what the kernel refuses becomes a `Delivery` of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...engine.published.deliveries import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from ...engine.loop.outbox import Outbox
    from ...engine.published.deliveries import Limits, Tally
    from ...engine.published.outlet import Outlet
    from ...protocol.prepared import PreparedMessage
    from .topics import Group, Seat


class Publication:
    """One message on its way to the members of one group: what the outbox needs to know, and the counts.

    Args:
        prepared: the message.
        group: the subscribers that get it.
        exclude: a subscriber that does not get it, if it is in the group; None for nobody.
        tally: counts it.
        limits: how much may wait for one subscriber.
        key: with the policy `latest`, it replaces a waiting message with the same key.
    """

    __slots__ = ("_key", "_limits", "_prepared", "_tally", "count", "excepted", "members")

    def __init__(
        self,
        prepared: PreparedMessage,
        group: Group,
        exclude: Outlet | None,
        tally: Tally,
        limits: Limits,
        key: Hashable,
    ) -> None:
        self.members: dict[Callable[[], int], Seat] = group.members
        self.excepted: Callable[[], int] | None = None
        if exclude is not None and exclude.fileno in group.members:
            self.excepted = exclude.fileno
        self._prepared = prepared
        self._tally = tally
        self._limits = limits
        self._key = key
        self.count: int = len(group.members) - (self.excepted is not None)  # how many get it
        tally.published += self.count
        tally.queued += self.count

    def withdraw(self) -> None:
        """Count it no more: it is not sent to anybody."""
        self._tally.published -= self.count
        self._tally.queued -= self.count

    def finish(self, count: int) -> None:
        """Count it as sent to `count` subscribers."""
        self._tally.queued -= count
        self._tally.sent += count

    def refuse(self, channel: Any, frame: bytes, error: int, sent: int) -> None:
        """Note that one connection did not take it after all, and queue it there as the policy says.

        Args:
            channel: the connection; None if it is gone.
            frame: the frame that was to be sent.
            error: the errno of the failure.
            sent: the bytes that were sent of the frame.
        """
        self._tally.sent -= 1
        self._tally.queued += 1
        outlet: Outlet | None = channel.outlet if channel is not None else None
        seat = self.members.get(outlet.fileno) if outlet is not None else None
        if outlet is None or seat is None:  # its socket was closed meanwhile
            Delivery(frame, self._tally, "", None).abandon()
        else:
            delivery = Delivery(frame, self._tally, seat.policy, self._key)
            outlet.deliver(self._prepared, delivery, self._limits, error, sent)


class SlowFrame:
    """The frame of a message so large that it is compressed for a group in slices: see `Slow` in waves.py."""

    __slots__ = ("_extension", "_prepared")

    def __init__(self, prepared: PreparedMessage, extension: Any) -> None:
        self._prepared = prepared
        self._extension = extension

    def make(self) -> Iterator[None]:
        """Compress it, slice by slice."""
        return self._prepared.encode_slowly(self._extension)

    @property
    def frame(self) -> bytes:
        """The compressed frame, once it is made."""
        return self._prepared.encode(self._extension)

    @property
    def plain(self) -> bytes:
        """The frame without compression."""
        return self._prepared.encode(None)


def put_in(outbox: Outbox, publication: Publication, prepared: PreparedMessage, group: Group) -> None:
    """Put a publication into the outbox: compressed slice by slice if that would take long, or else at once."""
    if group.extension is not None and prepared.is_slow(group.extension):
        outbox.publish_slowly(publication, SlowFrame(prepared, group.extension))
        return
    try:
        frame = prepared.encode(group.extension)
    except BaseException:  # out of memory, say
        publication.withdraw()
        raise
    outbox.publish(publication, frame)
