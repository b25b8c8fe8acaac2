"""The WebSocket object of gevent-websocket, over geventws.WebSocket."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import geventws

from ...exceptions import ConnectionClosed
from ...frames import Opcode, parse_close
from ...websocket import get_connection
from .exceptions import FrameTooLargeException, ProtocolError, WebSocketError

if TYPE_CHECKING:
    from ...engine.connection import Connection
    from ...handshake.origins import Environ

__all__ = ["MSG_ALREADY_CLOSED", "MSG_CLOSED", "MSG_SOCKET_DEAD", "Stream", "WebSocket"]

MSG_SOCKET_DEAD = "Socket is dead"
MSG_ALREADY_CLOSED = "Connection is already closed"
MSG_CLOSED = "Connection closed"

logger: logging.Logger = logging.getLogger("geventws.compat.geventwebsocket")


class NoApplication:
    """The `current_app` of a connection without one."""

    def on_close(self, *args: Any) -> None:
        """Do nothing."""


class Stream:
    """The connection below a WebSocket: it has the handler, and a way to write.

    Args:
        ws: the WebSocket.
    """

    def __init__(self, ws: WebSocket) -> None:
        self._ws = ws

    @property
    def handler(self) -> Any:  # a WebSocketHandler, which imports this module
        """The handler of the request."""
        return self._ws.handler

    def write(self, data: bytes) -> None:
        """Write bytes that are whole frames, between other frames. Blocks while the peer reads too slowly."""
        get_connection(self._ws).stream.send(bytes(data))


class WebSocket(geventws.WebSocket):
    """A connection. `send`, `send_frame` and `close` may be called from any greenlet, also at once.

    It has everything that a `geventws.WebSocket` has, and any attribute may be set on it.

    Attributes:
        handler: the `WebSocketHandler` of the request.
        environ, path, origin: as in geventws; they stay when the connection is closed.
    """

    OPCODE_CONTINUATION = 0x00
    OPCODE_TEXT = 0x01
    OPCODE_BINARY = 0x02
    OPCODE_CLOSE = 0x08
    OPCODE_PING = 0x09
    OPCODE_PONG = 0x0A

    handler: Any  # which imports this module

    def __init__(self, connection: Connection, environ: Environ | None = None) -> None:
        super().__init__(connection, environ)
        self.stream: Stream = Stream(self)  # for code that looks for the socket
        self._application: Any = None  # set through `current_app`; by default that is the handler's
        self._ended = False  # whether `receive` has returned None

    @property
    def protocol(self) -> str | None:
        """The unchanged Sec-WebSocket-Protocol header of the request, or None."""
        return self.environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL")

    @property
    def version(self) -> Any:
        """The Sec-WebSocket-Version header of the request, or None."""
        return self.environ.get("HTTP_SEC_WEBSOCKET_VERSION")

    @property
    def current_app(self) -> Any:
        """The `WebSocketApplication` of a `Resource` that this connection has; else an object with an `on_close`."""
        if self._application is not None:
            return self._application
        return getattr(self.handler.server.application, "current_app", None) or NoApplication()

    @current_app.setter
    def current_app(self, value: Any) -> None:
        self._application = value

    @property
    def logger(self) -> logging.Logger:
        """The handler's logger."""
        logger: logging.Logger = self.handler.logger
        return logger

    def receive(self) -> str | bytearray | None:
        """Return the oldest message not yet taken: text as `str`, binary as `bytearray`. Blocks until there is one.

        Returns:
            None, once, when the peer has closed or is lost.

        Raises:
            WebSocketError: the connection was closed by `close`, or `receive` has returned None before.
        """
        if self._ended:
            raise WebSocketError(MSG_ALREADY_CLOSED)
        message = self.wait()
        if message is None:
            self._ended = True
        return bytearray(message) if isinstance(message, bytes) else message

    def send(self, message: Any, binary: bool | None = None) -> None:
        """Send a message. Blocks while the peer reads too slowly.

        Args:
            message: `str`, bytes-like, or an iterable of byte values.
            binary: whether to send it as binary; None, the default, sends `str` as text and all else as binary.

        Raises:
            WebSocketError: the connection is closed, whatever the message: so a loop of `ws.send(ws.receive())` ends.
            TypeError: the message is of another type.
        """
        if self.closed:
            raise WebSocketError(MSG_SOCKET_DEAD)
        if binary is None:
            binary = not isinstance(message, str)
        try:
            super().send(as_bytes(message) if binary else as_text(message))
        except ConnectionClosed as error:
            raise WebSocketError(MSG_SOCKET_DEAD) from error

    def send_frame(self, message: Any, opcode: int) -> None:
        """Send one frame: a whole message, a ping, a pong or a close. For a message, it blocks as `send` does.

        Args:
            message: its payload.
            opcode: one of OPCODE_*, except OPCODE_CONTINUATION.

        Raises:
            WebSocketError: the connection is closed.
            ProtocolError: the frame may not be sent.
        """
        if self.closed:
            raise WebSocketError(MSG_ALREADY_CLOSED)
        if opcode in (self.OPCODE_TEXT, self.OPCODE_BINARY):
            self.send(message, opcode == self.OPCODE_BINARY)
        elif opcode in (self.OPCODE_CLOSE, self.OPCODE_PING, self.OPCODE_PONG):
            send_control(self, as_bytes(message), opcode)
        else:
            raise ProtocolError(f"a frame with the opcode {opcode} is no message")

    def close(self, code: int = 1000, message: str | bytes | bytearray | None = b"") -> None:
        """Close the connection with a code and a reason. Blocks until the peer answers, for 5 seconds at most.

        Raises:
            ValueError: the code or the reason may not be sent (see `geventws.WebSocket.close`).
        """
        self._ended = True
        super().close(code, as_text(message or ""))


def send_control(ws: WebSocket, payload: bytes, opcode: int) -> None:
    """Send a ping, a pong or a close frame."""
    if len(payload) > 125:
        raise FrameTooLargeException("the payload of a control frame is at most 125 bytes")
    if opcode == Opcode.CLOSE:
        ws._ended = True
        get_connection(ws).closing.close(*parse_close(payload))  # an empty frame stays empty
    elif opcode == Opcode.PING:
        ws.ping(payload)
    else:
        get_connection(ws).send_control(opcode, payload)


def as_bytes(message: Any) -> bytes:
    """Return a payload as bytes; TypeError for a number, which `bytes` would take for a length."""
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, int):
        raise TypeError("a message is str or bytes-like, not int")
    return bytes(message)


def as_text(message: Any) -> str:
    """Return a payload as text; bytes are UTF-8."""
    return message if isinstance(message, str) else as_bytes(message).decode()
