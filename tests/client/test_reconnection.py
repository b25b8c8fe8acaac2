"""client.py: one connection after the other, and five thousand at once."""

from __future__ import annotations

import itertools
import os
import ssl
import sys
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import subprocess as gsubprocess
from gevent.pool import Pool
from kit.frames import CLOSE, TEXT, frame
from kit.servers.scripted import ROOT, Peer, echo, is_open

from geventws import InvalidStatus, InvalidURI, ProxyError
from geventws.client import reconnection as client
from geventws.client.opening import connect
from geventws.client.reconnection import reconnect
from geventws.websocket import get_connection

# ---- reconnecting


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays between attempts, which take no time here."""
    delays: list[float] = []
    monkeypatch.setattr(client, "_sleep", lambda _name, _why, delay: delays.append(delay))
    return delays


def statuses(*answers: str | None) -> Callable[[Peer], None]:
    """Return a script that gives these answers in turn; None is a 101."""
    turn = itertools.count()

    def script(peer: Peer) -> None:
        answer = answers[next(turn)]
        if answer is None:
            peer.accept(frame(TEXT, "here", key=None) + frame(CLOSE, b"", key=None))
            peer.rest()
        else:
            peer.socket.sendall(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())

    return script


def test_reconnect_waits_out_what_passes(scripted: Any, slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    server = scripted(statuses("503 x\r\nRetry-After: 7", None, "429 x", "500 x", None, None))
    received = []
    for ws in reconnect(server.uri, initial_delay=1, max_delay=4, ping_interval=None):
        received.extend(ws)
        assert ws.close_code == 1005
        if len(received) == 3:
            break
    assert ws.closed and not is_open(get_connection(ws).fd)
    assert received == ["here"] * 3
    assert slept == [8, 2, 4, 4, 4]  # no connection lived long enough to begin anew


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599, 600, 999])
def test_reconnect_comes_back_for_what_passes(scripted: Any, slept: list[float], status: int) -> None:
    server = scripted(statuses(f"{status} x\r\nRetry-After: 7", None))
    ws = next(reconnect(server.uri, initial_delay=0, ping_interval=None))
    ws.close()
    assert slept == [7.0]


def test_reconnect_comes_back_to_a_proxy_that_is_busy(scripted: Any, slept: list[float]) -> None:
    proxy = scripted(statuses("503 x\r\nRetry-After: 7", "407 x"))
    with pytest.raises(ProxyError, match="407"):
        next(reconnect("ws://a.example/", proxy=proxy.address, initial_delay=0))
    assert slept == [7.0] and len(proxy.peers) == 2


def test_reconnect_begins_anew_after_a_success(
    scripted: Any, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    server = scripted(statuses("500 x", "500 x", None, None, None))
    connections = reconnect(server.uri, initial_delay=1, reset_after=0, ping_interval=None)
    for _ in zip(range(3), connections, strict=False):
        pass
    connections.close()
    assert slept == [1, 2, 1, 1]


def test_reconnect_closes_what_it_gave(serve: Any, slept: list[float]) -> None:
    site = serve(echo)
    given = []
    for ws in reconnect(f"ws://127.0.0.1:{site.port}/"):
        given.append(ws)
        if len(given) == 3:
            break
    assert all(ws.closed and ws.close_code == 1000 for ws in given)


@pytest.mark.parametrize("answer", ["400 x", "401 x", "403 x", "404 x", "407 x", "421 x", "426 x", "200 x", "302 x"])
def test_reconnect_raises_what_does_not_pass(scripted: Any, slept: list[float], answer: str) -> None:
    with pytest.raises(InvalidStatus):
        next(reconnect(scripted(statuses(answer)).uri))
    assert slept == []


def test_reconnect_raises_what_cannot_be(
    serve: Any, certificate: Any, slept: list[float], hub_errors: list[Any]
) -> None:
    site = serve(echo, certfile=certificate["certfile"], keyfile=certificate["keyfile"])
    with pytest.raises(ssl.SSLCertVerificationError):
        next(reconnect(f"wss://127.0.0.1:{site.port}/"))
    with pytest.raises(InvalidURI):
        next(reconnect("http://127.0.0.1/"))
    with pytest.raises(ValueError):
        next(reconnect("ws://127.0.0.1/", initial_delay=2, max_delay=1))
    assert slept == []
    site.settle()
    hub_errors.clear()


def test_reconnect_gives_up(slept: list[float]) -> None:
    with pytest.raises(ConnectionRefusedError):
        next(reconnect("ws://127.0.0.1:1/", max_attempts=3))
    assert len(slept) == 2


def test_reconnect_says_what_it_waits_for(log: Any) -> None:
    with pytest.raises(ConnectionRefusedError):
        next(reconnect("ws://127.0.0.1:1/", max_attempts=2, initial_delay=0))
    assert [record.getMessage() for record in log()] == [
        "reconnect: [Errno 111] Connection refused; the next attempt follows in 0.0 s"
    ]


# ---- many

MANY = 5000
SERVER = """if True:
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    from geventws import WebSocketWSGI
    from geventws.server import WebSocketServer
    @WebSocketWSGI(ping_interval=None)
    def echo(ws):
        for message in ws: ws.send(message)
    server = WebSocketServer(("127.0.0.1", 0), echo, log=None)
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()
"""


def test_five_thousand_connections() -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY + 200
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"this test needs {wanted} descriptors (ulimit -Hn)"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    server = gsubprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=gsubprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        with gevent.Timeout(90):
            uri = f"ws://127.0.0.1:{int(server.stdout.readline())}/"
            check_many(uri)
    finally:
        server.kill()
        server.communicate()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def check_many(uri: str) -> None:
    """Open them all, have each one answered while all are open, and close them."""
    pool = Pool(200)
    sockets = pool.map(lambda _: connect(uri, open_timeout=60, ping_interval=None), range(MANY))
    assert len({get_connection(ws).fd for ws in sockets}) == MANY
    for number, ws in enumerate(sockets):
        ws.send(str(number))
    assert [ws.wait(timeout=60) for ws in sockets] == [str(number) for number in range(MANY)]
    pool.map(lambda ws: ws.close(), sockets)
    assert not any(is_open(get_connection(ws).fd) for ws in sockets)
