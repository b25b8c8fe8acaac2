"""Connections that outlive their request: the server counts them, drains them, and aborts them."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from kit.sites.http import UPGRADE, deadline, read_all, run  # noqa: F401


@pytest.fixture
def given(run: Any) -> Iterator[tuple[Any, Any, list[Any]]]:
    """A server, a client whose connection outlives its request, and that connection's socket."""
    sockets: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        upgrade = environ.pop("geventws.upgrade")
        start_response("101 Switching Protocols", [])(b"")
        upgrade.take()
        upgrade.on_drain(lambda code: sockets[0]._sock.send(b"%d" % code))
        sockets.append(upgrade.give_away())
        return []

    running = run(application)
    client = running.connect()
    client.sendall(UPGRADE)
    gevent.idle()
    yield running, client, sockets
    sockets[0].close()
    sockets[0].leave()


@pytest.mark.parametrize("steps", [["close", "close", "leave"], ["leave", "leave", "close"]], ids=" ".join)
def test_a_connection_counts_until_its_socket_is_closed_and_nothing_is_left_to_do(given: Any, steps: Any) -> None:
    running, client, sockets = given
    for step in steps:
        assert running.server._connections == {sockets[0]}
        getattr(sockets[0], step)()
    assert not running.server._connections
    assert read_all(client).endswith(b"\r\n\r\n")


def test_a_server_that_stops_tells_it_and_ends_it_when_its_time_is_up(given: Any) -> None:
    running, client, sockets = given
    running.server.stop(0.1)
    assert read_all(client).endswith(b"\r\n\r\n1001")
    assert sockets[0]._sock.recv(9) == b""
