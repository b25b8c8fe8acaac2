"""The names of eventlet.websocket, over geventws.

    from geventws.compat import eventlet                            # was: import eventlet
    from geventws.compat.eventlet import websocket, wsgi            # was: from eventlet import websocket, wsgi

A handler blocks in `ws.wait()` and `ws.send()` as it did, in greenlets of gevent. docs/migrating-from-eventlet.rst goes
through eventlet's documentation promise by promise. The servers and sockets of eventlet that its documentation of
WebSockets uses are in `geventws.compat.eventlet_wsgi`, and have their names here, too.
"""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from types import MethodType
from typing import Any

from gevent import GreenletExit

import geventws

from .. import exceptions, legacy
from ..connection import Timing
from ..frames import Opcode, encode_close, parse_close, valid_close_code
from ..handshake import GUID, Environ, accept, read_origin
from ..headers import Parameters, parse_extensions
from ..hixie76 import HixieProtocol, is_legacy
from ..permessage_deflate import Deflate, PerMessageDeflate
from ..protocol import FIN, RSV1, WebSocketProtocol
from ..upgrade import REASONS, Refusal, find_socket, switch_protocols
from ..wsgi import _log_refusal
from .eventlet_wsgi import listen, wrap_ssl, wsgi

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

websocket = sys.modules[__name__]

ACCEPTABLE_CLIENT_ERRORS = {errno.ECONNRESET, errno.EPIPE, errno.ESHUTDOWN}
DEFAULT_MAX_FRAME_LENGTH = 8 << 20
PROTOCOL_GUID = GUID.encode()
VALID_CLOSE_STATUS = frozenset(code for code in range(1000, 5000) if valid_close_code(code))

ConnectionClosedError = exceptions.ConnectionClosed
ProtocolError = exceptions.ProtocolError


class BadRequest(Exception):
    """Refuses a handshake: an `origin_checker` may raise it.

    Args:
        status: code and reason of the answer.
        body: its body, as bytes.
        headers: further headers, as pairs.
    """

    def __init__(
        self, status: str = "400 Bad Request", body: bytes | None = None, headers: list[tuple[str, str]] | None = None
    ) -> None:
        super().__init__(status, body, headers)
        self.status = status
        self.body = body
        self.headers = headers


class FailedConnectionError(Exception):
    """A connection that ends with a close code; nothing here raises it, it is for code that names it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


# permessage-deflate as eventlet negotiates it


class _Deflate(PerMessageDeflate):
    """Compresses all that is not empty, and keeps the context of both sides unless the client does not want that."""

    __slots__ = ()

    def accept(self, offers: list[Parameters]) -> tuple[Parameters, Deflate] | None:
        """Answer the first valid offer; a window without a value, which RFC 7692 has for one of the two, is 15."""
        return super().accept([[_with_window(*parameter) for parameter in offer] for offer in offers])


_deflate = functools.partial(_Deflate, level=6, memory_level=8, threshold=1)
_NEGOTIATOR = _deflate(
    server_no_context_takeover=False,
    client_no_context_takeover=False,
    server_max_window_bits=15,
    client_max_window_bits=15,
)


def _with_window(name: str, value: str | None) -> tuple[str, str | None]:
    return name, "15" if value is None and name.endswith("_max_window_bits") else value


def _make_deflate(extensions: dict[str, Any], client: bool) -> Deflate | None:
    """Return the compression for `extensions` as eventlet has it: {"permessage-deflate": {parameter: value}}."""
    if "permessage-deflate" not in extensions:
        return None
    asked = {name: value for name, value in extensions["permessage-deflate"].items() if value}
    flags = {name: name in asked for name in ("server_no_context_takeover", "client_no_context_takeover")}
    windows = {name: int(asked.get(name, 15)) for name in ("server_max_window_bits", "client_max_window_bits")}
    parameters: Parameters = [(name, None) for name, is_set in flags.items() if is_set]
    parameters += [(name, str(bits)) for name, bits in windows.items()]
    configuration = _deflate(**flags, **windows)
    if client:
        return configuration.check(parameters)
    agreed = configuration.accept([parameters])
    assert agreed is not None
    return agreed[1]


def _read_extensions(headers: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Return the extensions that an answer agrees to, in eventlet's form."""
    header = dict(headers).get("Sec-WebSocket-Extensions", "")
    return {
        name: {key: True if value is None else int(value) for key, value in parameters}
        for name, parameters in parse_extensions(header)
    }


# Connections


class _Protocol(WebSocketProtocol):
    """RFC 6455 with eventlet's answer to a close frame: its code alone, or 1000 to one without."""

    __slots__ = ()

    def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Put a close frame in `output`, unless one was sent."""
        if self.close_received and self.failure is None:
            code, reason = 1000 if code == 1005 else code, ""
        super().send_close(code, reason)


class WebSocket(geventws.WebSocket):
    """A connection: of draft 75 or 76 where it is of this very class, of RFC 6455 where it is an `RFC6455WebSocket`.

    Args:
        sock: a connected gevent socket. It is closed when the connection is over.
        environ: the WSGI environ of the handshake, which has been done.
        version: the draft, 75 or 76.
        early: bytes that came behind the handshake. With any, also with b"", the socket is its owner's to close.
        timing: the clocks, which eventlet has none of.
    """

    def __init__(
        self,
        sock: Any,
        environ: Environ,
        version: int = 76,
        *,
        early: bytes | None = None,
        timing: Timing = Timing(),  # noqa: B008
    ) -> None:
        protocol = HixieProtocol(version, max_message_size=DEFAULT_MAX_FRAME_LENGTH, strict=True)
        if timing.ping_interval is not None:
            legacy.set_keepalive(sock, timing.ping_interval)
        self._start(
            sock,
            protocol,
            timing._replace(ping_interval=None),
            environ=environ,
            subprotocol=environ.get("HTTP_WEBSOCKET_PROTOCOL"),
            origin=environ.get("HTTP_ORIGIN"),
            version=version,
        )
        self.open(early or b"")

    def _start(self, sock: Any, protocol: WebSocketProtocol, timing: Timing, **options: Any) -> None:
        self.socket = sock
        self._owns_socket = False
        geventws.WebSocket.__init__(self, sock, protocol, timing, **options)
        self.log = self.environ.get("wsgi.errors") or sys.stderr

