"""gunicorn's workers end: each WebSocket is closed with 1012 at a pace, and new ones reach the workers that follow."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit import frames
from kit.clients import RawClient, handshake
from kit.programs.hosts import Host

GUNICORN = [sys.executable, "-m", "gunicorn", "-k", "geventws.gunicorn.Worker", "--bind", "127.0.0.1:0"]
GUNICORN += ["--worker-connections", "5000", "kit.apps.worker"]
PATHS = ["/echo", "/callbacks", "/view"]
RESTART = frames.Frame(frames.CLOSE, b"\x03\xf4")
CROWD = 2000


@pytest.fixture
def start() -> Iterator[Callable[..., Host]]:
    """Start gunicorn with settings of the test's own."""
    started: list[Host] = []

    def start(*settings: str, **options: Any) -> Host:
        started.append(Host([*GUNICORN, *settings], **options).listening())
        return started[-1]

    with gevent.Timeout(50):
        yield start
    for host in started:
        host.terminate()
        host.wait()


def join(host: Host, count: int) -> list[RawClient]:
    """Return clients of all kinds of WebSockets, each used once."""
    clients = [RawClient(host.port, host.tls) for _ in range(count)]
    for number, client in enumerate(clients):
        client.send(handshake(PATHS[number % len(PATHS)]) + frames.text("there"))
    for client in clients:
        assert client.read_head().status == "HTTP/1.1 101 Switching Protocols"
        assert client.read_message() == "there"
    return clients


def see_off(client: RawClient) -> int:
    """Answer messages and the close frame, which ends the connection; return the number of messages before it."""
    count = 0
    while (frame := client.read_frame()).opcode == frames.TEXT:
        client.send(frames.text("more"))
        count += 1
    assert frame == RESTART
    client.send(frames.close(1012))
    assert client.rest() == b""
    client.close()
    return count


def see_all_off(clients: list[RawClient]) -> int:
    """Do so for many at once; return the number of all messages."""
    partings = [gevent.spawn(see_off, client) for client in clients]
    gevent.joinall(partings, raise_error=True)
    return sum(parting.value for parting in partings)


def read_tally(host: Host, workers: int = 1) -> tuple[int, int]:
    """Return how many WebSockets its workers have told, and how many connections they have aborted."""
    pattern = r"Worker drained .*: told (\d+) WebSockets, aborted (\d+) connections"
    while len(found := [match for line in host.lines if (match := re.search(pattern, line))]) < workers:
        host.wait_for("Shutting down|Worker exiting", 15)
        gevent.sleep(0.05)
    return sum(int(match[1]) for match in found), sum(int(match[2]) for match in found)


@pytest.mark.parametrize("end", ["SIGTERM", "SIGHUP", "--max-requests=9"])
def test_a_few_are_told_at_once(start: Any, end: str) -> None:
    host = start(*([end] if end.startswith("-") else []))
    clients = join(host, 9)
    if end.startswith("SIG"):
        os.kill(host.pid, signal.Signals[end])
    see_all_off(clients)
    host.wait_for("Worker exiting")
    assert read_tally(host) == (9, 0)


@pytest.mark.timeout(60)
def test_a_crowd_is_told_at_a_pace_while_messages_flow(start: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * CROWD + 1000)), hard))
    host = start("--graceful-timeout", "6")
    clients = join(host, CROWD)
    for client in clients[::20]:
        client.send(frames.text("more"))
    os.kill(host.pid, signal.SIGTERM)
    assert see_all_off(clients) > CROWD / 20
    assert host.wait() == 0
    assert read_tally(host) == (CROWD, 0)


def test_over_tls(start: Any, certificate: dict[str, str], tls: Any) -> None:
    host = start(tls=(certificate["certfile"], certificate["keyfile"]), client=tls)
    clients = join(host, 30)
    os.kill(host.pid, signal.SIGTERM)
    see_all_off(clients)
    assert host.wait() == 0
    assert read_tally(host) == (30, 0)


def test_who_does_not_answer_is_aborted(start: Any) -> None:
    host = start("--graceful-timeout", "2")
    clients = join(host, 30)
    os.kill(host.pid, signal.SIGTERM)
    for client in clients:
        assert client.read_frame() == RESTART
    assert host.wait() == 0
    assert read_tally(host) == (30, 30)
    for client in clients:
        client.close()


def test_an_impatient_end_tells_everybody_all_the_same(start: Any) -> None:
    host = start("--workers", "1")
    clients = join(host, 300)
    os.kill(host.pid, signal.SIGINT)
    for client in clients:
        assert client.read_frame() == RESTART
        client.close()
    assert host.wait() == 0


def test_a_worker_that_is_told_to_end_while_it_begins_does_so(start: Any) -> None:
    host = start("-k", "kit.apps.worker.Hasty")
    host.wait_for("Worker exiting", 15)


def test_new_handshakes_reach_the_new_workers(start: Any) -> None:
    """All along a reload, clients connect, and none is turned away; those that were there are told."""
    host = start("--workers", "2", "--graceful-timeout", "10")
    clients = join(host, 300)
    old = find_workers(host)
    done = Event()
    served: Counter[str] = Counter()

    def connect() -> None:
        while not done.is_set():
            with RawClient(host.port) as client:
                client.open(frames.text("there"), PATHS[served.total() % 3])
                assert client.read_frame() in (frames.Frame(frames.TEXT, b"there"), RESTART)
            with RawClient(host.port) as client:
                client.send(b"GET /process HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert client.read_head().status == "HTTP/1.1 200 OK"
                served[client.rest().decode()] += 1

    connecting = [gevent.spawn(connect) for _ in range(4)]
    while not served.keys() & old:
        gevent.sleep(0.01)
    os.kill(host.pid, signal.SIGHUP)
    see_all_off(clients)
    while not served.keys() - old:
        gevent.sleep(0.01)
    done.set()
    gevent.joinall(connecting, raise_error=True)
    new = find_workers(host) - old
    assert len(new) == 2 and served.keys() - old <= new


def find_workers(host: Host) -> set[str]:
    """Return the workers that were started, by their process."""
    return {found[1] for line in host.lines if (found := re.search(r"Booting worker with pid: (\d+)", line))}
