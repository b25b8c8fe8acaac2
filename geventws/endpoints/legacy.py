"""Drafts 75 and 76 on a WSGI server: the part of their handshake that needs the socket and the reader.

`accept` checks a request, and `switch` answers it. In draft 76, 8 bytes follow the head of the request, and no header
announces them: they are read from wherever the server keeps what it has read ahead. The drafts have no pings, so
`use_keepalive` has the kernel find dead peers instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket as gsocket

from ..exceptions import HandshakeError
from ..handshake import hixie76
from ..handshake.hixie76 import CHALLENGE_SIZE, STATUS, answer_challenge
from ..handshake.origins import SAME_ORIGIN, Origins

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..engine.options import Timing
    from ..handshake.origins import Environ
    from ..handshake.upgrade import Upgrade
    from ..hosts.host import Host, StartResponse

__all__ = ["accept", "switch", "use_keepalive"]

CHALLENGE_TIMEOUT = 5.0
"""Seconds that the challenge has to arrive after the head of its request."""


def accept(
    host: Host,
    environ: Environ,
    *,
    subprotocols: Collection[str] | None = (),
    origins: Origins = SAME_ORIGIN,
) -> Upgrade:
    """Return the answer to a request for draft 75 or 76: see `hixie76.accept`, which raises HandshakeError."""
    return hixie76.accept(environ, target=host.target, subprotocols=subprotocols, origins=origins)


def switch(
    host: Host, environ: Environ, start_response: StartResponse, accepted: Upgrade
) -> tuple[Any, bytes]:
    """Answer with 101, and take over the connection from the server.

    Blocks until the challenge has come, at most for CHALLENGE_TIMEOUT.

    Raises:
        HandshakeError: 400, the challenge does not come.
        NoSocket: the server gives its application no socket.
    """
    _ = host.socket  # or else NoSocket, before the answer
    tail = answer_challenge(environ, _read_challenge(host)) if accepted.version == 76 else b""
    return host.switch(start_response, accepted.headers, STATUS[accepted.version], tail)


def _read_challenge(host: Host) -> bytes:
    """Read the 8 bytes that draft 76 has after the head (5.2)."""
    challenge = b""
    try:
        with gevent.Timeout(CHALLENGE_TIMEOUT, False):
            challenge = host.read(CHALLENGE_SIZE)
    except OSError:
        pass  # the client has gone
    if len(challenge) < CHALLENGE_SIZE:
        raise HandshakeError(400, f"the {CHALLENGE_SIZE} bytes after the head of draft 76 did not come")
    return challenge


def use_keepalive(socket: Any, timing: Timing) -> Timing:
    """Have the kernel look for a dead peer at the pace of `ping_interval`; return the clocks without that one.

    The kernel probes a silent peer once in each interval, and ends the connection after three probes without an answer.
    """
    if timing.ping_interval is None:
        return timing
    socket.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_KEEPALIVE, 1)
    if socket.family != gsocket.AF_UNIX and hasattr(gsocket, "TCP_KEEPIDLE"):
        seconds = max(1, round(timing.ping_interval))
        for option, value in (("TCP_KEEPIDLE", seconds), ("TCP_KEEPINTVL", seconds), ("TCP_KEEPCNT", 3)):
            socket.setsockopt(gsocket.IPPROTO_TCP, getattr(gsocket, option), value)
    return timing._replace(ping_interval=None)
