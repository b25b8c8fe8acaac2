"""A connection of pulsar's, and how its callbacks are run: see geventws.compat.pulsar."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent

from ...endpoints.callbacks import overrides
from ...endpoints.endpoint import logger
from ...engine.fragments import send_frames
from ...exceptions import ConnectionClosed
from ...frames import FrameParser as RawParser
from ...frames import Opcode, parse_close
from ...websocket import get_connection
from .._controls import ControlRoute, Controls
from .frames import CLOSE_CODES, FrameParser

if TYPE_CHECKING:
    from ...handshake.origins import Environ
    from ...handshake.upgrade import Upgrade
    from ...websocket import WebSocket
    from .wsgi import Config

CONSUMER = "geventws.pulsar"
"""The environ's key for the `WebSocketProtocol`, while its callbacks run."""

CALLBACKS: dict[int, str] = {
    Opcode.TEXT: "on_message",
    Opcode.BINARY: "on_bytes",
    Opcode.PING: "on_ping",
    Opcode.PONG: "on_pong",
}


class WS:
    """The callbacks of connections: derive from it, and override those you need. One object serves all connections.

    The callbacks of one connection run one after the other, in a greenlet of its own, and may block. Their results are
    ignored; an exception closes the connection with 1011. They may be coroutine functions that await nothing of
    asyncio's.
    """

    def on_open(self, websocket: WebSocketProtocol) -> Any:
        """Called when the connection is open: the 101 was sent, or has come."""

    def on_message(self, websocket: WebSocketProtocol, message: str) -> Any:
        """Called for each text message."""

    def on_bytes(self, websocket: WebSocketProtocol, body: bytes) -> Any:
        """Called for each binary message."""

    def on_ping(self, websocket: WebSocketProtocol, message: bytes) -> Any:
        """Called for each ping, and answers it. An override has to answer it itself, or may leave it.

        If this is not overridden, pings are answered at once, even while another callback is busy.
        """
        websocket.pong(message)

    def on_pong(self, websocket: WebSocketProtocol, body: bytes) -> Any:
        """Called for each pong, except those that answer keepalive pings."""

    def on_close(self, websocket: WebSocketProtocol) -> Any:
        """Called last, once, when the connection is over, even if `on_open` has failed."""


class WebSocketProtocol:
    """One connection, of a server or a client. Its methods may be called from any greenlet.

    Args:
        connection: the `geventws.WebSocket` below.

    Attributes:
        connection: the same.
        handshake: the request of the handshake; on a client, the response.
        handler: the `WS`.
        parser: the `FrameParser` that encodes what `write` sends.
    """

    def __init__(self, connection: WebSocket) -> None:
        self.connection = connection
        self.handshake: Any = None
        self.handler: WS = WS()
        self.parser: FrameParser = FrameParser()
        self._closing = False  # whether a close frame was written: then no callback is called any more
        self._controls: Any = None  # the pings and pongs of the connection: see `adopt`

    @property
    def cfg(self) -> Config:
        """The settings of the server, of the route, or of the client, by name."""
        config: Config = self.handshake.cfg
        return config

    @property
    def close_reason(self) -> tuple[int, str] | None:
        """Code and reason of the close frame that came, (1005, "") for an empty one; None before it."""
        protocol = get_connection(self.connection).protocol
        return (protocol.close_code, protocol.close_reason) if protocol.close_received else None

    def write(self, message: Any, opcode: int | None = None, encode: bool = True, **options: Any) -> None:
        """Send a message, or any frame. Blocks while the peer does not take it.

        Args:
            message: `str` or bytes.
            opcode: 1 for `str` and 2 for bytes by default.
            encode: whether to encode it with `parser.encode`. Otherwise it has to be frames, such as `parser` makes.
            options: `final`, `masking_key`, `rsv1`, `rsv2`, `rsv3`, for `parser.encode`.

        Raises:
            ConnectionClosed: the connection is over, or has begun to close; it is an `OSError` with errno EPIPE.
            ProtocolError: there is no such frame.
        """
        plain = encode and opcode is None and not options and message is not None
        if plain and type(self.parser) is FrameParser:
            self.connection.send(message)
            return
        data = self.parser.encode(message, opcode=opcode, **options) if encode else bytes(message)
        if data[:1] and data[0] & 0x0F == Opcode.CLOSE:
            frame = RawParser(masked_in=bool(self.parser.encode_mask_length)).feed(data)[0]
            self._begin_close(*parse_close(frame.payload))
        else:
            send_frames(get_connection(self.connection), data)

    def ping(self, message: str | bytes | None = None) -> None:
        """Send a ping. Raises as `write`."""
        self.write(self.parser.ping(message), encode=False)

    def pong(self, message: str | bytes | None = None) -> None:
        """Send a pong, unless the connection has begun to close."""
        if not self.connection.closed:
            self.write(self.parser.pong(message), encode=False)

    def write_close(self, code: int | None = None) -> None:
        """Send a close frame after what was written, and let the connection end. Does not block. Idempotent.

        Args:
            code: 1000 by default; the reason is from CLOSE_CODES.

        Raises:
            ValueError: the code may not be sent.
        """
        code = code or 1000
        self._begin_close(code, CLOSE_CODES.get(code, ""))

    def _begin_close(self, code: int, reason: str) -> None:
        if not self.connection.closed:
            get_connection(self.connection).closing.begin(code, reason)
            self._closing = True
            gevent.spawn(self.connection.close, code)  # waits for the peer's answer, but not for ever

    def data_received(self, opcode: int, body: Any) -> None:
        """Call the callback for a message, a ping or a pong.

        The peer may have closed after it. Then it cannot be answered, but the callbacks for what follows are called.
        """
        if self._closing:
            return
        try:
            call(getattr(self.handler, CALLBACKS[opcode]), self, body)
        except ConnectionClosed:
            if not self.connection.closed:
                raise


