"""The names of cyclone.websocket, over geventws, and an `Application` that mounts its handlers.

    from geventws.compat import cyclone as websocket            # was: from cyclone import websocket
    from geventws.compat import cyclone as web                  # was: import cyclone.web as web

A handler is a class, as in cyclone. `Application([(r"/ws", Handler, {...})])` is a WSGI application with cyclone's URL
specs, and `Handler.as_wsgi()` is one for any path. There is no reactor: each connection has a greenlet in which its
callbacks run in order, and may block. docs/migrating-from-cyclone.rst compares both, promise by promise.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import geventws

from ...exceptions import ConnectionClosed, HandshakeError
from ...frames import DEFAULT_LIMIT, Opcode, parse_close
from ...handshake.origins import Environ
from ...handshake.server import is_upgrade
from ...hosts import refuse
from ...protocol.hixie76 import HixieProtocol
from ...websocket import get_connection
from .request import Headers, Request

if TYPE_CHECKING:
    from ...hosts.host import StartResponse

__all__ = [
    "Application",
    "FrameDecodeError",
    "Headers",
    "Hixie76FrameDecoder",
    "Request",
    "WebSocketHandler",
    "WebSocketProtocol",
]

WSGIApp: TypeAlias = "Callable[[Environ, StartResponse], Iterable[bytes]]"

POLICY_VIOLATION = 1008


class WebSocketHandler:
    """One connection, with callbacks: derive from it, and override those you need.

    Callbacks of one connection run one after another, in a greenlet of its own.

    Args:
        application: the `Application`, or the argument of `as_wsgi`.
        request: the `Request`.
        kwargs: go to `initialize`.

    Attributes:
        application: the same.
        request: the same.
        transport: `transport.loseConnection()` closes the connection, `transport.connected` tells whether it is open.
        ws_protocol: the connection below, to send other frames than text.
    """

    websocket_options: ClassVar[dict[str, Any]] = {"origins": None, "support_legacy_versions": True}
    """Options of `geventws.WebSocketWSGI` for connections of this class; cyclone checks no origin."""

    def __init__(self, application: Any, request: Request, **kwargs: Any) -> None:
        self.application = application
        self.request = request
        self.ws_protocol: WebSocketProtocol = WebSocketProtocol(self)
        self.transport: Transport = Transport(self.ws_protocol)
        self._refusal: HandshakeError | None = None  # the answer that `forbidConnection` asks for
        self.initialize(**kwargs)

    @property
    def settings(self) -> Any:
        """The application's settings."""
        return self.application.settings

    @classmethod
    def as_wsgi(cls, application: Any = None, **kwargs: Any) -> WSGIApp:
        """Return a WSGI application that serves every request with a handler of this class.

        Args:
            application: the `application` attribute of the handlers.
            kwargs: go to `initialize`.
        """
        return functools.partial(_serve, cls, application, kwargs, (), {})

    def initialize(self, **kwargs: Any) -> None:
        """Take the options of the URL spec; called first, before the handshake."""

    def headersReceived(self) -> None:
        """Called when the request was received: the last moment for `forbidConnection`."""

    def connectionMade(self, *args: Any, **kwargs: Any) -> None:
        """Called when the connection is open, with the groups of the URL's pattern."""

    def messageReceived(self, message: Any) -> None:
        """Called for each message: `str` for text, `bytes` for binary."""

    def connectionLost(self, reason: str) -> None:
        """Called once when the connection is over, if `connectionMade` was called."""

    def sendMessage(self, message: str | bytes | dict[str, Any]) -> None:
        """Send a text message: a dict as JSON, bytes as the text that they encode in UTF-8. Any greenlet may call it.

        Bytes that are not UTF-8 are sent as a binary message. Blocks while the peer reads too slowly. A message to a
        closed connection is dropped, as with Twisted's transports.

        Raises:
            TypeError: the message is none of the three, or a dict holds what is not JSON.
        """
        if isinstance(message, dict):
            message = json.dumps(message).replace("</", "<\\/")
        if not isinstance(message, (str, bytes)):
            raise TypeError(f"a message is str, bytes or dict, not {type(message).__name__}")
        self.ws_protocol.sendMessage(message, Opcode.TEXT if _is_text(message) else Opcode.BINARY)

    def forbidConnection(self, message: str) -> None:
        """Refuse the request with 403 and this text; close an open connection with 1008 and this reason."""
        if self.ws_protocol.ws is None:
            self._refusal = HandshakeError(403, message)
        else:
            self.ws_protocol.close(POLICY_VIOLATION, message.encode()[:123].decode(errors="ignore"))


class WebSocketProtocol:
    """The connection below a handler: `handler.ws_protocol`.

    Attributes:
        handler: the handler.
        ws: the `geventws.WebSocket`; None before the handshake.
    """

    def __init__(self, handler: WebSocketHandler) -> None:
        self.handler = handler
        self.ws: geventws.WebSocket | None = None

    def sendMessage(self, message: str | bytes, code: int = 0x81) -> None:
        """Send one frame: text (0x81, the default), binary (0x82), close (0x88), ping (0x89) or pong (0x8A).

        Raises:
            ValueError: the code is another one, or the payload may not be sent with it.
        """
        if self.ws is None:
            raise RuntimeError("the handshake has not been done yet")
        payload = message.encode() if isinstance(message, str) else message
        opcode = code & 0x0F
        try:
            if opcode == Opcode.TEXT:
                self.ws.send(payload.decode())
            elif opcode == Opcode.BINARY:
                self.ws.send(payload)
            elif opcode == Opcode.CLOSE:
                self.ws.close(*(parse_close(payload) if payload else (1000, "")))
            elif opcode == Opcode.PING:
                self.ws.ping(payload)
            elif opcode == Opcode.PONG:
                get_connection(self.ws).send_control(opcode, payload)
            else:
                raise ValueError(f"no frame has the code 0x{code:02x} here")
        except ConnectionClosed:
            pass

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection. Blocks until the peer has answered, for 5 s at most."""
        if self.ws is not None:
            self.ws.close(code, reason)


class Transport:
    """The part of Twisted's transport that there is here: `handler.transport`."""

    def __init__(self, ws_protocol: WebSocketProtocol) -> None:
        self._ws_protocol = ws_protocol

    @property
    def connected(self) -> bool:
        """Whether the connection is open, and has not begun to close."""
        ws = self._ws_protocol.ws
        return ws is not None and not ws.closed

    def loseConnection(self) -> None:
        """Close the connection once everything is sent. Blocks until the peer has answered, for 5 s at most."""
        self._ws_protocol.close()


