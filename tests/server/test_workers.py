"""Greenlets that serve one connection after the other: only where nobody can tell."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import contextvars
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import gevent.local
from kit.http_site import deadline, run  # noqa: F401


def test_a_greenlet_serves_again_only_without_traces(run: Any) -> None:
    """What a connection leaves with its greenlet reaches no other connection."""
    local = gevent.local.local()
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    kept: list[Any] = []
    traces: dict[str, Callable[[], object]] = {
        "/local": lambda: setattr(local, "user", "me"),
        "/context": lambda: variable.set("me"),
        "/timeout": lambda: kept.append(gevent.Timeout.start_new(60)),
        "/reference": lambda: kept.append(gevent.getcurrent()),
        "/weak": lambda: kept.append(weakref.ref(gevent.getcurrent())),
        "/link": lambda: gevent.getcurrent().link(kept.append),
        "/attribute": lambda: setattr(gevent.getcurrent(), "user", "me"),
    }

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        traces.get(environ["PATH_INFO"], int)()
        start_response("200 OK", [])
        return [b"%d" % id(gevent.getcurrent())]

    running = run(application)

    def ask(path: str) -> bytes:
        """Return which greenlet has served."""
        identity = running.ask(f"GET {path} HTTP/1.0\r\n\r\n".encode()).partition(b"\r\n\r\n")[2]
        gevent.idle()
        return identity

    for path in traces:
        greenlet = ask("/")
        assert ask("/") == ask(path) == greenlet
        assert ask("/") != greenlet, path
    kept[0].close()


def test_no_more_wait_than_are_worth_it(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("geventws.server.workers.MAX_IDLE", 2)

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
    assert len(running.server._workers._idle) <= 2
    running.server.stop()
    assert running.server._workers is None
