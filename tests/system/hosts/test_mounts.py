"""WebSockets mounted in other people's programs: the 101 leaves once, first, and stands in the access log."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import gevent
import pytest
from gevent import pywsgi
from kit import frames
from kit.apps.mounts import ENDPOINTS, MOUNTS, application
from kit.clients import RawClient
from kit.programs.hosts import Host

from geventws import WebSocketServer

GUNICORN = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--access-logfile", "-"]
GUNICORN += ["--graceful-timeout", "1", "kit.apps.mounts:application", "-k"]
SERVERS = [(server, use_tls) for server in (pywsgi.WSGIServer, WebSocketServer) for use_tls in (False, True)]
WORKERS = [
    (worker, use_tls)
    for worker in ("gevent", "gevent_pywsgi", "geventws.gunicorn.Worker")
    for use_tls in (False, True)
]
numbers = itertools.count()


def name(host) -> str:
    return f"{getattr(host[0], '__name__', host[0])}{' tls' * host[1]}"


def converse(client: RawClient, path: str) -> None:
    """Shake hands, with a message in the same segment; the stream holds the 101, frames, and nothing else."""
    answer = client.open(frames.text("early") + frames.binary(b"bird"), path)
    assert [key for key, _ in answer.headers].count("Upgrade") == 1
    client.expect(b"\x81\x05early\x82\x04bird" if "callbacks" not in path else b"\x81\x05early")
    client.send(frames.text("late"))
    client.expect(b"\x81\x04late")
    client.leave(4000, "done")


@pytest.mark.parametrize("server", SERVERS, ids=name)
@pytest.mark.parametrize("way", MOUNTS)
def test_a_mount(serve, secure, log, way, server):
    site = serve(application, server_class=server[0], **(secure if server[1] else {}))
    for endpoint in ENDPOINTS:
        converse(site.dial(), f"/{way}/{endpoint}")
    lines = site.access.wait(len(ENDPOINTS))
    site.settle()
    assert sorted(line.split('"')[1] for line in lines) == sorted(f"GET /{way}/{name} HTTP/1.1" for name in ENDPOINTS)
    assert [line.split('"')[2].split()[0] for line in site.access] == ["101"] * len(ENDPOINTS)
    assert log() == [] and site.errors == []


@pytest.fixture(scope="module")
def gunicorns(certificate, tls) -> Iterator[dict[tuple[str, bool], Host]]:
    """Each kind of worker, started at once."""
    keys = certificate["certfile"], certificate["keyfile"]
    started = {(kind, use_tls): Host([*GUNICORN, kind], *((keys, tls) if use_tls else ())) for kind, use_tls in WORKERS}
    yield started
    for host in started.values():
        host.terminate()
    assert [host.wait() for host in started.values()] == [0] * len(started)


@pytest.mark.parametrize("worker", WORKERS, ids=name)
@pytest.mark.parametrize("way", MOUNTS)
def test_a_mount_on_gunicorn(gunicorns, way, worker):
    host = gunicorns[worker].listening()
    before = len(host.lines)
    with gevent.Timeout(30):
        for endpoint in ENDPOINTS:
            path = f"/{way}/{endpoint}/{next(numbers)}"
            with RawClient(host.port, host.tls) as client:
                converse(client, path)
            host.wait_for(f'"GET {path} HTTP')
            assert host.statuses(path) == ["101"]
    assert not [line for line in host.lines[before:] if "Traceback" in line or "rror" in line or "WARN" in line]
