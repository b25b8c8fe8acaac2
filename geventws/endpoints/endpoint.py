"""Endpoint: the options and the opening handshake, which are common to all endpoints."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from ..engine.connection import Connection, Handshake
from ..engine.options import (
    COMPRESSION,
    DEFAULTS,
    ConnectionOptions,
    Timing,
    check_limits,
    complete,
    make_timing,
    takes,
)
from ..exceptions import HandshakeError
from ..handshake.hixie76 import DRAFTS, is_legacy
from ..handshake.origins import SAME_ORIGIN, Environ, Origins
from ..handshake.server import accept, check_answer, check_further
from ..hosts import find_host, refuse, show_certificate
from ..hosts.host import SWITCHING
from ..hosts.servers import register_server
from ..protocol.connection import WebSocketProtocol
from ..protocol.hixie76 import HixieProtocol
from ..protocol.interface import ConnectionProtocol
from ..streaming import StreamingWebSocket
from ..text import one_word, quoted
from ..websocket import BaseWebSocket, WebSocket, get_connection
from . import legacy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Unpack

    from ..handshake.upgrade import Upgrade
    from ..hosts.host import Host, StartResponse
    from ..protocol.extension import Negotiator

    Headers = Iterable[tuple[str, str]] | dict[str, str]
    Compression = Negotiator | None

logger: logging.Logger = logging.getLogger("geventws")

_share_timing = functools.lru_cache(maxsize=64)(make_timing)  # one for all connections of an endpoint


class EndpointOptions(ConnectionOptions, total=False):
    """Options of an endpoint.

    subprotocols: the supported subprotocols; the first one on the client's list that is among them is chosen. Empty
        by default.
    origins: the pages that may connect: `SAME_ORIGIN`, the default; a list of origins such as "https://example.org",
        in which a None allows clients without an Origin header (they are not browsers); a function of (origin, environ)
        that returns whether to accept; or None itself, which switches the check off.
    compression: a `PerMessageDeflate`, the default, to compress with clients that offer that (RFC 7692); None for no
        compression; or a function of environ that returns one of the two.
    headers: further headers of the 101, as pairs or a dict, or a function of environ that returns them. The function
        may raise `HandshakeError` to refuse. The handshake's own headers must not be among them. Empty by default.
    support_legacy_versions: whether drafts 75 and 76 are supported, too. False by default.
    """

    subprotocols: Collection[str]
    origins: Origins
    compression: Compression | Callable[[Environ], Compression]
    headers: Headers | Callable[[Environ], Headers]
    support_legacy_versions: bool


ENDPOINT_DEFAULTS: EndpointOptions = {
    "subprotocols": (),
    "origins": SAME_ORIGIN,
    **DEFAULTS,
    "compression": COMPRESSION,
    "headers": (),
    "support_legacy_versions": False,
}


@takes(ENDPOINT_DEFAULTS, EndpointOptions, ConnectionOptions)
class Endpoint:
    """The base of all endpoints. Every option is an attribute, and may be set later, for new connections.

    Args:
        options: see `EndpointOptions`.

    Raises:
        TypeError: an option is unknown; `subprotocols` or `origins` is a string instead of a list of strings;
            `max_message_size`, one of the clocks or `compression` has the wrong type.
        ValueError: `max_message_size` or one of the clocks is out of range; `headers` has a header that cannot be sent.
    """

    _defaults: ClassVar[EndpointOptions] = ENDPOINT_DEFAULTS
    subprotocols: Collection[str]
    origins: Origins
    max_message_size: int
    decode_text: bool
    streaming: bool
    ping_interval: float | None
    ping_timeout: float | None
    close_timeout: float | None
    send_timeout: float | None
    compression: Compression | Callable[[Environ], Compression]
    headers: Headers | Callable[[Environ], Headers]
    support_legacy_versions: bool

    def __init__(self, **options: Unpack[EndpointOptions]) -> None:
        for name, value in complete(options, self._defaults, type(self).__name__).items():
            setattr(self, name, value)
        for name in ("subprotocols", "origins"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name} takes a list, not the text {getattr(self, name)!r}")
        if isinstance(self.headers, Collection):
            check_further(as_pairs(self.headers))
        check_limits(self.max_message_size, None if is_function(self.compression) else self.compression)
        make_timing(self.ping_interval, self.ping_timeout, self.close_timeout, self.send_timeout)  # for its errors

    # eventlet's names for the same things

    @property
    def supported_protocols(self) -> Collection[str]:
        """Eventlet's name for `subprotocols`."""
        return self.subprotocols

    @supported_protocols.setter
    def supported_protocols(self, value: Collection[str] | None) -> None:
        self.subprotocols = value or ()

    @property
    def origin_checker(self) -> Callable[[str, str], object] | None:
        """Eventlet's way to set `origins`: a function of the Host and the Origin header."""
        return getattr(self.origins, "origin_checker", None)

    @origin_checker.setter
    def origin_checker(self, value: Callable[[str, str], object] | None) -> None:
        self.origins = SAME_ORIGIN if value is None else as_origins(value)

    @property
    def max_frame_length(self) -> int:
        """Eventlet's name for `max_message_size`."""
        return self.max_message_size

    @max_frame_length.setter
    def max_frame_length(self, value: int) -> None:
        self.max_message_size = value

    # The handshake

    def connect(
        self, environ: Environ, start_response: StartResponse, host: Host | None = None
    ) -> BaseWebSocket | Iterable[bytes]:
        """Answer the opening handshake: return the connection, not yet open, or the body of a refusal.

        Args:
            environ: the request.
            start_response: the server's (PEP 3333).
            host: the server's side of the same request; None, the default, to find it.

        Raises:
            NoSocket: the server gives its application no socket.
            ValueError: `headers` has a header that may not be sent.
        """
        host = host or find_host(environ, start_response)
        try:
            return self.switch(host, environ, start_response, self.accept(host, environ, start_response))
        except HandshakeError as error:
            return self.refuse(environ, start_response, error)

    def accept(self, host: Host, environ: Environ, start_response: StartResponse) -> Upgrade:
        """Return the answer to the handshake, with all headers; raise HandshakeError to refuse."""
        show_certificate(environ, start_response)
        register_server(environ, start_response)
        upgrade = self.negotiate(host, environ)
        own = upgrade.headers.copy()
        self.complete_headers(environ, upgrade.headers)
        if upgrade.headers != own:
            check_answer(own, upgrade.headers)
        return upgrade

    def negotiate(self, host: Host, environ: Environ) -> Upgrade:
        """Return the answer to the handshake, with the handshake's own headers; raise HandshakeError to refuse."""
        if self.support_legacy_versions and is_legacy(environ):
            return legacy.accept(host, environ, subprotocols=self.subprotocols, origins=self.origins)
        compression = None if self.streaming else self._choose_compression(environ)
        extensions = () if compression is None else (compression,)
        return accept(environ, subprotocols=self.subprotocols, origins=self.origins, extensions=extensions)

    def _choose_compression(self, environ: Environ) -> Compression:
        compression = self.compression
        if callable(compression):
            compression = compression(environ)
            check_limits(self.max_message_size, compression)
        return compression

    def refuse(self, environ: Environ, start_response: StartResponse, error: HandshakeError) -> Iterable[bytes]:
        """Refuse a handshake with an HTTP status, and log that; return the body."""
        log_refusal(environ, error)
        return refuse(environ, start_response, error)

    def switch(self, host: Host, environ: Environ, start_response: StartResponse, upgrade: Upgrade) -> BaseWebSocket:
        """Answer with 101, and return the connection, not yet open."""
        if upgrade.version in DRAFTS:
            socket, early = legacy.switch(host, environ, start_response, upgrade)
        else:
            socket, early = host.switch(start_response, upgrade.headers, SWITCHING)
        ws = self.make_websocket(socket, environ, upgrade)
        connection = get_connection(ws)
        connection.handshake.trailing_data = early
        if host.on_drain is not None:
            host.on_drain(self.make_farewell(connection))
        return ws

    def make_farewell(self, connection: Connection) -> Callable[[int], object]:
        """Return a function that closes a connection with a code when the server stops. It must not block."""
        return connection.go_away

    def complete_headers(self, environ: Environ, headers: list[tuple[str, str]]) -> None:
        """Add to the headers of a 101, or raise HandshakeError to refuse."""
        further = as_pairs(self.headers(environ) if callable(self.headers) else self.headers)
        check_further(further)
        headers += further

    def make_websocket(self, socket: Any, environ: Environ, upgrade: Upgrade) -> BaseWebSocket:
        """Return the connection, not yet open."""
        kind = StreamingWebSocket if self.streaming else self.websocket_class
        timing = self.timing
        if upgrade.version in DRAFTS:
            timing = legacy.use_keepalive(socket, timing)
        return kind(Connection(socket, self.make_protocol(upgrade), timing, read_handshake(environ, upgrade)), environ)

    def make_protocol(self, upgrade: Upgrade) -> ConnectionProtocol:
        """Return the state machine of a connection's protocol."""
        options: dict[str, Any] = {
            "max_message_size": self.max_message_size,
            "decode_text": self.decode_text,
            "streaming": self.streaming,
        }
        if upgrade.version in DRAFTS:
            return HixieProtocol(upgrade.version, **options)
        return WebSocketProtocol(extension=upgrade.extension, **options)

    websocket_class: type[BaseWebSocket] = WebSocket

    @property
    def timing(self) -> Timing:
        """The clocks of a connection."""
        return _share_timing(self.ping_interval, self.ping_timeout, self.close_timeout, self.send_timeout)


def read_handshake(environ: Environ, upgrade: Upgrade) -> Handshake:
    """Return the facts that a connection keeps from its opening handshake."""
    address, path = environ.get("REMOTE_ADDR", ""), environ.get("PATH_INFO", "")
    return Handshake(address, path, upgrade.protocol, upgrade.origin, upgrade.version)


def as_pairs(headers: Headers) -> list[tuple[str, str]]:
    """Return headers as a list of pairs."""
    return list(headers.items() if isinstance(headers, dict) else headers)


def is_function(value: object) -> bool:
    """Whether a value is callable, and not a class."""
    return callable(value) and not isinstance(value, type)


def as_origins(origin_checker: Callable[[str, str], object]) -> Callable[[str | None, Environ], object]:
    """Return a function for `origins` that calls eventlet's kind of origin check."""

    def check(origin: str | None, environ: Environ) -> object:
        return origin_checker(environ.get("HTTP_HOST", ""), origin or "")

    check.origin_checker = origin_checker  # type: ignore[attr-defined]
    return check


def log_refusal(environ: Environ, error: HandshakeError) -> None:
    """Log in one line why a handshake was refused, and which option decides that."""
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
