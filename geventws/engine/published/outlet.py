"""Outlet: sends messages to one connection on behalf of others, who do not wait for it. Most connections have none.

A published message usually does not pass through an outlet: the outbox sends it straight to the socket. The outlet
gets it if the socket has not accepted it, or if the core may not send it: over TLS, masked, or compressed with a
context of its own. While the stream is blocked, the message waits in the stream, in order with those of `send`; while
another message is sent in parts, it waits here (RFC 6455 5.4).

All methods are called in the connection's thread, and none blocks.
"""

from __future__ import annotations

import enum
import errno
import os
import socket
from contextlib import suppress
from logging import INFO
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

from ...frames import FIN, CloseCode
from ...protocol.prepared import LARGE_TO_COMPRESS
from ..loop.outbox import CLOSED, OWN_FRAMES
from .deliveries import CLOSE, DROP_NEWEST, Delivery, Limits, Queue, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ...exceptions import ConnectionClosed
    from ...protocol.prepared import PreparedMessage

PLAIN = "plain"
"""The `sharing` of all connections that get a message uncompressed."""

NOTSENT_LOWAT: int = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # Linux and macOS have it

LOW_WATER = 16 * 1024
"""How many unsent bytes the kernel may hold for a connection that is published to; further ones wait in its queue."""


class SendResult(enum.Enum):
    """What `try_send` has done with a message: given it to the kernel, queued it, or dropped it."""

    SENT = "sent"
    QUEUED = "queued"
    DROPPED = "dropped"


class Published(Protocol):
    """The connection that is published to: see `Connection`, which has these described."""

    outlet: Outlet | None
    stream: Any
    protocol: Any
    fragments: Any

    @property
    def peer(self) -> str: ...

    @property
    def closed(self) -> bool: ...

    @property
    def closing(self) -> Any: ...

    def closed_error(self) -> ConnectionClosed: ...


class Leaver(Protocol):
    """A publisher to tell when a connection takes no more messages."""

    def leave(self, outlet: Outlet) -> None:
        """Publish nothing to it any more."""


