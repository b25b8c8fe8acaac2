"""WSocket's connection: see geventws.compat.wsocket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import geventws

from ...endpoints.callbacks import overrides
from ...endpoints.endpoint import logger
from ...frames import Opcode, encode_close
from ...websocket import get_connection
from .._controls import Controls


class WebSocket(geventws.WebSocket):
    """A connection: `environ["wsgi.websocket"]`, and what events get as `client`.

    It has everything that a `geventws.WebSocket` has, and any attribute may be set on it. A subclass may override the
    `handle_` methods; set it with `app.websocket_class = Subclass`. `send` and `close` may be called from any greenlet.

    Attributes:
        origin: the Origin header of the handshake, or None.
        protocol: the negotiated subprotocol, or None.
        version: the version of the protocol, 13 or 8.
        path: PATH_INFO of the handshake.
        environ: its WSGI environ.
        handler: the `WSocketApp`.
        logger: where it logs.
    """

    OPCODE_CONTINUATION: ClassVar[int] = Opcode.CONTINUATION
    OPCODE_TEXT: ClassVar[int] = Opcode.TEXT
    OPCODE_BINARY: ClassVar[int] = Opcode.BINARY
    OPCODE_CLOSE: ClassVar[int] = Opcode.CLOSE
    OPCODE_PING: ClassVar[int] = Opcode.PING
    OPCODE_PONG: ClassVar[int] = Opcode.PONG

    handler: Any  # which imports this module
    logger = logger

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ended = False  # whether `receive` has returned None, or `close` was called
        hooks = {"handle_ping": Opcode.PING, "handle_pong": Opcode.PONG}
        wanted = [opcode for name, opcode in hooks.items() if overrides(self, WebSocket, name)]
        self._controls = Controls(get_connection(self), wanted)  # the pings and pongs that are called back for

    @property
    def do_compress(self) -> bool:
        """Whether the client accepts compressed messages."""
        return get_connection(self).protocol.extension is not None

    def wait(self, timeout: float | None = None) -> str | bytes | None:
        """Return the oldest message not yet taken: see `geventws.WebSocket.wait`. Calls the `handle_` methods."""

        def give(opcode: int, payload: bytes) -> None:
            (self.handle_ping if opcode == Opcode.PING else self.handle_pong)(payload)

        return self._controls.wait(super().wait, give, timeout)

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages, until the connection is over. Blocks, and calls, as `wait` does."""
        return iter(self.wait, None)

    def receive(self) -> str | bytes | None:
        """Return the next message, `str` for text and bytes for binary. Blocks until there is one.

        Returns:
            The message; None, once, when the connection has ended.

        Raises:
            WebSocketError: `receive` has returned None before, or `close` was called.
        """
        if self._ended:
            raise get_connection(self).closed_error()
        message = self.wait()
        if message is None:
            self._ended = True
            protocol = get_connection(self).protocol
            if protocol.close_received:
                self.handle_close(encode_close(protocol.close_code, protocol.close_reason))
        return message

    def send(  # type: ignore[override]
        self, message: str | bytes | bytearray | memoryview, binary: bool | None = None, do_compress: bool = True
    ) -> None:
        """Send a message. Blocks while the client does not take it.

        Args:
            message: the message.
            binary: whether it is a binary one; by default that is what anything but a `str` is.
            do_compress: whether to compress it, if the client takes compressed messages.

        Raises:
            WebSocketError: the connection is over, or has begun to close.
            TypeError: the message is neither `str` nor bytes-like.
            ValueError: bytes that are to be text are not UTF-8.
        """
        if self.closed:
            raise get_connection(self).closed_error()
        as_binary = not isinstance(message, str) if binary is None else binary
        if as_binary and isinstance(message, str):
            message = message.encode()
        elif not as_binary and not isinstance(message, str):
            message = str(message, "utf-8")
        super().send(message, None if do_compress else False)

    def close(self, code: int = 1000, message: str | bytes = b"") -> None:
        """Close the connection. Blocks until the client has answered, for 5 s at most. Idempotent.

        Args:
            code: the close code.
            message: the reason, at most 123 bytes in UTF-8.

        Raises:
            ValueError: code or reason may not be sent.
        """
        super().close(code, message if isinstance(message, str) else str(message, "utf-8"))
        self._ended = True

    def handle_close(self, payload: bytes) -> None:
        """The client's close frame came: its payload. It has been answered."""

    def handle_ping(self, payload: bytes) -> None:
        """A ping came, which this method answers; one in its place is called by `receive`, and may not.

        Where it is not overridden, pings are answered at once, whatever the application does.
        """
        get_connection(self).send_control(Opcode.PONG, payload)

    def handle_pong(self, payload: bytes) -> None:
        """A pong came, other than those that answer the keepalive's pings. Called by `receive`."""