class CallbackRoute(ControlRoute):
    """Runs the callbacks of connections.

    Args:
        make_consumer: makes the `WebSocketProtocol` for a connection, its environ and what its handshake agreed on.
            None where `adopt` gives connections theirs.
        options: those of `geventws.WebSocketWSGI`.
    """

    def __init__(
        self, make_consumer: Callable[[WebSocket, Environ, Upgrade], WebSocketProtocol] | None = None, **options: Any
    ) -> None:
        super().__init__(_run_callbacks, **options)
        self._make_consumer = make_consumer

    def make_websocket(self, socket: Any, environ: Environ, upgrade: Upgrade) -> WebSocket:
        """Return the connection, not yet open, with its consumer."""
        ws = super().make_websocket(socket, environ, upgrade)
        assert self._make_consumer is not None
        adopt(self._make_consumer(ws, environ, upgrade))
        return ws

    def run(self, ws: WebSocket) -> None:
        """Run the callbacks of one connection, close it, and tell that it is over."""
        consumer: WebSocketProtocol = ws.environ[CONSUMER]
        try:
            super().run(ws)
        finally:
            del ws.environ[CONSUMER]
            try:
                call(consumer.handler.on_close, consumer)
            except Exception:
                logger.exception("%s: on_close failed", get_connection(ws).peer)


def adopt(consumer: WebSocketProtocol) -> None:
    """Pass what the connection receives to its consumer, whose handler is set already."""
    consumer.connection.environ[CONSUMER] = consumer
    controls = (Opcode.PING, Opcode.PONG)
    wanted = [opcode for opcode in controls if overrides(consumer.handler, WS, CALLBACKS[opcode])]
    consumer._controls = Controls(get_connection(consumer.connection), wanted)


def _run_callbacks(ws: WebSocket) -> None:
    consumer: WebSocketProtocol = ws.environ[CONSUMER]
    call(consumer.handler.on_open, consumer)
    while (message := consumer._controls.wait(ws.wait, consumer.data_received)) is not None:
        consumer.data_received(Opcode.TEXT if isinstance(message, str) else Opcode.BINARY, message)


def call(callback: Callable[..., Any], *args: Any) -> None:
    """Call a callback; if it is a coroutine function, run the coroutine to its end."""
    coroutine = callback(*args)
    if not inspect.iscoroutine(coroutine):
        return
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError(f"{callback!r} awaits something of asyncio's, which does not run here: call what blocks instead")
