"""Three echoing connections on every kind of host, to harm one of them and to look at the others."""

from __future__ import annotations

from typing import Any

import gevent
from kit import frames
from kit.clients import RawClient

from geventws import WebSocketApplication, WebSocketServer, WebSocketWSGI
from geventws.engine.connection import Connection
from geventws.engine.loop.poller import get_poller

HOSTS = ["blocking", "callbacks", "server", "tls"]


def echo(ws) -> None:
    for message in ws:
        ws.send(message)


class Echo(WebSocketApplication):
    """The same in callbacks."""

    def on_message(self, ws, message):
        return message


def serve_echo(host: str, serve: Any, secure: Any) -> Any:
    """Serve an echo on a kind of host."""
    options = {"server_class": WebSocketServer} if host == "server" else {}
    options = secure if host == "tls" else options
    return serve(Echo() if host == "callbacks" else WebSocketWSGI(echo), **options)


def connections() -> list[Connection]:
    return [channel for channel in get_poller().channels if isinstance(channel, Connection)]


def open_three(site) -> tuple[list[RawClient], list[Connection]]:
    """Return three clients, and their connections in the server."""
    clients, found = [], []
    for _ in range(3):
        clients.append(site.connect())
        found += [one for one in connections() if one not in found]
    return clients, found


def check(client: RawClient, message: str = "still here") -> None:
    client.send(frames.text(message))
    assert client.read_message() == message


def leave(site, holder=None) -> None:
    """End all connections, and give the poller's epoll set the number back that it had."""
    if holder is not None:
        holder.release()
    for client in site._clients:
        client.close()
    site.settle()
    gevent.sleep(0.01)
    get_poller().interest.recover()
