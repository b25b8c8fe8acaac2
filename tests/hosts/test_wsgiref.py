"""wsgiref's server with threads, of which Django's runserver is made, and without, which is no host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import gevent
import pytest
from kit import frames
from kit.clients import RawClient, handshake
from kit.sites.threads import DOORS, check_descriptors, check_early_frames, echo

from geventws import NoSocket


class ThreadedServer(ThreadingMixIn, WSGIServer):
    """As Django has it."""


class QuietHandler(WSGIRequestHandler):
    """Keeps what it would log."""

    said: list[str] = []

    def log_message(self, format: str, *args: Any) -> None:
        self.said.append(format % args)


@pytest.fixture
def dial() -> Iterator[Any]:
    """Serve an application, and return what connects to it."""
    running, clients = [], []
    QuietHandler.said.clear()

    def dial(application: Any, server_class: Any = ThreadedServer) -> RawClient:
        server = server_class(("127.0.0.1", 0), QuietHandler)
        server.set_app(application)
        running.append((server, threading.Thread(target=server.serve_forever, args=(0.01,))))
        running[-1][1].start()
        clients.append(RawClient(server.server_port))
        return clients[-1]

    yield dial
    for client in clients:
        client.close()
    for server, thread in running:
        gevent.get_hub().threadpool.apply(server.shutdown)
        gevent.get_hub().threadpool.apply(server.server_close)
        gevent.get_hub().threadpool.apply(thread.join)


@pytest.mark.parametrize("application", DOORS)
def test_frames_that_follow_the_handshake_at_once_are_not_lost(dial, application) -> None:
    check_early_frames(dial, application)


def test_nothing_follows_the_close_frame_and_the_log_is_true(dial) -> None:
    client = dial(echo)
    client.open()
    client.send(frames.close(1000))
    assert client.rest() == b"\x88\x02\x03\xe8"
    with gevent.Timeout(5):
        while not QuietHandler.said:
            gevent.sleep(0.01)
    assert QuietHandler.said == ['"GET / HTTP/1.1" 101 0']


def test_a_page_is_refused(dial) -> None:
    client = dial(echo)
    client.send(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nhello")
    assert client.rest().split(b"\r\n", 1)[0] == b"HTTP/1.0 405 Method Not Allowed"


@pytest.mark.parametrize("application", DOORS)
def test_no_descriptor_is_left(dial, application) -> None:
    check_descriptors(dial, application)


def test_a_server_without_threads_is_no_host(dial) -> None:
    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        with pytest.raises(NoSocket, match="geventws serve module:application"):
            echo(environ, start_response)
        start_response("501 Not Implemented", [])
        return []

    client = dial(serve, WSGIServer)
    client.send(handshake("/"))
    assert client.read_head().status == "HTTP/1.0 501 Not Implemented"