class Outlet:
    """The outlet of one connection: see the module.

    Args:
        connection: the connection.
        handle: returns its `WebSocket`, or None once that is gone.

    Attributes:
        connection: as above.
        fileno: returns the descriptor of its socket, -1 once that is closed. Always the same object.
        sharing: a key that is equal for all connections that get the same bytes for a message; None if it gets its own.
        handle: as above.
        queue: the deliveries that wait.
    """

    __slots__ = ("_held", "_leavers", "connection", "fileno", "handle", "queue", "sharing")

    def __init__(self, connection: Published, handle: Callable[[], Any]) -> None:
        protocol, stream = connection.protocol, connection.stream
        self.connection: Published = connection
        self.fileno: Callable[[], int] = stream.calls.fileno
        self.queue: Queue = Queue()
        self.handle: Callable[[], Any] = handle
        self.sharing: Hashable = None
        if protocol.plain_frames:
            self.sharing = PLAIN if protocol.extension is None else protocol.extension.sharing
        self._held: list[Delivery] = []  # those that wait for the end of a message in parts
        self._leavers: tuple[Leaver, ...] = ()  # the publishers to tell when it ends
        with suppress(OSError):  # a Unix socket has no such option
            stream.calls.setsockopt(socket.IPPROTO_TCP, NOTSENT_LOWAT, LOW_WATER)
        if self.sharing is None:
            stream.poller.outbox.shut(connection, OWN_FRAMES, True)
            stream.plain_limit = -1  # `send` flushes first: messages are compressed in the order of the calls

    @property
    def extension(self) -> Any:
        """The extension that compresses messages, or None."""
        return self.connection.protocol.extension

    # Those who publish

    def join(self, leaver: Leaver) -> None:
        """Call the publisher's `leave` when the connection takes no more messages."""
        if leaver not in self._leavers:
            self._leavers = (*self._leavers, leaver)

    def end(self) -> None:
        """The connection takes no more messages: it is over, or begins to close. What was published goes out before."""
        self.connection.stream.poller.outbox.settle(self.connection.stream)
        leavers, self._leavers = self._leavers, ()
        for leaver in leavers:
            leaver.leave(self)
        held, self._held = self._held, []
        for delivery in held:
            delivery.abandon()

    # What is sent

    def deliver(
        self, prepared: PreparedMessage, delivery: Delivery, limits: Limits, error: int = 0, sent: int = 0
    ) -> None:
        """Send a message, queue it, or do what its policy says.

        Args:
            prepared: the message.
            delivery: its frame, as all connections with the same `sharing` get it.
            limits: how much may wait.
            error: EAGAIN if the kernel has not accepted all of it, 0 if it was not offered to the kernel, or the errno
                of a broken connection.
            sent: how many bytes the kernel has accepted.
        """
        connection, stream = self.connection, self.connection.stream
        if error not in (0, errno.EAGAIN):
            stream.fail(OSError(error, os.strerror(error)))
        if stream.error is not None or connection.closed:
            delivery.abandon()
        elif error and not stream.blocked:
            self.queue.append(delivery)
            self._put_rest(delivery, sent)
        elif stream.blocked or connection.fragments is not None:
            self._enqueue(prepared, delivery, limits)
        else:
            self._send(prepared, delivery)

    def _send(self, prepared: PreparedMessage, delivery: Delivery) -> None:
        """Send a delivery that the core has not tried to send."""
        if self.sharing is None:
            large = len(prepared.payload) > LARGE_TO_COMPRESS  # and would keep others from their turn
            delivery.set_frame(self._encode(prepared, False if large else prepared.compress))
        self.queue.append(delivery)
        self._put(delivery)

    def _put(self, delivery: Delivery) -> None:
        """Have the stream send a delivery of the queue, before the frames that are corked there."""
        stream = self.connection.stream
        if stream.blocked:
            stream.block(delivery)
            return
        try:
            sent = stream.attempt(stream.transmit, delivery.rest)
        except OSError:
            delivery.abandon()
            return
        if sent == len(delivery):
            delivery.finish()
        else:
            self._put_rest(delivery, sent)

    def _put_rest(self, delivery: Delivery, sent: int) -> None:
        stream = self.connection.stream
        if sent or stream.opaque:  # OpenSSL wants the same bytes again
            delivery.advance(sent)
        stream.block(delivery)

    def _encode(self, prepared: PreparedMessage, compress: bool | None) -> bytes:
        return b"".join(self.connection.protocol.encode_message(FIN | prepared.opcode, prepared.payload, compress))

    def _enqueue(self, prepared: PreparedMessage, delivery: Delivery, limits: Limits) -> None:
        if self.sharing is None:  # uncompressed: a message that may be dropped must not be in the context
            delivery.set_frame(self._encode(prepared, False))
        for old in self.queue.make_room(delivery, limits):
            self._take_back(old)
        if self.queue.fits(delivery, limits):
            self.queue.append(delivery)
            if self.connection.fragments is None:
                self._put(delivery)
            else:
                self._held.append(delivery)
        elif delivery.policy == CLOSE:
            delivery.abandon()
            self._close()
        else:
            delivery.drop()

    def _take_back(self, delivery: Delivery) -> None:
        if delivery in self._held:
            self._held.remove(delivery)
        else:
            self.connection.stream.backlog.remove(delivery)

    def _close(self) -> None:
        """Close the connection of a subscriber that is too slow."""
        for delivery in list(self.queue):
            if not delivery.begun:
                self._take_back(delivery)
                delivery.abandon()
        connection, stream, code = self.connection, self.connection.stream, int(CloseCode.TRY_AGAIN_LATER)
        log = stream.poller.log
        log.tell(INFO, "%s: closed with %d: too slow for what is published to it", connection.peer, code)
        connection.closing.begin(code, "too slow")
        stream.poller.outbox.settle(stream)
        stream.poller.outbox.shut(connection, CLOSED, True)
        stream.overtaken = True

    def release(self) -> None:
        """Send the deliveries that were held back, now that no message is sent in parts."""
        held, self._held = self._held, []
        if held:
            self.connection.stream.flush_now()  # the last parts
        for delivery in held:
            self._put(delivery)

    # Single messages

    @property
    def buffered(self) -> int:
        """The bytes that were sent or published, and that the kernel has not accepted."""
        return measure_buffered(self.connection.stream) + sum(map(len, self._held))

    def drained(self) -> None:
        """Note that nothing waits any more."""
        self.connection.stream.poller.later(self._tell_drained)

    def _tell_drained(self) -> None:
        ws = self.handle()
        if ws is not None and ws.on_drain is not None:
            self.connection.stream.poller.call_out(ws.on_drain, ws)

    def try_send(self, prepared: PreparedMessage) -> SendResult:
        """Send a message, queue it if there is room, or drop it. Raises ConnectionClosed after the end."""
        if self.connection.closed:
            raise self.connection.closed_error()
        self.connection.stream.flush_now()
        tally = Tally()
        tally.queued = 1
        extension = None if prepared.is_slow(self.extension) else self.extension
        frame = prepared.encode(extension) if self.sharing is not None else b""
        self.deliver(prepared, Delivery(frame, tally, DROP_NEWEST, None), Limits())
        if tally.sent:
            return SendResult.SENT
        return SendResult.QUEUED if tally.queued else SendResult.DROPPED


def measure_buffered(stream: Any) -> int:
    """Return how many bytes of a stream the kernel has not accepted yet."""
    stream.poller.outbox.settle(stream)
    return sum(map(len, stream.corked)) + (stream.backlog.size if stream.backlog is not None else 0)


def get_outlet(connection: Published, ws: Any) -> Outlet:
    """Return the outlet of a connection, made when first asked for; `ws` is its WebSocket."""
    if connection.outlet is None:
        connection.outlet = Outlet(connection, ref(ws))
    return connection.outlet
