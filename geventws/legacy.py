"""Drafts 75 and 76 on a WSGI server: what `hixie76` needs of the socket and the reader.

`connect` does all of it, in three steps, as for RFC 6455: `accept` looks at the request, `switch_protocols` answers
it, and a `LegacyWebSocket` serves the connection. Draft 76 has 8 bytes behind the head of its request, which no header
announces: they come from wherever the server keeps what it has read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket as gsocket

from . import hixie76, upgrade
from .connection import Timing
from .exceptions import HandshakeError
from .handshake import SAME_ORIGIN, Origins
from .hixie76 import CHALLENGE_SIZE, HixieProtocol, LegacyUpgrade, is_legacy
from .streaming import StreamingWebSocket
from .websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from .upgrade import Environ, StartResponse

__all__ = ["LegacyWebSocket", "StreamingLegacyWebSocket", "accept", "connect", "is_legacy", "switch_protocols"]

CHALLENGE_TIMEOUT = 5.0
"""Seconds for the challenge to come in behind the head of its request."""


class LegacyWebSocket(WebSocket):
    """A connection of draft 75 or 76. Messages are text; what `send` is given as bytes goes as text, too.

    These drafts have no pings, so `ping` raises ValueError, and the kernel's keepalive stands in for ours: it finds a
    dead peer at the pace of `ping_interval`. `version` is the draft.

    Args:
        socket: a connected gevent socket.
        protocol: the protocol's state.
        timing: the clocks.
        environ: the WSGI environ of the handshake.
        accepted: what `accept` returned.
    """

    __slots__ = ()

    def __init__(
        self, socket: Any, protocol: HixieProtocol, timing: Timing, environ: Environ, accepted: LegacyUpgrade
    ) -> None:
        if timing.ping_interval is not None:
            set_keepalive(socket, timing.ping_interval)
        super().__init__(
            socket,
            protocol,
            timing._replace(ping_interval=None),
            environ=environ,
            subprotocol=accepted.protocol,
            origin=accepted.origin,
            version=accepted.version,
        )

    def finish(self, code: int | None, reason: str, timeout: float | None) -> None:
        """Close. Draft 75 has no closing handshake to wait for: there the end of the stream is all there is."""
        if self.version == 75 and not self.over:
            self.begin_close(code, reason)
            self._end()
        else:
            super().finish(code, reason, timeout)


class StreamingLegacyWebSocket(LegacyWebSocket, StreamingWebSocket):
    """The same, as a `StreamingWebSocket`; each message is one piece."""

    __slots__ = ()


def connect(
    environ: Environ,
    start_response: StartResponse,
    *,
    subprotocols: Collection[str],
    origins: Origins,
    headers: Callable[[Environ], list[tuple[str, str]]],
    timing: Timing,
    max_message_size: int,
    decode_text: bool,
    streaming: bool,
) -> LegacyWebSocket:
    """Answer a request for draft 75 or 76, and return the connection, which receives from now on.

    Takes the options of `WebSocketWSGI`. Blocks until the challenge is there, for CHALLENGE_TIMEOUT at the most.

    Raises:
        HandshakeError: the request is to be refused.
        NoSocket: the server gives its application no socket.
    """
    accepted = accept(environ, start_response, subprotocols=subprotocols, origins=origins)
    more = headers(environ)
    socket = upgrade.find_socket(environ)
    early = switch_protocols(environ, start_response, socket, accepted, accepted.headers + more)
    protocol = HixieProtocol(
        accepted.version, max_message_size=max_message_size, decode_text=decode_text, streaming=streaming
    )
    kind = StreamingLegacyWebSocket if streaming else LegacyWebSocket
    ws = kind(socket, protocol, timing, environ, accepted)
    ws.open(early)
    return ws


def accept(
    environ: Environ,
    start_response: StartResponse,
    *,
    subprotocols: Collection[str] | None = (),
    origins: Origins = SAME_ORIGIN,
) -> LegacyUpgrade:
    """Return what answers a request for draft 75 or 76; see `hixie76.accept`, which raises HandshakeError."""
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if target is None:  # of gunicorn and others; pywsgi's handler has it
        target = getattr(getattr(start_response, "__self__", None), "path", None)
    return hixie76.accept(environ, target=target, subprotocols=subprotocols, origins=origins)


def switch_protocols(
    environ: Environ,
    start_response: StartResponse,
    socket: Any,
    accepted: LegacyUpgrade,
    headers: list[tuple[str, str]],
) -> bytes:
    """Answer with 101, and return the bytes that came behind the request. The socket is the caller's from here on.

    Blocks until the challenge is there, for CHALLENGE_TIMEOUT at the most.

    Raises:
        HandshakeError: 400, the challenge does not come.
    """
    body = accepted.respond(_read_challenge(environ)) if accepted.version == 76 else b""

    def start(_status: str, headers: list[tuple[str, str]]) -> Callable[[bytes], object]:
        write = start_response(accepted.status, headers)
        write(body)
        return write

    return upgrade.switch_protocols(environ, start, socket, headers)


def _read_challenge(environ: Environ) -> bytes:
    """Read the 8 bytes that draft 76 has behind the head (5.2)."""
    reader = getattr(getattr(environ.get("wsgi.input"), "reader", None), "unreader", None)  # gunicorn's own parser
    challenge = b""
    try:
        with gevent.Timeout(CHALLENGE_TIMEOUT, False):
            challenge = (reader or upgrade._find_reader(environ)).read(CHALLENGE_SIZE)
    except OSError:
        pass  # it has gone
    if len(challenge) < CHALLENGE_SIZE:
        raise HandshakeError(400, f"the {CHALLENGE_SIZE} bytes behind the head of draft 76 did not come")
    return challenge


def set_keepalive(socket: Any, interval: float) -> None:
    """Have the kernel ask a silent peer for a sign of life at this pace, and give it up after three without one."""
    socket.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_KEEPALIVE, 1)
    if socket.family == gsocket.AF_UNIX or not hasattr(gsocket, "TCP_KEEPIDLE"):
        return
    seconds = max(1, round(interval))
    for option, value in (("TCP_KEEPIDLE", seconds), ("TCP_KEEPINTVL", seconds), ("TCP_KEEPCNT", 3)):
        socket.setsockopt(gsocket.IPPROTO_TCP, getattr(gsocket, option), value)
