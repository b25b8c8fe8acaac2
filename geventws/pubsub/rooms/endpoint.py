"""RoomsEndpoint: a WSGI application that speaks the protocol for rooms with clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, cast

from ...endpoints.decorator import WebSocketWSGI
from ...endpoints.endpoint import ENDPOINT_DEFAULTS
from ...engine.options import complete
from ...exceptions import HandshakeError
from .messages import SUBPROTOCOL
from .session import Access, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...endpoints.endpoint import Compression, Headers
    from ...handshake.origins import Environ, Origins
    from ...handshake.upgrade import Upgrade
    from ...hosts.host import Host, StartResponse
    from ...websocket import WebSocket
    from .session import Authorize as Authorize
    from .session import FindMember as FindMember

MAX_MESSAGE_SIZE = 64 * 1024
"""Bytes of a request by default. It is small, as a published message goes to many, and decoded JSON takes memory."""


class RoomsOptions(TypedDict, total=False):
    """Options of `PubSub.endpoint`.

    max_message_size: the largest request, in bytes; 64 KB by default. A larger one closes the connection with 1009.
    origins, compression, headers, ping_interval, ping_timeout, close_timeout, send_timeout: as for `WebSocketWSGI`.
    """

    origins: Origins
    compression: Compression | Callable[[Environ], Compression]
    headers: Headers | Callable[[Environ], Headers]
    max_message_size: int
    ping_interval: float | None
    ping_timeout: float | None
    close_timeout: float | None
    send_timeout: float | None


ROOMS_DEFAULTS = cast(
    "RoomsOptions",
    {
        **{name: value for name, value in ENDPOINT_DEFAULTS.items() if name in RoomsOptions.__annotations__},
        "max_message_size": MAX_MESSAGE_SIZE,
    },
)


class RoomsEndpoint(WebSocketWSGI["Callable[[WebSocket], None]"]):
    """The WSGI application that `PubSub.endpoint` returns. It mounts wherever a `WebSocketWSGI` does."""

    def accept(self, host: Host, environ: Environ, start_response: StartResponse) -> Upgrade:
        """Return the answer to the handshake, with all headers; raise HandshakeError to refuse."""
        upgrade = super().accept(host, environ, start_response)
        if upgrade.protocol != SUBPROTOCOL:
            raise HandshakeError(400, f"this is for clients that speak {SUBPROTOCOL}")
        return upgrade


def make_endpoint(
    pubsub: Any, access: tuple[Authorize | None, FindMember | None, int], options: RoomsOptions
) -> RoomsEndpoint:
    """Return the endpoint of a PubSub. Raises as `WebSocketWSGI` does.

    Args:
        pubsub: the PubSub.
        access: what clients may do: see `Access`.
        options: the options given by the caller.
    """

    def rooms(ws: WebSocket) -> None:
        Session(ws, pubsub, Access(*access)).run()

    chosen: Any = complete(options, ROOMS_DEFAULTS, "endpoint")
    return RoomsEndpoint(rooms, subprotocols=[SUBPROTOCOL], **chosen)
