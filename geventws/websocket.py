"""WebSocket: the handle of a connection, which a handler gets. It holds a `Connection`, the engine.

    BaseWebSocket           sends and closes, and knows about the connection
      WebSocket             also receives: for handlers
      CallbackWebSocket     for callbacks, which get the messages as arguments (endpoints/callbacks.py)

This module has what `send` and `wait` need for every message; for everything else they call the connection.
`get_connection` is for our own code that builds on the engine: the endpoints, and the packages in compat.
"""

from __future__ import annotations

import os
import struct
from itertools import cycle
from typing import TYPE_CHECKING, Any, TypeAlias

from gevent.event import AsyncResult

from .engine.fragments import HEADERS, PLAIN_LIMIT, check_thread, cork_frame, send_after, send_message, send_other
from .engine.loop.poller import get_thread
from .engine.loop.turns import UNITS
from .engine.published.outlet import get_outlet, measure_buffered
from .engine.reader import take, wait_for_messages, wait_for_seconds
from .engine.stream import CORK_PARTS
from .frames import BINARY, TEXT, CloseCode
from .protocol.json import decode, encode
from .protocol.prepared import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from gevent.event import Event
    from typing_extensions import Self

    from .engine.connection import Connection
    from .engine.published.outlet import SendResult
    from .protocol.prepared import PreparedMessage

__all__ = ["BaseWebSocket", "WebSocket", "get_connection"]

EXITS = (SystemExit, KeyboardInterrupt)
"""Exceptions that end the program: after one, a connection is closed without waiting for the peer."""

Message: TypeAlias = "str | bytes | bytearray | memoryview"


_TEXT_HEADERS, _BINARY_HEADERS = HEADERS[TEXT], HEADERS[BINARY]
_medium_header = struct.Struct("!BBH").pack  # the header where the size takes 16 bits

_is_time = cycle([False] * (UNITS - 1) + [True]).__next__
"""Whether to look at the clock: True once in UNITS small messages, of all connections. No counter is cheaper."""


