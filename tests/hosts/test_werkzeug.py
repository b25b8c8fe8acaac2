"""Werkzeug's development server: a thread for each connection, whose socket stays open until the server closes it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from flask import Flask
from kit import frames
from kit.clients import RawClient
from kit.sites.buses import wait_until
from kit.sites.threads import DOORS, check_descriptors, check_early_frames, echo
from werkzeug.serving import make_server

from geventws import ConnectionClosed, NoSocket
from geventws.flask import Sock
from geventws.websocket import get_connection

logging.getLogger("werkzeug").setLevel("ERROR")  # it logs each request at INFO


@pytest.fixture
def dial() -> Iterator[Any]:
    """Serve an application in threads, and return what connects to it."""
    servers, clients = [], []

    def dial(application: Any, **options: Any) -> RawClient:
        server = make_server("127.0.0.1", 0, application, threaded=True, **options)
        server.daemon_threads = False  # they are waited for
        servers.append((server, threading.Thread(target=server.serve_forever)))
        servers[-1][1].start()
        clients.append(RawClient(server.port))
        return clients[-1]

    yield dial
    for client in clients:
        client.close()
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        gevent.get_hub().threadpool.apply(thread.join)


@pytest.mark.parametrize("application", DOORS)
def test_frames_that_follow_the_handshake_at_once_are_not_lost(dial, application) -> None:
    check_early_frames(dial, application)


def test_a_connection_whose_thread_has_ended_takes_nothing(dial) -> None:
    app, connections = Flask("site"), []
    Sock(app).route("/")(connections.append)
    client = dial(app)
    client.open()
    assert client.rest() == b"\x88\x02\x03\xe8"
    wait_until(lambda: get_connection(connections[0]).stream.poller.closed)
    with pytest.raises(ConnectionClosed):
        connections[0].send("too late")
    connections[0].close()


def test_nothing_follows_the_close_frame(dial) -> None:
    client = dial(echo)
    client.open()
    client.send(frames.close(1000))
    assert client.rest() == b"\x88\x02\x03\xe8"


@pytest.mark.parametrize("application", DOORS)
def test_no_descriptor_is_left(dial, application) -> None:
    check_descriptors(dial, application)


def test_a_connection_over_tls_has_no_socket(certificate, thread_tls, tls, dial) -> None:
    caught = []

    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        with pytest.raises(NoSocket) as raised:
            echo(environ, start_response)
        caught.append(str(raised.value))
        start_response("501 Not Implemented", [])
        return []

    client = dial(serve, ssl_context=(certificate["certfile"], certificate["keyfile"]))
    client.socket = tls.wrap_socket(client.socket, server_hostname="127.0.0.1")
    client.send(b"")
    with pytest.raises(AssertionError, match="501"):
        client.open()
    assert caught == ["this development server cannot share a connection over TLS: use another server"]
