"""The names of eventlet.websocket, over geventws.

    from geventws.compat import eventlet                        # was: import eventlet
    from geventws.compat.eventlet import websocket, wsgi        # was: from eventlet import websocket, wsgi

A handler blocks in `ws.wait()` and `ws.send()` as with eventlet, but in a greenlet of gevent's.
docs/migrating-from-eventlet.rst says for each promise of eventlet's documentation whether it is kept.
"""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable, Collection, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gevent import GreenletExit

import geventws

from ...endpoints import legacy
from ...endpoints.endpoint import as_origins, log_refusal
from ...exceptions import ConnectionClosed, HandshakeError, ProtocolError
from ...frames import valid_close_code
from ...handshake.hixie76 import DRAFTS, is_legacy
from ...handshake.origins import Environ
from ...handshake.server import accept
from ...handshake.upgrade import GUID
from ...hosts import REASONS, answer
from ...websocket import EXITS, BaseWebSocket, get_connection
from .server import listen, wrap_ssl, wsgi
from .sockets import (
    DEFAULT_MAX_FRAME_LENGTH,
    DRAIN_LINGER,
    NEGOTIATOR,
    RFC6455WebSocket,
    WebSocket,
    finish,
    read_extensions,
)

if TYPE_CHECKING:
    from ...engine.connection import Connection
    from ...handshake.origins import Origins
    from ...handshake.upgrade import Upgrade
    from ...hosts.host import Host, StartResponse

__all__ = [
    "ACCEPTABLE_CLIENT_ERRORS",
    "DEFAULT_MAX_FRAME_LENGTH",
    "PROTOCOL_GUID",
    "VALID_CLOSE_STATUS",
    "BadRequest",
    "ConnectionClosedError",
    "FailedConnectionError",
    "ProtocolError",
    "RFC6455WebSocket",
    "WebSocket",
    "WebSocketWSGI",
    "listen",
    "websocket",
    "wrap_ssl",
    "wsgi",
]

websocket: ModuleType = sys.modules[__name__]

ACCEPTABLE_CLIENT_ERRORS = {errno.ECONNRESET, errno.EPIPE, errno.ESHUTDOWN}
PROTOCOL_GUID = GUID.encode()
VALID_CLOSE_STATUS = frozenset(code for code in range(1000, 5000) if valid_close_code(code))

ConnectionClosedError = ConnectionClosed


class BadRequest(Exception):
    """Refuses a handshake; an `origin_checker` may raise it.

    Args:
        status: code and reason of the answer.
        body: its body, as bytes.
        headers: further headers, as pairs.
    """

    def __init__(
        self,
        status: str = "400 Bad Request",
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] | None = None,
    ) -> None:
        super().__init__(status, body, headers)
        self.status = status
        self.body = body
        self.headers: list[tuple[str, str]] = list(headers or ())


