"""Greenlets that serve one connection after the other: only where nobody can tell."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import contextvars
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.local
import pytest
from gevent.pywsgi import WSGIServer
from kit.sites.http import deadline, run  # noqa: F401

import geventws
from geventws import WebSocketServer, WebSocketWSGI

LOCAL = gevent.local.local()
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
KEPT: list[Any] = []
TRACES: dict[str, Callable[[], object]] = {
    "local": lambda: setattr(LOCAL, "user", "me"),
    "context": lambda: VARIABLE.set("me"),
    "timeout": lambda: KEPT.append(gevent.Timeout.start_new(60)),
    "reference": lambda: KEPT.append(gevent.getcurrent()),
    "weak": lambda: KEPT.append(weakref.ref(gevent.getcurrent())),
    "link": lambda: gevent.getcurrent().link(KEPT.append),
    "attribute": lambda: setattr(gevent.getcurrent(), "user", "me"),
}


@pytest.fixture
def kept() -> Iterator[list[Any]]:
    """What a test keeps, and what closes it."""
    yield KEPT
    for thing in KEPT:
        if isinstance(thing, gevent.Timeout):
            thing.close()
    KEPT.clear()


def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    TRACES.get(environ["PATH_INFO"][1:], int)()
    start_response("204 No Content", [])
    return []


@WebSocketWSGI
def leave_trace(ws: Any) -> None:
    TRACES.get(ws.path[1:], int)()


def ask(running: Any, path: str) -> None:
    running.ask(f"GET /{path} HTTP/1.0\r\n\r\n".encode())


def join(running: Any, path: str) -> None:
    with geventws.connect(f"ws://127.0.0.1:{running.server.server_port}/{path}") as ws:
        assert ws.wait() is None


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize(("application", "visit"), [(answer, ask), (leave_trace, join)], ids=["HTTP", "WebSocket"])
def test_a_greenlet_with_a_trace_ends_with_its_connection(
    run: Any, kept: list[Any], trace: str, application: Any, visit: Any
) -> None:
    """What a connection leaves with its greenlet reaches no other connection."""
    running = run(application)
    idle = running.server._greenlets._idle
    for path, waiting in [("", 1), (trace, 0), ("", 1), ("", 1)]:
        visit(running, path)
        gevent.idle()
        assert len(idle) == waiting, path


def test_a_greenlet_that_is_killed_when_it_has_served_is_not_kept(run: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/kill":
            gevent.getcurrent().kill(block=False)
        return answer(environ, start_response)

    running = run(application)
    for path, waiting in [("", 1), ("kill", 0), ("", 1)]:
        ask(running, path)
        gevent.idle()
        assert len(running.server._greenlets._idle) == waiting


@pytest.mark.parametrize("server_class", [WebSocketServer, WSGIServer])
def test_the_end_of_a_connection_is_that_of_its_greenlet(run: Any, server_class: Any) -> None:
    """Links are called, who waits goes on, a kill returns, and locals are let go of: all as on pywsgi."""
    local = gevent.local.local()
    started: list[Any] = []
    linked: list[Any] = []
    freed: list[str] = []

    class Session:
        def __del__(self) -> None:
            freed.append("session")

    @WebSocketWSGI
    def handler(ws: Any) -> None:
        local.session = Session()
        started.append(gevent.getcurrent())
        started[-1].link(linked.append)
        ws.send("ready")
        ws.wait()

    running = run(handler, server_class)
    url = f"ws://127.0.0.1:{running.server.server_port}/"
    with geventws.connect(url) as ws:
        assert ws.wait() == "ready"
    with gevent.Timeout(5):
        started[0].join()
        gevent.killall(started)
        gevent.idle()
    assert linked == started and freed == ["session"]
    with geventws.connect(url) as ws, gevent.Timeout(5):
        assert ws.wait() == "ready"
        killing = gevent.spawn(started[1].kill)
        assert ws.wait() is None
        killing.get()
    assert linked == started and started[1].dead


def test_no_more_wait_than_are_worth_it(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("geventws.engine.loop.greenlets.HandlerGreenlets.max_idle", 2)

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    running = run(application)
    clients = [running.connect() for _ in range(5)]
    gevent.idle()
    for client in clients:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    for client in clients:
        assert client.recv(100)
        client.close()
    gevent.idle()
    assert len(running.server._greenlets._idle) <= 2
    running.server.stop()
    assert running.server._greenlets is None
