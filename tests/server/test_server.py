"""WebSocketServer over real sockets: its limits, and how it stops."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import Any

import gevent
import pytest
from gevent import pywsgi, socket
from gevent.event import Event
from kit.sites.http import DEADLINE, UPGRADE, deadline, read_all, run, show  # noqa: F401

from geventws.server.server import WebSocketServer

# Deadlines and limits


def test_a_connection_over_the_limit_is_answered_with_503(run: Any) -> None:
    running = run(show, max_connections=2)
    first, second, third = (running.connect() for _ in range(3))
    third.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert read_all(third).startswith(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n")
    for client in (first, second):
        client.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in read_all(client)
    assert b"200 OK" in running.ask(b"GET / HTTP/1.0\r\n\r\n")


def test_accepting_pauses_far_over_the_limit_and_goes_on(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WebSocketServer, "most_refused", 1)
    running = run(show, max_connections=1)
    clients = [running.connect() for _ in range(4)]
    clients[3].sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    gevent.idle()
    assert len(running.server._connections) == 2
    for client in clients[:3]:
        client.close()
    assert read_all(clients[3]).startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 "))


def test_a_handler_class_of_pywsgi_is_refused() -> None:
    with pytest.raises(TypeError, match="RequestHandler"):
        WebSocketServer(("127.0.0.1", 0), show, handler_class=pywsgi.WSGIHandler)


@pytest.mark.parametrize(
    ("name", "meant"), [("max_conections", "max_connections"), ("cert_file", "certfile"), ("strange", "")]
)
def test_a_misspelt_option_is_no_word_of_tls(name: str, meant: str) -> None:
    hint = f"; did you mean {meant}?" if meant else ""
    with pytest.raises(TypeError, match=re.escape(f"WebSocketServer takes no option {name!r}{hint}")):
        WebSocketServer(("127.0.0.1", 0), show, **{name: 3})


def test_a_pool_bounds_the_greenlets(run: Any) -> None:
    running = run(show, spawn=1)
    first, second = running.connect(), running.connect()
    second.sendall(b"GET / HTTP/1.0\r\n\r\n")
    gevent.idle()
    assert len(running.server._connections) == 1
    first.close()
    assert b"200 OK" in read_all(second)


# The end


def test_stop_lets_answers_finish_and_ends_idle_connections(run: Any) -> None:
    working, go_on = Event(), Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        working.set()
        go_on.wait(DEADLINE)
        return show(environ, start_response)

    running = run(application)
    idle, partial, busy = (running.connect() for _ in range(3))
    partial.sendall(b"GET / HTTP")
    busy.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert working.wait(DEADLINE)
    stopping = gevent.spawn(running.server.stop, DEADLINE)
    assert read_all(idle) == b""
    assert read_all(partial) == b""
    assert not stopping.ready()
    go_on.set()
    answer = read_all(busy)
    assert answer.startswith(b"HTTP/1.1 200 OK") and b"\r\nConnection: close\r\n" in answer
    stopping.get(timeout=DEADLINE)
    with pytest.raises(ConnectionRefusedError):
        running.connect()


def test_stop_aborts_what_does_not_end_in_time(run: Any) -> None:
    working = Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        working.set()
        Event().wait()
        return []

    running = run(application)
    client = running.connect()
    client.sendall(UPGRADE)
    assert working.wait(DEADLINE)
    running.server.stop(0.1)
    assert not running.server._connections
    read_all(client)


def test_a_second_stop_waits_for_the_first_and_a_server_may_start_again(run: Any) -> None:
    running = run(show)
    running.connect()
    gevent.idle()
    gevent.joinall([gevent.spawn(running.server.stop, DEADLINE) for _ in range(2)], raise_error=True)
    running.server.start()
    assert b"200 OK" in running.ask(b"GET / HTTP/1.0\r\n\r\n")


SCRIPT = """
import sys
import gevent
from geventws.server import WebSocketServer

def application(environ, start_response):
    upgrade = environ.pop("geventws.upgrade")
    start_response("101 Switching Protocols", [])(b"")
    sock, early = upgrade.take()
    told = gevent.event.Event()
    upgrade.on_drain(lambda code: told.set())
    told.wait()
    sock._sock.send(b"bye")
    return []

server = WebSocketServer(("127.0.0.1", 0), application, log=None)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
print("drained", flush=True)
"""


def test_sigterm_drains_and_serve_forever_returns() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        client = socket.create_connection(("127.0.0.1", int(process.stdout.readline())), timeout=DEADLINE)
        client.sendall(UPGRADE)
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += client.recv(1000)
        os.kill(process.pid, signal.SIGTERM)
        assert read_all(client) == b"bye"
        client.close()
        assert process.communicate(timeout=DEADLINE) == ("drained\n", "")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