class FailedConnectionError(Exception):
    """A connection that failed with a close code. Nothing here raises it; it is for code that imports the name."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


class WebSocketWSGI(geventws.WebSocketWSGI):
    """A WSGI application that runs `handler` on WebSocket connections, with eventlet's options and defaults.

    The options of `geventws.WebSocketWSGI` that eventlet does not have are attributes, and may be set later, too.

    Args:
        handler: called with the `WebSocket`, in the request's greenlet. Its result is ignored. Exceptions, except an
            OSError in ACCEPTABLE_CLIENT_ERRORS, go on to the server once the connection is closed.
        max_frame_length: the largest message accepted, in bytes; 8 MiB by default.
    """

    protocol_version: int | None = None
    origins: Origins

    def __init__(self, handler: Callable[[Any], object], max_frame_length: int = DEFAULT_MAX_FRAME_LENGTH) -> None:
        super().__init__(handler, max_frame_length, subprotocols=[], origins=None, support_legacy_versions=True)

    @classmethod
    def configured(
        cls,
        handler: Callable[[Any], object] | None = None,
        supported_protocols: Collection[str] | None = None,
        origin_checker: Callable[[str, str], object] | None = None,
        support_legacy_versions: bool = False,
        **options: Any,
    ) -> Any:
        """Return the application, or a decorator that makes it.

        Args:
            handler: as for the class; None makes a decorator.
            supported_protocols: the supported subprotocols; the first one on the client's list among them is chosen.
            origin_checker: a function of the Host and the Origin header ("" without one) that returns whether to accept
                the connection.
            support_legacy_versions: whether drafts 75 and 76 are supported, too.
            options: attributes to set, such as `max_frame_length`.
        """
        if handler is None:
            return functools.partial(
                cls.configured,
                supported_protocols=supported_protocols,
                origin_checker=origin_checker,
                support_legacy_versions=support_legacy_versions,
                **options,
            )
        application = cls(handler)
        if supported_protocols is not None:
            application.supported_protocols = supported_protocols
        if origin_checker is not None:
            application.origin_checker = origin_checker
        application.support_legacy_versions = support_legacy_versions
        for name, value in options.items():
            if not hasattr(application, name):
                raise TypeError(f"there is no option {name!r}")
            setattr(application, name, value)
        return application

    @property
    def origin_checker(self) -> Callable[[str, str], object] | None:
        """A function of the Host and the Origin header that returns whether to accept; None for no check."""
        return super().origin_checker

    @origin_checker.setter
    def origin_checker(self, value: Callable[[str, str], object] | None) -> None:
        self.origins = None if value is None else as_origins(value)

    def connect(
        self, environ: Environ, start_response: StartResponse, host: Host | None = None
    ) -> BaseWebSocket | Iterable[bytes]:
        """Answer the handshake: return the connection, not yet open, or the body of a refusal.

        Raises:
            NoSocket: the server gives its application no socket.
        """
        try:
            return super().connect(environ, start_response, host)
        except BadRequest as error:
            return _refuse(environ, start_response, error)

    def refuse(self, environ: Environ, start_response: StartResponse, error: HandshakeError) -> Iterable[bytes]:
        """Refuse a handshake as eventlet does, and log it; return the body."""
        log_refusal(environ, error)
        return _refuse(environ, start_response, _as_bad_request(error))

    def negotiate(self, host: Host, environ: Environ) -> Upgrade:
        """Return the answer to the handshake.

        As in eventlet, draft 76 repeats the client's subprotocol, whatever it is, and draft 75 names none.
        """
        if not (self.support_legacy_versions and is_legacy(environ)):
            offer = environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS", "").lower()
            asked = {**environ, "HTTP_SEC_WEBSOCKET_EXTENSIONS": offer}
            return accept(
                asked, subprotocols=self.supported_protocols, origins=self.origins, extensions=(NEGOTIATOR,)
            )
        accepted = legacy.accept(host, environ, subprotocols=None, origins=self.origins)
        if accepted.version == 76 and accepted.protocol is None:
            accepted.headers.insert(3, ("Sec-WebSocket-Protocol", "default"))
        accepted.headers[:] = [header for header in accepted.headers if header[0] != "WebSocket-Protocol"]
        return accepted

    def make_websocket(self, socket: Any, environ: Environ, upgrade: Upgrade) -> WebSocket:
        """Return the connection, not yet open."""
        if upgrade.version in DRAFTS:
            return WebSocket(socket, environ, upgrade.version, early=b"", timing=self.timing)
        return RFC6455WebSocket(
            socket,
            environ,
            upgrade.version,
            upgrade.protocol,
            extensions=read_extensions(upgrade.headers),
            max_frame_length=self.max_frame_length,
            early=b"",
            timing=self.timing,
        )

    def make_farewell(self, connection: Connection) -> Callable[[int], object]:
        """Return a function that closes a connection when the server stops: eventlet's peers have no time to reply."""
        return lambda code: finish(connection, code, "", DRAIN_LINGER)

    def run(self, ws: geventws.WebSocket) -> None:
        """Run the handler, then close the connection, even if the handler raised."""
        code: int | None = 1011
        try:
            self.handler(ws)
            code = None
        except OSError as error:
            if (error.errno or next(iter(error.args), None)) not in ACCEPTABLE_CLIENT_ERRORS:
                raise
            code = None
        except GreenletExit:
            code = 1001
            raise
        except EXITS:
            get_connection(ws).closing.close_now(1011)
            raise
        finally:
            try:
                finish(get_connection(ws), code, "")
            finally:
                get_connection(ws).closing.wait_closed()


def _as_bad_request(error: HandshakeError) -> BadRequest:
    """Return eventlet's refusal for an error."""
    if error.option == "support_legacy_versions":
        return BadRequest()
    headers = [("Sec-WebSocket-Version", "8, 13")] if error.status == 426 else error.headers
    return BadRequest(f"{error.status} {REASONS.get(error.status, 'Refused')}", headers=headers)


def _refuse(environ: Environ, start_response: StartResponse, refusal: BadRequest) -> Iterable[bytes]:
    """Answer with an HTTP status, and make sure that nothing after the request is taken for another request."""
    body = refusal.body or b""
    headers = [("Connection", "close"), *refusal.headers, ("Content-Length", str(len(body)))]
    return answer(environ, start_response, refusal.status, headers, body)
