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
QUIET = ["/echo", "/callbacks", "/view"]
PATHS = [*QUIET, "/room"]
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


def join(host: Host, count: int, paths: list[str] = PATHS) -> tuple[list[RawClient], int]:
    """Return clients of all kinds of WebSockets, each used once, and how much news they have got."""
    clients = [RawClient(host.port, host.tls) for _ in range(count)]
    for number, client in enumerate(clients):
        client.send(handshake(paths[number % len(paths)]) + frames.text("there"))
    news = 0
    for client in clients:
        assert client.read_head().status == "HTTP/1.1 101 Switching Protocols"
        while client.read_message() != "there":
            news += 1
    return clients, news


def see_off(client: RawClient) -> Counter[str]:
    """Answer messages and the close frame, which ends the connection; return how many of each kind came before it.

    A word is said as often as it was answered, and no news is missing.
    """
    count: Counter[str] = Counter()
    last = None
    while (frame := client.read_frame()).opcode == frames.TEXT:
        word, number = frame.payload.decode().split()
        count[word] += 1
        if word == "news":
            assert last is None or int(number) == last + 1
            last = int(number)
        else:
            assert int(number) == count["word"]
            client.send(frames.text(f"word {count['word'] + 1}"))
    assert frame == RESTART
    client.send(frames.close(1012))
    assert client.rest() == b""
    client.close()
    return count


def see_all_off(clients: list[RawClient]) -> Counter[str]:
    """Do so for many at once; return the sum."""
    partings = [gevent.spawn(see_off, client) for client in clients]
    gevent.joinall(partings, raise_error=True)
    return sum((parting.value for parting in partings), Counter())


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
    clients, _ = join(host, 9)
    if end.startswith("SIG"):
        os.kill(host.pid, signal.Signals[end])
    see_all_off(clients)
    host.wait_for("Worker exiting")
    assert read_tally(host) == (9, 0)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("end", "paths"), [("SIGTERM", PATHS), ("SIGHUP", ["/room"])])
def test_a_crowd_is_told_at_a_pace_while_messages_flow(start: Any, end: str, paths: list[str]) -> None:
    """Whatever was published arrives before the close frame."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * CROWD + 1000)), hard))
    host = start("--graceful-timeout", "6", "-k", "kit.apps.worker.Telling")
    clients, news = join(host, CROWD, paths)
    for client in clients[::20]:
        client.send(frames.text("word 1"))
    os.kill(host.pid, signal.Signals[end])
    seen = see_all_off(clients)
    assert seen["word"] > CROWD / 20 and seen["news"] > CROWD / 4
    assert read_tally(host) == (CROWD, 0)
    published = news + seen["news"]
    host.wait_for(rf"^ROOM {published} {published} 0 0 0$")


def test_who_comes_back_reaches_another_worker(start: Any) -> None:
    """Two workers end over and over, at max_requests. Nobody is turned away, or cut off without a word."""
    host = start("--workers", "2", "--max-requests", "30")
    told: list[int] = []

    def come_back() -> None:
        while True:
            with RawClient(host.port) as client:
                client.open(frames.text("word 1"), PATHS[len(told) % len(PATHS)])
                told.append(see_off(client).total())

    guests = [gevent.spawn(come_back) for _ in range(60)]  # more than two workers take
    while len(told) < 200:
        gevent.joinall(guests, timeout=0.1, count=1, raise_error=True)
    gevent.killall(guests)
    count, aborted = read_tally(host, 5)
    assert count >= 5 * 30 and not aborted and len(find_workers(host)) > 5


def test_over_tls(start: Any, certificate: dict[str, str], tls: Any) -> None:
    host = start(tls=(certificate["certfile"], certificate["keyfile"]), client=tls)
    clients, _ = join(host, 30)
    os.kill(host.pid, signal.SIGTERM)
    see_all_off(clients)
    assert host.wait() == 0
    assert read_tally(host) == (30, 0)


def test_who_does_not_answer_is_aborted(start: Any) -> None:
    host = start("--graceful-timeout", "2")
    clients, _ = join(host, 30, QUIET)
    os.kill(host.pid, signal.SIGTERM)
    for client in clients:
        assert client.read_frame() == RESTART
    assert host.wait() == 0
    assert read_tally(host) == (30, 30)
    for client in clients:
        client.close()


def test_an_impatient_end_tells_everybody_all_the_same(start: Any) -> None:
    host = start("--workers", "1")
    clients, _ = join(host, 300, QUIET)
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
    clients, _ = join(host, 300)
    old = find_workers(host)
    done = Event()
    served: Counter[str] = Counter()

    def connect() -> None:
        while not done.is_set():
            with RawClient(host.port) as client:
                client.open(frames.text("there"), QUIET[served.total() % 3])
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