class Settings(dict[str, Any]):
    """An application's settings: a dict whose names are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no setting {name!r}") from None


class Application:
    """A WSGI application that finds the handler for a path in a list of URL specs.

    Args:
        handlers: URL specs: (pattern, handler) or (pattern, handler, kwargs). The pattern is a regular expression for
            the whole path. The handler is a subclass of `WebSocketHandler`, whose `initialize` gets the kwargs and
            whose `connectionMade` gets the pattern's groups: by name, if it has named ones, or in order. It may also
            be any WSGI application. The first match is used; without a match, the answer is 404.
        default_host: has no effect.
        settings: kept in `settings`, for handlers, by name and as attributes.
    """

    def __init__(
        self, handlers: Iterable[Sequence[Any]] | None = None, default_host: str = "", **settings: Any
    ) -> None:
        self.default_host = default_host
        self.settings: Settings = Settings(settings)
        self._specs: list[tuple[re.Pattern[str], Any, dict[str, Any]]] = []
        for pattern, handler, *options in handlers or ():
            self._specs.append((re.compile(pattern), handler, dict(options[0] or {}) if options else {}))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request (PEP 3333). For a WebSocket, it blocks until the connection is over."""
        path = environ.get("PATH_INFO", "").encode("latin-1").decode(errors="replace")  # PEP 3333: bytes as Latin-1
        for pattern, handler, options in self._specs:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if not (isinstance(handler, type) and issubclass(handler, WebSocketHandler)):
                answer: Iterable[bytes] = handler(environ, start_response)
                return answer
            names = match.groupdict()
            groups = () if names else match.groups()
            return _serve(handler, self, options, groups, names, environ, start_response)
        return refuse(environ, start_response, HandshakeError(404, "there is nothing at this path"))


def _serve(
    handler_class: type[WebSocketHandler],
    application: Any,
    options: dict[str, Any],
    args: Sequence[str | None],
    kwargs: dict[str, str | None],
    environ: Environ,
    start_response: StartResponse,
) -> Iterable[bytes]:
    """Serve one request with a handler of its own."""
    if not is_upgrade(environ):
        return refuse(environ, start_response, HandshakeError(403, "Expected WebSocket Headers"))
    handler = handler_class(application, Request(environ), **options)

    def check(_environ: Environ) -> tuple[()]:
        handler.headersReceived()
        if handler._refusal is not None:
            raise handler._refusal
        return ()

    def run(ws: geventws.WebSocket) -> None:
        handler.ws_protocol.ws = ws
        try:
            handler.connectionMade(*args, **kwargs)
            for message in ws:
                handler.messageReceived(message)
        finally:
            handler.connectionLost(_describe_end(ws))

    site: WSGIApp = geventws.WebSocketWSGI(run, headers=check, **handler_class.websocket_options)
    return site(environ, start_response)


def _describe_end(ws: geventws.WebSocket) -> str:
    if ws.close_code is None:
        return "the handler failed"
    return f"closed with {ws.close_code} {ws.close_reason}".rstrip()


def _is_text(message: str | bytes) -> bool:
    try:
        return isinstance(message, str) or message.decode() is not None
    except UnicodeDecodeError:
        return False


class FrameDecodeError(Exception):
    """The bytes are not frames of draft 76."""


class Hixie76FrameDecoder:
    """Reads the frames of draft 76 from a stream of bytes. No I/O.

    Args:
        max_message_size: the largest frame accepted, in bytes; 1 MiB by default.
    """

    CLOSING_FRAME = object()
    """The closing frame, in the result of `feed`."""

    def __init__(self, max_message_size: int = DEFAULT_LIMIT) -> None:
        self._protocol = HixieProtocol(max_message_size=max_message_size, strict=True)  # does the work
        self._closed = False  # whether the closing frame was returned

    def feed(self, data: bytes | str) -> list[Any]:
        """Return the messages that `data` completes, as `str`, in order; [] if it completes none.

        Args:
            data: received bytes, cut anywhere; or a `str` with a character for each byte, as in Python 2.

        Raises:
            FrameDecodeError: a byte is not allowed in its place, or a frame is too long. The messages before it are
                lost, and the decoder cannot be used any more.
        """
        protocol = self._protocol
        protocol.receive_data(memoryview(bytearray(data.encode("latin-1") if isinstance(data, str) else data)))
        if protocol.failure is not None:
            raise FrameDecodeError(str(protocol.failure))
        frames: list[Any] = list(protocol.inbox)
        protocol.inbox.clear()
        if protocol.close_received and not self._closed:
            self._closed = True
            frames.append(self.CLOSING_FRAME)
        return frames
