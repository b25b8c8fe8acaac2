"""WebSocketWSGI: a plain function as a WSGI application that speaks WebSocket."""

from __future__ import annotations

import errno
import functools
import logging
from typing import TYPE_CHECKING, Any

from gevent import GreenletExit

from .connection import Timing
from .exceptions import ConnectionClosed, HandshakeError
from .handshake import SAME_ORIGIN, Origins, accept
from .permessage_deflate import PerMessageDeflate
from .protocol import WebSocketProtocol
from .streaming import StreamingWebSocket
from .upgrade import find_socket, refuse, switch_protocols
from .websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from .handshake import Upgrade

    Headers = Iterable[tuple[str, str]] | dict[str, str]
    Environ = dict[str, Any]

__all__ = ["WebSocketWSGI"]

logger = logging.getLogger("geventws")

DEFAULT_COMPRESSION = PerMessageDeflate()

PEER_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN)


class WebSocketWSGI:
    """A WSGI application that answers the opening handshake and runs `handler` on the connection.

    It decorates a function, with or without options, and mounts wherever a WSGI application does::

        @WebSocketWSGI
        def echo(ws):
            for message in ws:
                ws.send(message)

        @WebSocketWSGI(subprotocols=["chat"], origins=["https://example.org"])
        def chat(ws): ...

    When the handler returns, the connection is closed with 1000; when it raises, with 1011 and one traceback in the
    log. Every option is an attribute, and may be set later, for connections to come.

    Args:
        handler: called with the `WebSocket`, in the request's greenlet. Its result is ignored.
        subprotocols: those spoken here; the first of the client's list that is among them is agreed on.
        origins: which pages may connect: `SAME_ORIGIN`; a list of origins such as "https://example.org", with None in it
            for clients that are no browsers; a function of (origin, environ); None for no check.
        max_message_size: the largest message taken, in bytes, after inflating. A larger one closes with 1009.
        ping_interval: seconds between keepalive pings, varied by 10 %; None sends none.
        ping_timeout: seconds after a ping within which anything has to come, or the connection is given up with
            1011; None waits for ever.
        close_timeout: seconds that `close` waits for the peer's answer.
        send_timeout: seconds without a byte taken after which a peer that does not read is given up.
        compression: how to compress with clients that offer permessage-deflate (RFC 7692); None never does.
        decode_text: whether `wait` returns text as `str`; otherwise as `bytes`, checked to be UTF-8 but not decoded.
        streaming: whether the handler gets a `StreamingWebSocket`, which receives messages piece by piece. Such a
            route negotiates no compression: a few bytes may stand for a piece of any size.
        headers: further headers of the 101, as pairs or a dict, or a function of environ that returns them. The
            function may raise `HandshakeError` to refuse.
        support_legacy_versions: whether drafts 75 and 76 are spoken, too.
    """

    def __new__(cls, handler: Callable[[WebSocket], object] | None = None, *args: Any, **options: Any) -> Any:
        """Return the application; called with options alone, a decorator that makes it."""
        if handler is None:
            return functools.partial(cls, *args, **options)
        return super().__new__(cls)

    def __init__(
        self,
        handler: Callable[[WebSocket], object],
        max_frame_length: int | None = None,
        *,
        subprotocols: Collection[str] = (),
        origins: Origins = SAME_ORIGIN,
        max_message_size: int = 1 << 20,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        close_timeout: float | None = 5.0,
        send_timeout: float | None = 30.0,
        compression: PerMessageDeflate | None = DEFAULT_COMPRESSION,
        decode_text: bool = True,
        streaming: bool = False,
        headers: Headers | Callable[[Environ], Headers] = (),
        support_legacy_versions: bool = False,
    ) -> None:
        self.handler = handler
        self.subprotocols = subprotocols
        self.origins = origins
        self.max_message_size = max_message_size if max_frame_length is None else max_frame_length
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.close_timeout = close_timeout
        self.send_timeout = send_timeout
        self.compression = compression
        self.decode_text = decode_text
        self.streaming = streaming
        self.headers = headers
        self.support_legacy_versions = support_legacy_versions
        functools.update_wrapper(self, handler, updated=())

    @classmethod
    def configured(
        cls,
        handler: Callable[[WebSocket], object] | None = None,
        supported_protocols: Collection[str] | None = None,
        origin_checker: Callable[[str, str], object] | None = None,
        support_legacy_versions: bool = False,
        **options: Any,
    ) -> Any:
        """Return the application, or a decorator that makes it, from eventlet's option names and our own.

        Args:
            handler: as for the class; None makes a decorator.
            supported_protocols: the same as `subprotocols`.
            origin_checker: a function of the Host and the Origin header ("" without one) that tells whether to go on.
            support_legacy_versions: as for the class.
            options: any other option of the class.
        """
        if supported_protocols is not None:
            options["subprotocols"] = supported_protocols
        if origin_checker is not None:
            options["origins"] = _as_origins(origin_checker)
        options["support_legacy_versions"] = support_legacy_versions
        return cls(handler, **options)

    # eventlet's names for the same things

    @property
    def supported_protocols(self) -> Collection[str]:
        """Another name of `subprotocols`."""
        return self.subprotocols

    @supported_protocols.setter
    def supported_protocols(self, value: Collection[str] | None) -> None:
        self.subprotocols = value or ()

    @property
    def origin_checker(self) -> Callable[[str, str], object] | None:
        """A function of the Host and the Origin header that takes the place of `origins`."""
        return getattr(self.origins, "origin_checker", None)

    @origin_checker.setter
    def origin_checker(self, value: Callable[[str, str], object] | None) -> None:
        self.origins = SAME_ORIGIN if value is None else _as_origins(value)

    @property
    def max_frame_length(self) -> int:
        """Another name of `max_message_size`."""
        return self.max_message_size

    @max_frame_length.setter
    def max_frame_length(self, value: int) -> None:
        self.max_message_size = value

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve one request (PEP 3333). Blocks until the connection is over.

        Raises:
            NoSocket: the server gives its application no socket.
        """
        try:
            extensions = () if self.compression is None or self.streaming else (self.compression,)
            upgrade = accept(
                environ, subprotocols=self.subprotocols, origins=self.origins, extensions=extensions
            )
            headers = upgrade.headers + self._extra_headers(environ)
        except HandshakeError as error:
            _log_refusal(environ, error)
            return refuse(environ, start_response, error)
        socket = find_socket(environ)
        early = switch_protocols(environ, start_response, socket, headers)
        ws = self._open(socket, environ, upgrade, early)
        self._run(ws)
        return []

    def _extra_headers(self, environ: Environ) -> list[tuple[str, str]]:
        headers = self.headers(environ) if callable(self.headers) else self.headers
        return list(headers.items() if isinstance(headers, dict) else headers)

    def _open(self, socket: Any, environ: Environ, upgrade: Upgrade, early: bytes) -> WebSocket:
        """Return the connection, which receives from now on."""
        protocol = WebSocketProtocol(
            max_message_size=self.max_message_size,
            extension=upgrade.extension,
            decode_text=self.decode_text,
            streaming=self.streaming,
        )
        timing = Timing(self.ping_interval, self.ping_timeout, self.close_timeout, self.send_timeout)
        ws = (StreamingWebSocket if self.streaming else WebSocket)(
            socket,
            protocol,
            timing,
            environ=environ,
            subprotocol=upgrade.protocol,
            origin=upgrade.origin,
            version=upgrade.version,
        )
        ws.open(early)
        return ws

    def _run(self, ws: WebSocket) -> None:
        """Run the handler, then close the connection, whatever became of it."""
        code = 1011
        try:
            self.handler(ws)
            code = 1000
        except GreenletExit:
            code = 1001
            raise
        except Exception as error:
            if not _is_departure(ws, error):
                logger.exception("%s: the handler failed", ws.peer)
        finally:
            try:
                ws.close(code)
            finally:
                ws.wait_closed()


def _is_departure(ws: WebSocket, error: Exception) -> bool:
    """Whether the handler ended because the peer did, which is no error."""
    return ws.closed and (
        isinstance(error, ConnectionClosed) or (isinstance(error, OSError) and error.errno in PEER_GONE)
    )


def _as_origins(origin_checker: Callable[[str, str], object]) -> Callable[[str | None, Environ], object]:
    """Return eventlet's kind of check as ours."""

    def check(origin: str | None, environ: Environ) -> object:
        return origin_checker(environ.get("HTTP_HOST", ""), origin or "")

    check.origin_checker = origin_checker  # type: ignore[attr-defined]
    return check


def _log_refusal(environ: Environ, error: HandshakeError) -> None:
    """Say in one line why a handshake was refused, and which option decides."""
    logger.warning(
        "%s %r refused with %d: %s%s",
        environ.get("REMOTE_ADDR", "-"),
        environ.get("PATH_INFO", ""),
        error.status,
        error,
        f" (option: {error.option})" if error.option else "",
    )
