"""WebSocketServer over real sockets: deadlines, limits, errors, the seam for WebSockets, the drain, TLS."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import pywsgi, socket
from gevent.event import Event
from kit.sites.http import (  # noqa: F401
    DEADLINE,
    UPGRADE,
    Running,
    deadline,
    parser,
    read_all,
    read_response,
    requested,
    run,
    show,
)

from geventws.server.server import WebSocketServer

# Deadlines and limits


def test_a_slow_head_is_answered_with_408(run: Any) -> None:
    running = run(show, head_timeout=0.2)
    client = running.connect()
    client.sendall(b"GET / HTTP/1.1\r\nX-")
    assert read_all(client) == b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-length: 0\r\n\r\n"
    assert '"GET / HTTP/1.1" 408 ' in running.access[0]


def test_the_deadline_is_for_the_whole_head(run: Any) -> None:
    running = run(show, head_timeout=0.3)
    client = running.connect()

    def dribble() -> None:
        try:
            while True:
                client.sendall(b"X: a\r\n")
                gevent.sleep(0.02)
        except OSError:
            pass

    client.sendall(b"GET / HTTP/1.1\r\n")
    dribbler = gevent.spawn(dribble)
    assert read_all(client).startswith(b"HTTP/1.1 408 ")
    client.close()
    dribbler.join()


def test_a_silent_client_is_dropped(run: Any) -> None:
    running = run(show, head_timeout=0.1)
    assert read_all(running.connect()) == b""
    assert running.access == []


def test_an_idle_connection_is_dropped_at_its_own_time(run: Any) -> None:
    running = run(show, head_timeout=5, keepalive_timeout=0.1)
    client = running.connect()
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert read_response(client)
    assert read_all(client) == b""
    assert len(running.access) == 1


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\n" + 40 * (b"X-A: " + 100 * b"a" + b"\r\n"), b"GET / HTTP/1.1\r\nA: "]
)
def test_a_fat_head_is_answered_with_431(run: Any, head: bytes) -> None:
    running = run(show, max_head_size=2000)
    assert running.ask(head + 20000 * b"a").startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert '"GET / HTTP/1.1" 431 ' in running.access[0]


@pytest.mark.parametrize("head", [b"\x16\x03\x01\x02\x00\x01", b"\x00", b"\xff\xfe", b" ", b"\r\n\x16\x03"])
def test_what_begins_no_request_is_refused_at_once(run: Any, head: bytes) -> None:
    """The hello of TLS to a port without it has no line end for which to wait (head_timeout is 30 s)."""
    running = run(show)
    client = running.connect()
    client.sendall(head)
    assert read_all(client).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_an_endless_line_is_answered_with_414(run: Any) -> None:
    running = run(show)
    client = running.connect()
    client.sendall(b"GET /" + 1_000_000 * b"a")
    assert read_all(client).startswith(b"HTTP/1.1 414 ")


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
    monkeypatch.setattr("geventws.server.server.SURPLUS", 1)
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


# Errors


def test_an_error_of_the_application_is_a_500(run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    running = run(lambda environ, start_response: 1 / 0)
    assert running.ask(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 500 ")
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_peer_that_leaves_makes_no_noise(run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """In its body, in an answer, and with a reset."""
    served = Event()

    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        try:
            environ["wsgi.input"].read()
            start_response("200 OK", [])
            for _ in range(100):
                yield bytes(1 << 20)
        finally:
            served.set()

    running = run(application)
    for request in (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", b"GET / HTTP/1.1\r\n\r\n"):
        for linger in (b"", b"\1\0\0\0\0\0\0\0"):
            client = running.connect()
            client.sendall(request)
            if linger:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            gevent.idle()
            client.close()
            assert served.wait(DEADLINE)
            served.clear()
    running.server.stop(1)
    assert capfd.readouterr().err == ""
    assert running.errors == []


# The seam


def switch(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer 101, send back what came behind the head and then one more piece."""
    upgrade = environ.pop("geventws.upgrade")
    start_response("101 Switching Protocols", [("Upgrade", "websocket"), ("Connection", "Upgrade")])(b"")
    sock, early = upgrade.take()
    sock._sock.send(b"<" + early + b">")
    socket.wait_read(sock.fileno(), timeout=DEADLINE)
    sock._sock.send(sock._sock.recv(100))
    assert environ["wsgi.input"].read() == b""
    return []


def test_an_upgrade_hands_out_the_connection(run: Any, parser: None) -> None:
    running = run(switch)
    client = running.connect()
    client.sendall(UPGRADE + b"early")
    expected = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n<early>"
    received = b""
    while len(received) < len(expected):
        received += client.recv(100)
    assert received == expected
    client.sendall(b"late")
    assert read_all(client) == b"late"
    assert requested(running.access[0]) == ["GET /ws?a=b HTTP/1.1", "101", str(len(expected) - 7)]


def test_other_libraries_find_the_socket_in_the_input(run: Any, parser: None) -> None:
    """As on pywsgi: `raw._sock` is the gevent socket, and the early bytes are in the reader."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        reader = environ["wsgi.input"]
        start_response("101 Switching Protocols", [("Upgrade", "websocket")])(b"")
        sock = reader.raw._sock
        assert isinstance(sock, socket.socket)
        sock.sendall(reader.read(5))
        sock.sendall(sock.recv(4))
        return []

    running = run(application)
    client = running.connect()
    client.sendall(UPGRADE + b"early")
    received = b""
    while not received.endswith(b"early"):
        received += client.recv(100)
    client.sendall(b"late")
    assert read_all(client) == b"late"


def test_a_101_cannot_be_split(run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("101 Switching Protocols", [("A", "b\r\nC: d")])(b"")
        return []

    assert run(application).ask(UPGRADE).startswith(b"HTTP/1.1 500 ")
    capfd.readouterr()


def test_sockets_do_not_wait_for_company(run: Any) -> None:
    seen = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        sock, _early = environ.pop("geventws.upgrade").take()
        seen.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return []

    run(application).ask(UPGRADE)
    assert seen[0]


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


def test_stop_tells_who_has_taken_a_connection(run: Any) -> None:
    taken, told = Event(), Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        upgrade = environ.pop("geventws.upgrade")
        start_response("101 Switching Protocols", [])(b"")
        sock, _early = upgrade.take()
        upgrade.on_drain(lambda code: told.set())
        taken.set()
        assert told.wait(DEADLINE)
        sock._sock.send(b"bye")
        return []

    running = run(application)
    client = running.connect()
    client.sendall(UPGRADE)
    assert taken.wait(DEADLINE)
    running.server.stop(DEADLINE)
    assert read_all(client).endswith(b"\r\n\r\nbye")


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
