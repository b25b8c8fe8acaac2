"""The worker class of geventws.compat.geventwebsocket in a real gunicorn, by both of its names."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import gevent
import pytest
from kit import frames
from kit.clients import RawClient
from kit.programs.hosts import Host

PACKAGE = "geventws.compat.geventwebsocket"
WORKERS = [f"{PACKAGE}.GeventWebSocketWorker", f"{PACKAGE}.gunicorn.workers.GeventWebSocketWorker"]
COMMAND = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--access-logfile", "-"]
COMMAND += ["--graceful-timeout", "1", "kit.apps.geventwebsocket:application", "-k"]


@pytest.fixture(params=WORKERS)
def host(request) -> Iterator[Host]:
    """A gunicorn with that worker; everything has to be done within a few seconds."""
    host = Host([*COMMAND, request.param])
    try:
        with gevent.Timeout(20):
            yield host.listening()
    finally:
        host.terminate()
        assert host.wait() == 0
    assert "Traceback" not in "\n".join(host.lines)


def test_worker(host):
    with RawClient(host.port) as first, RawClient(host.port) as second, RawClient(host.port) as page:
        first.open(frames.text("early"), "/ws")
        first.expect(b"\x81\x05early")
        second.open(path="/ws", origin="https://elsewhere.example")
        second.send(frames.binary(b"to all"))
        for client in (first, second):
            client.expect(b"\x82\x06to all")
        page.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert page.read_head().status == "HTTP/1.1 200 OK" and page.rest() == b"page"
        first.leave(4001, "bye")
        second.leave()
    host.wait_for(r'"GET /ws HTTP/1.1" 101 ')
    host.wait_for(r'"GET / HTTP/1.1" 200 ')
