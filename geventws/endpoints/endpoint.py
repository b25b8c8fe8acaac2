"""Endpoint: the options of whatever serves WebSockets, and its opening handshake on a WSGI server."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ..engine.keepalive import Timing, make_timing
from ..exceptions import HandshakeError
from ..frames import NO_LIMIT
from ..handshake.server import SAME_ORIGIN, Environ, Origins, accept, check_answer, check_further
from ..hosts import find_host, refuse, show_certificate
from ..hosts.host import SWITCHING
from ..hosts.servers import register_server
from ..protocol.connection import WebSocketProtocol
from ..protocol.hixie76 import HixieProtocol, LegacyUpgrade, is_legacy
from ..protocol.permessage_deflate import PerMessageDeflate
from ..streaming import StreamingWebSocket
from ..text import one_word, quoted
from ..websocket import WebSocket
from . import legacy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..handshake.server import Upgrade
    from ..hosts.host import Host, StartResponse

    Headers = Iterable[tuple[str, str]] | dict[str, str]
    Compression = PerMessageDeflate | None

logger = logging.getLogger("geventws")

DEFAULT_COMPRESSION = PerMessageDeflate()

_share_timing = functools.lru_cache(maxsize=64)(make_timing)  # one for all connections of an endpoint


class Endpoint:
    """What every WebSocket endpoint has. Every option is an attribute, and may be set later, for connections to come.

    Args:
        subprotocols: those spoken here; the first of the client's list that is among them is agreed on.
        origins: which pages may connect: `SAME_ORIGIN`; a list of origins such as "https://example.org", with None
            in it for clients that are no browsers; a function of (origin, environ); None for no check.
        max_message_size: the largest message taken, in bytes, after inflating. A larger one closes with 1009.
        ping_interval: seconds between keepalive pings, varied by 10 %; None sends none.
        ping_timeout: seconds after a ping within which anything has to come, or the connection is given up with
            1011; None waits for ever.
        close_timeout: seconds that `close` waits for the peer's answer; None waits for as long as the connection lives.
        send_timeout: seconds in each of which a peer has to take 64 KB of what is sent, or all that is left; else it is
            given up. None never does.
        compression: how to compress with clients that offer permessage-deflate (RFC 7692); None never does. Or a
            function of environ that returns one of both.
        decode_text: whether `wait` returns text as `str`; otherwise as `bytes`, checked to be UTF-8 but not decoded.
        streaming: whether the handler gets a `StreamingWebSocket`, which receives messages piece by piece. Such a
            endpoint negotiates no compression: a few bytes may stand for a piece of any size.
        headers: further headers of the 101, as pairs or a dict, or a function of environ that returns them. The
            function may raise `HandshakeError` to refuse. The handshake's own are not among them.
        support_legacy_versions: whether drafts 75 and 76 are spoken, too.

    Raises:
        TypeError: `subprotocols` or `origins` is a string where a list of strings is meant; `max_message_size`, one of
            the clocks or `compression` is of another type than it has here.
        ValueError: `max_message_size` or one of the clocks is out of its range; `headers` has one that cannot be sent.
    """

    def __init__(
        self,
        *,
        subprotocols: Collection[str] = (),
        origins: Origins = SAME_ORIGIN,
        max_message_size: int = 1 << 20,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        close_timeout: float | None = 5.0,
        send_timeout: float | None = 30.0,
        compression: Compression | Callable[[Environ], Compression] = DEFAULT_COMPRESSION,
        decode_text: bool = True,
        streaming: bool = False,
        headers: Headers | Callable[[Environ], Headers] = (),
        support_legacy_versions: bool = False,
    ) -> None:
        for name, value in (("subprotocols", subprotocols), ("origins", origins)):
            if isinstance(value, str):
                raise TypeError(f"{name} takes a list, not the text {value!r}")
        if isinstance(headers, Collection):
            check_further(as_pairs(headers))
        check_options(max_message_size, None if is_function(compression) else compression)
        make_timing(ping_interval, ping_timeout, close_timeout, send_timeout)  # for its errors
        self.subprotocols = subprotocols
        self.origins = origins
        self.max_message_size = max_message_size
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.close_timeout = close_timeout
        self.send_timeout = send_timeout
        self.compression = compression
        self.decode_text = decode_text
        self.streaming = streaming
        self.headers = headers
        self.support_legacy_versions = support_legacy_versions

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
        self.origins = SAME_ORIGIN if value is None else as_origins(value)

    @property
    def max_frame_length(self) -> int:
        """Another name of `max_message_size`."""
        return self.max_message_size

    @max_frame_length.setter
    def max_frame_length(self, value: int) -> None:
        self.max_message_size = value

    # The handshake

    def connect(
        self, environ: Environ, start_response: StartResponse, host: Host | None = None
    ) -> WebSocket | Iterable[bytes]:
        """Answer the opening handshake: return the connection, not yet open, or the body of a refusal.

        Args:
            environ: the request.
            start_response: as WSGI has it.
            host: the same request as its server has it; found by default.

        Raises:
            NoSocket: the server gives its application no socket.
            ValueError: `headers` has what may not be sent.
        """
        host = host or find_host(environ, start_response)
        try:
            return self.switch(host, environ, start_response, self.accept(host, environ, start_response))
        except HandshakeError as error:
            return self.refuse(environ, start_response, error)

    def accept(self, host: Host, environ: Environ, start_response: StartResponse) -> Upgrade:
        """Return what answers the handshake, with all headers; raise HandshakeError to refuse."""
        show_certificate(environ, start_response)
        register_server(environ, start_response)
        if self.support_legacy_versions and is_legacy(environ):
            upgrade: Upgrade = legacy.accept(host, environ, subprotocols=self.subprotocols, origins=self.origins)
        else:
            compression = None if self.streaming else self._choose_compression(environ)
            extensions = () if compression is None else (compression,)
            upgrade = accept(environ, subprotocols=self.subprotocols, origins=self.origins, extensions=extensions)
        own = upgrade.headers.copy()
        self.complete_headers(environ, upgrade.headers)
        if upgrade.headers != own:
            check_answer(own, upgrade.headers)
        return upgrade

    def _choose_compression(self, environ: Environ) -> Compression:
        compression = self.compression
        if callable(compression):
            compression = compression(environ)
            check_options(self.max_message_size, compression)
        return compression

    def refuse(self, environ: Environ, start_response: StartResponse, error: HandshakeError) -> Iterable[bytes]:
        """Answer a handshake with an HTTP status, and say so in the log; return the body."""
        log_refusal(environ, error)
        return refuse(environ, start_response, error)

    def switch(self, host: Host, environ: Environ, start_response: StartResponse, upgrade: Upgrade) -> WebSocket:
        """Answer with 101, and return the connection, not yet open."""
        if isinstance(upgrade, LegacyUpgrade):
            socket, early = legacy.switch(host, start_response, upgrade)
        else:
            socket, early = host.switch(start_response, upgrade.headers, SWITCHING)
        ws = self.make_websocket(socket, environ, upgrade)
        ws.early = early
        if host.on_drain is not None:
            host.on_drain(ws._go_away)
        return ws

    def complete_headers(self, environ: Environ, headers: list[tuple[str, str]]) -> None:
        """Add to the headers of a 101, or raise HandshakeError to refuse."""
        further = as_pairs(self.headers(environ) if callable(self.headers) else self.headers)
        check_further(further)
        headers += further

    def make_websocket(self, socket: Any, environ: Environ, upgrade: Upgrade) -> WebSocket:
        """Return the connection, not yet open."""
        kind = StreamingWebSocket if self.streaming else self.websocket_class
        timing = self.timing
        if isinstance(upgrade, LegacyUpgrade):
            timing = legacy.use_keepalive(socket, timing)
        return kind(
            socket,
            self._make_protocol(upgrade),
            timing,
            environ=environ,
            subprotocol=upgrade.protocol,
            origin=upgrade.origin,
            version=upgrade.version,
        )

    def _make_protocol(self, upgrade: Upgrade) -> WebSocketProtocol:
        options: dict[str, Any] = {
            "max_message_size": self.max_message_size,
            "decode_text": self.decode_text,
            "streaming": self.streaming,
        }
        if isinstance(upgrade, LegacyUpgrade):
            return HixieProtocol(upgrade.version, **options)
        return WebSocketProtocol(extension=upgrade.extension, **options)

    websocket_class: type[WebSocket] = WebSocket

    @property
    def timing(self) -> Timing:
        """The clocks of a connection."""
        return _share_timing(self.ping_interval, self.ping_timeout, self.close_timeout, self.send_timeout)


def as_pairs(headers: Headers) -> list[tuple[str, str]]:
    """Return headers as a list of pairs."""
    return list(headers.items() if isinstance(headers, dict) else headers)


def is_function(value: object) -> bool:
    """Whether a value can be called, and is no class."""
    return callable(value) and not isinstance(value, type)


def check_options(max_message_size: object, compression: object) -> None:
    """Check the options that an endpoint and a client have in common; `make_timing` does it for the clocks.

    Raises:
        TypeError: `max_message_size` is no int, or `compression` neither a `PerMessageDeflate` nor None.
        ValueError: `max_message_size` is negative, or more than the header of a frame can say.
    """
    if not isinstance(max_message_size, int):
        raise TypeError(f"max_message_size takes an int, not {max_message_size!r}")
    if not 0 <= max_message_size <= NO_LIMIT:
        raise ValueError(f"max_message_size is a number of bytes from 0 to 2 ** 63 - 1, not {max_message_size}")
    if not (compression is None or isinstance(compression, PerMessageDeflate)):
        raise TypeError(f"compression takes a PerMessageDeflate or None, not {compression!r}")


def as_origins(origin_checker: Callable[[str, str], object]) -> Callable[[str | None, Environ], object]:
    """Return eventlet's kind of check as ours."""

    def check(origin: str | None, environ: Environ) -> object:
        return origin_checker(environ.get("HTTP_HOST", ""), origin or "")

    check.origin_checker = origin_checker  # type: ignore[attr-defined]
    return check


def log_refusal(environ: Environ, error: HandshakeError) -> None:
    """Say in one line why a handshake was refused, and which option decides."""
    logger.warning(
        "%s %s refused with %d: %s%s",
        one_word(environ.get("REMOTE_ADDR", "-")),
        quoted(environ.get("PATH_INFO", "")),
        error.status,
        error,
        f" (option: {error.option})" if error.option else "",
    )


def __getattr__(name: str) -> Any:
    """Give `Endpoint` by its name of 1.0. Until 1.3."""
    if name != "Route":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    message = "Route is geventws.endpoints.endpoint.Endpoint now, and will be gone in geventws 1.3"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return Endpoint
