"""Deadlines after something has held the loop up: the time until a greenlet may run again is nobody's fault."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import websockets.sync.server
from gevent.event import Event

import geventws
from geventws import WebSocketServer, WebSocketWSGI
from geventws.engine.loop.deadlines import Deadline, FairTimeout
from geventws.engine.loop.system import Clock

TIMEOUT = 0.3
HELD_UP = 0.9


@WebSocketWSGI
def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def test_a_deadline_counts_once_nothing_is_left_to_be_read() -> None:
    answers = [True, True, False]
    struck = Event()
    Deadline(Clock.of(gevent.get_hub().loop), 0, lambda: answers.pop(0), struck.set)
    assert struck.wait(5) and answers == []


def test_a_deadline_counts_at_last_whatever_there_is_to_be_read() -> None:
    asked: list[bool] = []
    struck = Event()
    Deadline(Clock.of(gevent.get_hub().loop), 0, lambda: asked.append(True) or True, struck.set)
    assert struck.wait(5) and 1 < len(asked) < 1000


def test_a_timeout_gives_back_the_time_that_the_loop_was_held_up() -> None:
    with FairTimeout(TIMEOUT):
        time.sleep(HELD_UP)
        gevent.sleep(TIMEOUT / 2)
    with pytest.raises(FairTimeout) as caught, FairTimeout(TIMEOUT) as expected:
        for _ in range(2):
            time.sleep(HELD_UP)
            gevent.sleep(TIMEOUT / 2)
    assert caught.value is expected


def test_a_timeout_strikes_as_any_other() -> None:
    with pytest.raises(FairTimeout) as caught, FairTimeout(0.01) as expected:
        Event().wait()
    assert caught.value is expected and not expected.pending
    with pytest.raises(TimeoutError, match="late"), FairTimeout(0.01, TimeoutError("late")):
        Event().wait()
    with FairTimeout(None):
        gevent.sleep(0)


@pytest.mark.parametrize("over", ["TCP", "TLS"])
def test_a_handshake_with_us_after_the_server_was_held_up(serve: Any, secure: Any, certificate: Any, over: str) -> None:
    """The client, in a thread, sends what it has to in time."""
    options = {"head_timeout": TIMEOUT, "handshake_timeout": TIMEOUT, **(secure if over == "TLS" else {})}
    site = serve(echo, server_class=WebSocketServer, **options)
    context = ssl.create_default_context(cafile=certificate["ca_certs"]) if over == "TLS" else None
    pool = gevent.get_hub().threadpool
    accepted = threading.Event()

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", site.port), timeout=10) as plain:
            accepted.wait(10)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") if context else plain as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                return client.recv(12)

    asking = pool.spawn(ask)
    while not site.server._connections:
        gevent.sleep(0.001)
    gevent.sleep(0.01)
    accepted.set()
    time.sleep(HELD_UP)
    assert asking.get() == b"HTTP/1.1 400"


@contextlib.contextmanager
def in_a_thread(context: ssl.SSLContext | None) -> Iterator[int]:
    """Serve in a thread, and yield the port."""
    server = websockets.sync.server.serve(lambda ws: ws.recv(), "127.0.0.1", 0, ssl=context)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("over", ["TCP", "TLS"])
def test_a_handshake_of_ours_after_the_client_was_held_up(serve: Any, certificate: Any, tls: Any, over: str) -> None:
    context = None
    if over == "TLS":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate["certfile"], certificate["keyfile"])
    with in_a_thread(context) as port:
        url = f"{'wss' if context else 'ws'}://127.0.0.1:{port}/"
        options = {"ssl": tls} if context else {}
        opening = gevent.spawn(geventws.connect, url, open_timeout=TIMEOUT, proxy=None, **options)
        gevent.sleep(0)
        time.sleep(HELD_UP)
        ws = opening.get()
        ws.send("done")
        ws.close()