class BaseWebSocket:
    """One WebSocket connection: its sending half, and what is known about it.

    Any greenlet of the connection's thread may use it, and several may at the same time.

    Args:
        connection: the engine.
        environ: the WSGI environment of the handshake; None on a client.

    Attributes:
        on_drain: a function to call, with the WebSocket, when all waiting data has been sent; None, the default, calls
            nothing. Called in the hub; it must not block.
    """

    __slots__ = ("__weakref__", "_connection", "_environ", "_pending", "_stream", "on_drain")

    def __init__(self, connection: Connection, environ: dict[str, Any] | None = None) -> None:
        self._connection = connection  # the engine, which knows nothing of this object
        self._stream = connection.stream  # the connection's, for `send`
        self._pending: list[Any] = connection.protocol.pending  # type: ignore[assignment]  # its own: not returned yet
        self._environ: Any = environ if environ is not None else {}  # or packed: see hosts/pywsgi.py
        self.on_drain: Callable[[Any], object] | None = None

    def __repr__(self) -> str:
        state = f"closed {self.close_code}" if self.closed else "open"
        return f"<WebSocket {self._connection.peer} {state}>"

    # What is known from the handshake

    @property
    def environ(self) -> dict[str, Any]:
        """The WSGI environment of the handshake; {} on a client."""
        if not isinstance(self._environ, dict):
            self._environ = self._environ.unpack()
        return self._environ

    @property
    def path(self) -> str:
        """PATH_INFO of the handshake; on a client, the path of its URI."""
        return self._connection.handshake.path

    @property
    def protocol(self) -> str | None:
        """The negotiated subprotocol, or None."""
        return self._connection.handshake.protocol

    @property
    def origin(self) -> str | None:
        """The Origin header of the handshake, or None."""
        return self._connection.handshake.origin

    @property
    def version(self) -> int:
        """The version of the protocol, 13 or 8; 75 or 76 for the drafts."""
        return self._connection.handshake.version

    # Sending

    def send(self, message: Message | PreparedMessage | Iterable[Message], compress: bool | None = None) -> None:
        """Send a message: `str` as text, bytes-like as binary. Blocks while the peer reads too slowly.

        Messages are sent whole, in the order of the calls, by whatever greenlets. In a loop with many connections,
        small messages leave together at the end of the turn; if that fails, the next call raises the error.

        Args:
            message: the message; a `PreparedMessage`, which has its own `compress`; or an iterable of the message's
                parts, all text or all binary, each of which is sent as soon as it is produced (RFC 6455 5.4). If the
                iterable raises after its first part, the connection is closed with 1011.
            compress: whether to compress the message, if compression was negotiated; None, the default, compresses
                messages from the threshold on.

        Raises:
            ConnectionClosed: the connection is closed or closing; it is an `OSError` with errno EPIPE.
            TypeError: `message` is of another type.
            UnicodeEncodeError: a `str` has a lone surrogate, which UTF-8 cannot encode. Nothing is sent.
            ConcurrencyError: this greenlet is producing the parts of another message; or the connection belongs to
                another thread.
        """
        if type(message) is bytes:
            payload, head, headers = message, BINARY, _BINARY_HEADERS
        elif type(message) is str:
            payload, head, headers = message.encode(), TEXT, _TEXT_HEADERS
        else:
            send_other(self._connection, message, compress)
            return
        stream, size = self._stream, len(payload)
        if size > stream.plain_limit or compress is not None:
            if compress is not None or not -1 < stream.plain_limit < size <= PLAIN_LIMIT:
                send_message(self._connection, head, payload, compress)
                return
            extension: Any = self._connection.protocol.extension
            payload, head = extension.encode(payload), head | extension.header_bits  # it reaches the threshold
            size, headers = len(payload), HEADERS[head]
        header = headers[size] if size < 126 else _medium_header(head, 126, size)
        if self._pending:  # the handler will handle these next, and may send more: wait for that
            corked = stream.corked
            if corked and len(corked) < CORK_PARTS:
                corked.append(header)
                corked.append(payload)
            else:
                cork_frame(self._connection, header, payload)
            return
        frame, poller = header + payload, stream.poller
        if get_thread() != poller.thread:
            check_thread(self._connection)
        try:
            if stream.corked or stream.blocked:
                stream.send(frame)
            elif poller.outbox.gathers:
                poller.outbox.add(stream, frame)
            elif (sent := stream.transmit(frame)) != len(frame):
                stream.send_rest(memoryview(frame)[sent:])
        except OSError as error:
            send_after(self._connection, frame, error)
        if _is_time():
            poller.turns.look()

    def try_send(self, message: Message | PreparedMessage) -> SendResult:
        """Send a message, queue it, or drop it. Never blocks.

        It is queued if the peer reads too slowly, or while another message is being sent in parts. It is dropped if 64
        KB or 256 messages from `try_send` or from a `PubSub` are queued already.

        Args:
            message: `str` for text, bytes-like for binary, or a `PreparedMessage`.

        Returns:
            SENT (to the kernel), QUEUED or DROPPED.

        Raises:
            ConnectionClosed: the connection is closed or closing.
            TypeError: `message` is of another type.
            ConcurrencyError: the connection belongs to another thread.
        """
        check_thread(self._connection)
        return get_outlet(self._connection, self).try_send(prepare(message))

    @property
    def buffered_amount(self) -> int:
        """The bytes sent, or published, over this connection that the kernel has not accepted yet."""
        outlet, stream = self._connection.outlet, self._stream
        return measure_buffered(stream) if outlet is None else outlet.buffered

    def send_json(
        self, value: Any, default: Callable[[Any], Any] | None = None, compress: bool | None = None
    ) -> None:
        """Send a value as JSON, in a text message. Blocks, and may be called, as `send`.

        Args:
            value: a dict, list, tuple, str, int, float, bool or None; with orjson also a dataclass, datetime, UUID or
                enum.
            default: called with each value of another type; returns one of these types in its place.
            compress: as for `send`.

        Raises:
            TypeError, ValueError: the value cannot be written as JSON. Nothing is sent.
            ConnectionClosed: the connection is closed or closing.
        """
        self.send(encode(value, default), compress)

    def ping(self, payload: bytes | bytearray | memoryview | None = None) -> AsyncResult[float]:
        """Send a ping (RFC 6455 5.5.2). Does not block.

        Args:
            payload: bytes-like, at most 125 bytes; None, the default, for four random bytes.

        Returns:
            An `AsyncResult` for the round-trip time in seconds, which is set when the pong arrives:
            `ws.ping().get(timeout=5)`. It raises `ConnectionClosed` if the connection ends before, and `TimeoutError`
            if 64 later pings are not answered either, or if so much data waits that the ping is not sent.

        Raises:
            ConnectionClosed: the connection is closed or closing.
            TypeError: the payload is not bytes-like.
            ValueError: the payload is too long.
        """
        connection = self._connection
        check_thread(connection)
        if connection.closed:
            raise connection.closed_error()
        result = AsyncResult()
        data = os.urandom(4) if payload is None else bytes(memoryview(payload))
        connection.keepalive.send_ping(connection, data, result)
        return result

    @property
    def latency(self) -> float:
        """The round-trip time of the last answered ping, in seconds; 0.0 before the first answer."""
        return self._connection.keepalive.latency

    # The end

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection (RFC 6455 7.1.2). Blocks until the peer has answered, for `close_timeout` at most.

        Idempotent; any greenlet may call it. A greenlet in `wait` gets the messages received before, and then None.

        Args:
            code: 1000, 1001, 1002, 1003, 1007 to 1014, or 3000 to 4999.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ValueError: the code or the reason may not be sent. Nothing is sent, and the connection stays open.
        """
        if code == CloseCode.NO_STATUS_RCVD:  # it means that a close frame had no code, and may not be sent (7.4.1)
            raise ValueError(f"close code {code} may not be sent")
        check_thread(self._connection)
        self._connection.closing.close(code, reason)

    def __enter__(self) -> Self:
        """Return the connection, to be closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close with 1000, or with 1011 if the block raised."""
        if kind is not None and issubclass(kind, EXITS):
            self._connection.closing.close_now(1011)
        else:
            self.close(1000 if kind is None else 1011)

    @property
    def closed(self) -> bool:
        """Whether the connection is closed or closing, so that `send` raises."""
        return self._connection.closed

    @property
    def close_code(self) -> int | None:
        """The close code; None while the connection is open.

        It is the peer's code, or 1005 if its close frame had none (RFC 6455 7.1.5). If the peer sent no close frame,
        it is ours if we failed the connection: 1002, 1007 or 1009 for a violation, 1011 for an unanswered ping.
        Otherwise it is 1006: the connection was lost.
        """
        return self._connection.protocol.close_code if self._connection.ended else None

    @property
    def close_reason(self) -> str | None:
        """The reason that came with `close_code`; None while the connection is open."""
        return self._connection.protocol.close_reason if self._connection.ended else None

    @property
    def ended(self) -> Event:
        """A gevent `Event` that is set when nothing more will be received. Do not set it yourself.

        Use it to wait for one of several events, as in `gevent.wait([queue_event, ws.ended], count=1)`, or to have a
        function called: `ws.ended.rawlink(function)`. The hub calls that with the event; it must not block, and what it
        raises is reported by the hub. Messages received before can still be taken; messages sent after are lost.

        While receiving is paused, because the handler is too far behind, the end is not noticed.
        """
        return self._connection.closing.get_event()


class WebSocket(BaseWebSocket):
    """One WebSocket connection, with calls that block this greenlet only.

    `send`, `ping` and `close` may be called from any greenlet of the connection's thread, also at the same time; `wait`
    from one at a time. A `gevent.Timeout` or a kill in any of them does not harm the connection.

    A subclass that overrides `wait` has to override `__iter__`, too.
    """

    __slots__ = ("_inbox",)

    def __init__(self, connection: Connection, environ: dict[str, Any] | None = None) -> None:
        super().__init__(connection, environ)
        self._inbox: list[Any] = connection.protocol.inbox  # the protocol's own list: received, but not taken yet

    def wait(self, timeout: float | None = None) -> str | bytes | None:
        """Return the oldest message not yet taken. Blocks until there is one.

        Args:
            timeout: seconds to block at most; None, the default, for no limit.

        Returns:
            `str` for a text message (`bytes` with `decode_text=False`) and `bytes` for a binary one; either may be
            empty. None, and None again, once the connection is over and all messages have been taken.

        Raises:
            TimeoutError: no message arrived in time. None is lost, and `wait` may be called again.
            ConcurrencyError: another greenlet is in `wait`; or the connection belongs to another thread.
        """
        pending, inbox = self._pending, self._inbox
        if not pending:
            if not inbox:
                if timeout is None:
                    wait_for_messages(self._connection)
                else:
                    wait_for_seconds(self._connection, timeout)
                if not inbox:
                    return None
            if len(inbox) == 1:
                message: str | bytes = inbox[0]
                inbox.clear()
                return message
            take(self._connection, inbox, pending)
        return pending.pop()  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages, until the connection is over. Blocks, and raises, as `wait` does."""
        pending, inbox, connection = self._pending, self._inbox, self._connection
        while True:
            while pending:
                yield pending.pop()
            if not inbox:
                if connection.ended:
                    return
                wait_for_messages(connection)
            if len(inbox) == 1:
                message = inbox[0]
                inbox.clear()
                yield message
                del message  # it may be large, and the next one may come late
            else:
                take(connection, inbox, pending)

    def wait_json(self, timeout: float | None = None) -> Any:
        """Return the oldest message not yet taken, decoded from JSON. Blocks as `wait` does.

        Args:
            timeout: seconds to block at most; None, the default, for no limit.

        Returns:
            The value; None once the connection is over, as from `wait`. The message `null` gives None, too.

        Raises:
            ValueError: the message is not JSON. It counts as taken.
            TimeoutError: no message arrived in time. None is lost.
            ConcurrencyError: another greenlet is receiving.
        """
        message = self.wait(timeout)
        return None if message is None else decode(message)


def get_connection(ws: BaseWebSocket) -> Connection:
    """Return the engine of a WebSocket. For our own code that builds on it."""
    return ws._connection


def keep_packed(ws: BaseWebSocket, packed: Any) -> None:
    """Give a WebSocket its environ, packed by a host. It is unpacked when it is first read."""
    ws._environ = packed
