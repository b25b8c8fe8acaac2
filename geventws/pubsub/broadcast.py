"""Broadcast: one message to a list of connections. Also finds the outlet of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..endpoints.middleware import RequestWebSocket
from ..engine.fragments import check_thread
from ..engine.loop.poller import get_poller
from ..engine.published.deliveries import CLOSE, Limits, Tally
from ..engine.published.outlet import get_outlet
from ..protocol.prepared import prepare
from ..websocket import BaseWebSocket, get_connection
from .branches.publication import Publication, put_in
from .branches.topics import Group, Seat
from .finalizers import is_finalizer

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from ..engine.published.outlet import Outlet
    from ..protocol.prepared import Message, PreparedMessage

__all__ = ["broadcast"]


def broadcast(sockets: Iterable[BaseWebSocket], message: Message | PreparedMessage) -> int:
    """Send a message to many connections. Does not block: it waits for none of them.

    The message is encoded and compressed once for all. A connection for which 64 KB or 256 messages wait already is
    closed with 1013; one that is closed or closing is left out. To be called in the connections' thread.

    Args:
        sockets: the connections.
        message: `str` for text, bytes-like for binary, or a `PreparedMessage`.

    Returns:
        The number of connections that the message goes to.

    Raises:
        TypeError: the message is of another type, or an item of `sockets` is not a connection. Nothing is sent.
        ConcurrencyError: a connection belongs to another thread. Nothing is sent.
    """
    prepared, outlets = prepare(message), [find_outlet(ws) for ws in sockets]
    if is_finalizer():
        get_poller().later(_send, outlets, prepared)
        return len({outlet for outlet in outlets if not outlet.connection.closed})
    return _send(outlets, prepared)


def _send(outlets: list[Outlet], prepared: PreparedMessage) -> int:
    """Send a message to those that are open; return how many they are."""
    groups: dict[Hashable, Group] = {}
    for outlet in outlets:
        if not outlet.connection.closed:
            shared = outlet.extension if outlet.sharing is not None else None
            group = groups.setdefault(outlet.sharing, Group(shared))
            group.members[outlet.fileno] = Seat(outlet, CLOSE)
    outbox, tally = get_poller().outbox, Tally()
    for group in groups.values():
        publication = Publication(prepared, group, None, tally, Limits(), None)
        put_in(outbox, publication, prepared, group)
    return tally.published


def resolve(ws: Any) -> BaseWebSocket:
    """Return the WebSocket of a connection. A middleware's `RequestWebSocket` accepts the handshake first."""
    if isinstance(ws, RequestWebSocket):
        ws = ws.accept()
    if not isinstance(ws, BaseWebSocket):
        raise TypeError(f"a connection is a WebSocket, not {type(ws).__name__}")
    return ws


def find_outlet(ws: BaseWebSocket) -> Outlet:
    """Return the outlet of a connection. Raises `TypeError` if it is none, `ConcurrencyError` in another thread."""
    ws = resolve(ws)
    connection = get_connection(ws)
    check_thread(connection)
    return get_outlet(connection, ws)
