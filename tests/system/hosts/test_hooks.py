"""Hooks that read a handshake's body: it has none, and nobody waits for it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import gevent
import pytest
from gevent import pywsgi
from kit import frames
from kit.apps import hooks
from kit.clients import RawClient, handshake
from kit.programs.hosts import Host

from geventws import WebSocketServer

GUNICORN = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--access-logfile", "-"]
GUNICORN += ["--graceful-timeout", "1", "kit.apps.hooks:application", "-k"]
WORKERS = ["gevent", "gevent_pywsgi", "geventws.gunicorn.Worker"]
SITES = ["flask", *hooks.SITES]
in_all = pytest.mark.parametrize("site", [*SITES, "decorated"])
on_both = pytest.mark.parametrize("server_class", [pywsgi.WSGIServer, WebSocketServer])


@pytest.fixture(autouse=True)
def read() -> list[bytes]:
    """What the hooks read in this test."""
    hooks.READ.clear()
    return hooks.READ


def converse(client: RawClient, path: str) -> None:
    client.open(frames.text("early"), path)
    client.expect(b"\x81\x05early")
    client.send(frames.text("late"))
    client.expect(b"\x81\x04late")
    client.leave(4000, "done")


@in_all
@on_both
@pytest.mark.parametrize("use_tls", [False, True], ids=["tcp", "tls"])
def test_behind_the_middleware(serve, secure, log, read, server_class, use_tls, site):
    served = serve(hooks.application, server_class=server_class, **(secure if use_tls else {}))
    converse(served.dial(), f"/{site}")
    (line,) = served.access.wait()
    served.settle()
    assert " 101 " in line and set(read) == {b""}
    assert log() == [] and served.errors == []


def test_without_the_middleware_on_our_server(serve, log, read):
    served = serve(hooks.FLASK, server_class=WebSocketServer)
    converse(served.dial(), "/decorated")
    assert read == [b""] and log() == []


def test_without_the_middleware_behind_a_function_that_empties_the_input(serve, log, read):
    """What the documents say of plain pywsgi."""

    def application(environ, start_response):
        if "HTTP_UPGRADE" in environ:
            environ["wsgi.input"] = io.BytesIO()
        return hooks.FLASK(environ, start_response)

    converse(serve(application).dial(), "/decorated")
    assert read == [b""] and log() == []


@on_both
def test_a_hook_that_reads_after_a_view_has_failed(serve, server_class, read):
    site = serve(hooks.application, server_class=server_class)
    client = site.connect("/fails/late")
    client.expect(b"\x81\x06before")
    client.expect_close(1011)
    assert read == [b"", b""]
    client = site.dial()
    client.send(handshake("/fails/early"))
    assert client.read_head().status == "HTTP/1.1 500 INTERNAL SERVER ERROR"
    assert client.rest() == b"failed"
    assert read == [b""] * 4


@pytest.fixture(scope="module")
def gunicorns() -> Iterator[dict[str, Host]]:
    """Each kind of worker, started at once."""
    started = {kind: Host([*GUNICORN, kind]) for kind in WORKERS}
    yield started
    for host in started.values():
        host.terminate()
    assert [host.wait() for host in started.values()] == [0] * len(started)


@in_all
@pytest.mark.parametrize("worker", WORKERS)
def test_on_gunicorn(gunicorns, worker, site):
    host = gunicorns[worker].listening()
    before = len(host.lines)
    with gevent.Timeout(30), RawClient(host.port) as client:
        converse(client, f"/{site}")
        host.wait_for(f'"GET /{site} HTTP/1.1" 101 ')
    assert not [line for line in host.lines[before:] if "Traceback" in line or "rror" in line or "WARN" in line]
