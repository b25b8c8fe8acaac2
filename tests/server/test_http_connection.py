"""One connection of `WebSocketServer`: its errors, and the seam for WebSockets."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from kit.sites.http import DEADLINE, UPGRADE, deadline, parser, read_all, requested, run  # noqa: F401


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
