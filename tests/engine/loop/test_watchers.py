"""The set of watched sockets with the face of an epoll set: each test runs on both."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import gevent
import pytest

from geventws.engine.loop import watchers
from geventws.engine.loop.watchers import EPOLLIN, EPOLLOUT, EpollSet, WatcherSet

KINDS = [WatcherSet, EpollSet] if watchers._epoll else [WatcherSet]


class Watched:
    """A set, two pairs of sockets, and what was reported in each call."""

    def __init__(self, kind: type) -> None:
        self.set = kind(gevent.get_hub().loop)
        self.reports: list[dict[int, int]] = []
        self.most = 10
        pairs = [socket.socketpair() for _ in range(2)]
        self.near, self.far = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        self.fds = [one.fileno() for one in self.near]
        self.set.start(self.note)

    def note(self) -> None:
        self.reports.append(dict(self.set.poll(0, self.most)))
        for fd in self.reports[-1]:
            self.set.modify(fd, 1 << 31)  # once is enough

    def turn(self) -> list[dict[int, int]]:
        """Return what is reported in a few rounds of the loop."""
        for _ in range(4):
            gevent.sleep(0)
        gevent.sleep(0.005)
        reports, self.reports = self.reports, []
        return reports


@pytest.fixture(params=KINDS)
def watched(request, hub_errors):
    one = Watched(request.param)
    yield one
    one.set.close()
    gevent.sleep(0)  # libev looks at what it watched once more
    for end in one.near + one.far:
        end.close()
    assert hub_errors == []


def test_what_is_ready_is_one_report(watched):
    for fd in watched.fds:
        watched.set.register(fd, EPOLLIN)
    assert watched.turn() == []
    for far in watched.far:
        far.send(b"x")
    assert watched.turn() == [dict.fromkeys(watched.fds, EPOLLIN)]


def test_no_more_at_once_than_asked_for(watched):
    watched.most = 1
    for fd, far in zip(watched.fds, watched.far, strict=True):
        watched.set.register(fd, EPOLLIN)
        far.send(b"x")
    reports = watched.turn()
    assert [len(report) for report in reports] == [1, 1]
    assert {**reports[0], **reports[1]} == dict.fromkeys(watched.fds, EPOLLIN)


def test_what_it_is_watched_for(watched):
    fd = watched.fds[0]
    watched.set.register(fd, EPOLLIN)
    watched.set.modify(fd, EPOLLIN | EPOLLOUT)
    assert watched.turn() == [{fd: EPOLLOUT}]
    watched.far[0].send(b"x")
    assert watched.turn() == []
    watched.set.modify(fd, EPOLLIN | EPOLLOUT)
    assert watched.turn() == [{fd: EPOLLIN | EPOLLOUT}]


def test_what_is_unregistered_is_not_reported(watched):
    for fd, far in zip(watched.fds, watched.far, strict=True):
        watched.set.register(fd, EPOLLIN)
        far.send(b"x")
    watched.set.unregister(watched.fds[0])
    assert watched.turn() == [{watched.fds[1]: EPOLLIN}]
    with pytest.raises(FileNotFoundError):
        watched.set.unregister(watched.fds[0])
    with pytest.raises(FileNotFoundError):
        watched.set.modify(watched.fds[0], EPOLLIN)


def test_a_set_that_was_stopped_reports_when_it_is_started(watched):
    watched.set.register(watched.fds[0], EPOLLIN)
    watched.set.stop()
    watched.far[0].send(b"x")
    assert watched.turn() == []
    watched.set.start(watched.note)
    assert watched.turn() == [{watched.fds[0]: EPOLLIN}]


def test_a_closed_descriptor_is_refused(watched):
    free = os.dup(0)
    os.close(free)
    with pytest.raises(OSError, match="Bad file descriptor"):
        watched.set.register(free, EPOLLIN)


ECHO = """
import sys
import gevent
import geventws
from geventws.engine.loop.poller import get_poller

@geventws.WebSocketWSGI
def echo(ws):
    for message in ws:
        ws.send(message)

server = geventws.WebSocketServer(("127.0.0.1", 0), echo, log=None)
server.start()
with gevent.Timeout(20), geventws.connect(f"ws://127.0.0.1:{server.server_port}") as ws:
    for message in ("a", "b" * 70_000, b"c" * 1_000_000):
        ws.send(message)
        assert ws.wait() == message
server.stop()
print(type(get_poller().interest.set).__name__)
"""
WITHOUT_EPOLL = "import select\ndel select.epoll\n"


@pytest.mark.parametrize("core", ["", "1"], ids=["C", "twin"])
@pytest.mark.parametrize("lack", ["environment", "system"])
def test_an_echo_without_epoll(core: str, lack: str) -> None:
    environment = {**os.environ, "GEVENTWS_PURE_PYTHON": core, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment["GEVENTWS_POLLER"] = "watchers" if lack == "environment" else ""
    code = ECHO if lack == "environment" else WITHOUT_EPOLL + ECHO
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.returncode) == ("WatcherSet\n", 0), done.stderr
