"""forks.py: whatever a forked child does, the connections of its parent and their peers notice nothing.

A parent is stopped (SIGSTOP) while its children try: what a peer receives then, a child has sent.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.queue import Queue
from kit import frames
from kit.clients import RawClient
from kit.programs.hosts import Host
from kit.servers.scripted import Peer

DEADLINE = 15.0
GUNICORN = [sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:0", "--graceful-timeout=1"]
GUNICORN.append("kit.apps.forks:application")
OWN = [sys.executable, "-m", "kit.apps.forks"]
HOSTS = {
    "pywsgi": ([*OWN, "pywsgi"], "libev-cext", False),
    "pywsgi patched hook tls libuv": ([*OWN, "pywsgi", "--patched", "--hook"], "libuv", True),
    "own hook": ([*OWN, "own", "--hook"], "libev-cext", False),
    "own patched tls": ([*OWN, "own", "--patched"], "libev-cext", True),
    "own hook libuv": ([*OWN, "own", "--hook"], "libuv", False),
    "thread": ([*OWN, "thread"], "libev-cext", False),
    "thread libuv": ([*OWN, "thread"], "libuv", False),
    "gunicorn -k gevent tls": ([*GUNICORN, "-k", "gevent"], "libev-cext", True),
    "gunicorn -k gevent hook libuv": ([*GUNICORN, "-k", "gevent"], "libuv", False),
    "gunicorn -k gevent_pywsgi hook": ([*GUNICORN, "-k", "gevent_pywsgi"], "libev-cext", False),
}
PAGE = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BOUND = {
    "own": ([*OWN, "own", "--bound"], "libev-cext", False),
    "pywsgi patched libuv": ([*OWN, "pywsgi", "--bound", "--patched"], "libuv", False),
}
COMMANDS = [
    ("/forks", "os raise"),
    ("/forks", "gevent return"),
    ("/forks", "process misbehave"),
    ("/forks", "gevent exit"),
    ("/forks", "os terminate"),
    ("/forks", "gevent own"),
    ("/forks", "subprocess true"),
    ("/callbacks", "os raise"),
    ("/callbacks", "gevent return"),
]
"""What to ask for, where."""

IN_THREAD = [("/forks", f"raw {what}") for what in ("raise", "return", "exit", "own", "terminate")]
IN_THREAD += [("/forks", "main exit"), ("/callbacks", "raw raise"), ("/callbacks", "raw return")]
"""The same where gevent watches no children."""


@pytest.fixture(scope="module")
def hosts(certificate: dict[str, str], tls: Any) -> Iterator[dict[str, Host]]:
    """All of them, started at once."""
    keys = certificate["certfile"], certificate["keyfile"]
    started = {}
    for name, (command, loop, secure) in HOSTS.items():
        environment = {"GEVENT_LOOP": loop, "FORK_HOOK": "1" if "hook" in name else ""}
        started[name] = Host(command, *((keys, tls) if secure else ()), more=environment)
    yield started
    for host in started.values():
        host.terminate()
    for host in started.values():
        host.wait()


@pytest.fixture(params=BOUND)
def bound(request: pytest.FixtureRequest, serve: Any) -> Iterator[Host]:
    """A host of three processes that share a bound socket."""
    command, loop, _ = BOUND[request.param]
    host = Host(command, more={"GEVENT_LOOP": loop}).listening()
    yield host
    host.terminate()
    host.wait()


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, hosts: dict[str, Host], serve: Any) -> Iterator[Host]:
    """One of them, listening."""
    host = hosts[request.param].listening()
    with gevent.Timeout(DEADLINE):
        yield host


class Client:
    """A peer of a host: it answers pings, and has everything else in a queue."""

    def __init__(self, host: Host, path: str) -> None:
        self.raw = RawClient(host.port, host.tls)
        self.raw.open(path=path)
        self.received: Queue[Any] = Queue()
        self.frames = 0
        self._reader = gevent.spawn(self._read)

    def _read(self) -> None:
        try:
            while True:
                frame = self.raw.read_frame()
                self.frames += 1
                if frame.opcode == frames.PING:
                    self.raw.send(frames.frame(frames.PONG, frame.payload))
                else:
                    self.received.put(frame.payload.decode() if frame.opcode == frames.TEXT else frame)
        except (EOFError, OSError) as error:
            self.frames += 1
            self.received.put(error)

    def ask(self, message: str) -> Any:
        """Send a message, and return what comes next."""
        self.raw.send(frames.text(message))
        return self.received.get()

    def close(self) -> None:
        """Hang up."""
        self._reader.kill()
        self.raw.close()


class Server:
    """The server of a host's client: it answers pings, and counts the frames."""

    def __init__(self, scripted: Callable[..., Any], host: Host, certificate: dict[str, str]) -> None:
        keys = {"certfile": certificate["certfile"], "keyfile": certificate["keyfile"]} if host.tls else {}
        self._scripted = scripted(self._serve, **keys)
        self.frames = 0
        self.received: Queue[Any] = Queue()
        scheme = "wss" if host.tls else "ws"
        get(host, f"/client?{scheme}://{self._scripted.address}/")
        self.received.get()
        self.raw = self.peer

    def _serve(self, peer: Peer) -> None:
        peer.accept()
        self.peer = peer
        self.received.put("accepted")
        while True:
            opcode, payload, _ = peer.read_frame()
            self.frames += 1
            if opcode == frames.PING:
                peer.socket.sendall(frames.frame(frames.PONG, payload, key=None))
            else:
                self.received.put(payload.decode() if opcode == frames.TEXT else (opcode, payload))

    def ask(self, message: str) -> Any:
        """Send a message, and return what comes next."""
        self.peer.socket.sendall(frames.frame(frames.TEXT, message, key=None))
        return self.received.get()

    def close(self) -> None:
        """Hang up for good."""
        self._scripted._server.close()
        self.peer.socket.close()


def get(host: Host, path: str) -> str:
    """Return the body of a plain request."""
    client = RawClient(host.port, host.tls)
    client.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    client.read_head()
    with contextlib.closing(client):
        return client.rest().decode()


def read_page(client: RawClient) -> bytes:
    """Return the body of an answer to PAGE."""
    return client.read(int(client.read_head().get("Content-Length") or 0))


def state(pid: int) -> str:
    """Return the letter of a process's state; Z where there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def wait_for_state(pid: int, states: str) -> None:
    """Wait until a process is in one of these states."""
    while state(pid) not in states:
        gevent.sleep(0.005)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for_state(pid, "T")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def alone(pid: int, pids: list[int]) -> Iterator[None]:
    """Let one process run, and none of the others."""
    with contextlib.ExitStack() as stack:
        for other in pids:
            if other != pid:
                stack.enter_context(stopped(other))
        yield


def count_frames(peers: list[Any]) -> list[int]:
    """Return how many frames each peer has received, once nothing is left to receive."""
    sockets = [peer.raw.socket.fileno() for peer in peers]
    while select.select(sockets, [], [], 0)[0]:
        gevent.sleep(0)
    return [peer.frames for peer in peers]


def children(host: Host, count: int) -> list[int]:
    """Return the pids of the children, once there are that many."""
    while True:
        found = re.findall(r"child (?:is|that lasts) (\d+)", "\n".join(host.lines))
        if len(found) >= count:
            return [int(pid) for pid in found]
        gevent.sleep(0.005)


def check_findings(host: Host) -> None:
    """What children have found is right, and none is missing, but for gunicorn's, which may end before."""
    found = [line.partition("child ")[2] for line in host.lines if re.match("child (found|has|was)", line)]
    right = {"found True None 1006 1006 1006", "found True []", "has its own again", "has one itself True None"}
    assert set(found) <= right
    assert len(found) >= 6 or "gunicorn" in host.command


def test_no_child_reaches_a_peer(host: Host, scripted: Any, certificate: dict[str, str]) -> None:
    parent = int(get(host, "/"))
    server = Server(scripted, host, certificate)
    watching = [server, *(Client(host, path) for path in ("/forks", "/tick", "/callbacks"))]
    commands = IN_THREAD if "thread" in host.command else COMMANDS
    askers = [Client(host, path) for path, _ in commands]
    for asker, (_, command) in zip(askers, commands, strict=True):
        asker.raw.send(frames.text(command))
    askers += [Client(host, "/middleware"), Client(host, "/handshake")]
    idle = RawClient(host.port, host.tls)
    idle.send(PAGE)
    read_page(idle)
    with contextlib.ExitStack() as stack:
        for peer in [*watching, *askers, idle]:
            stack.callback(peer.close)
        assert [asker.received.get() for asker in askers[:-2]] == ["forked"] * len(commands)
        pids = children(host, len(askers) - str(commands).count("subprocess"))
        with stopped(parent):
            before = count_frames(watching + askers)
            late = gevent.spawn(Client, host, "/forks")
            idle.send(PAGE)
            with contextlib.suppress(ProcessLookupError):  # gunicorn's children end by themselves
                os.kill(int(host.wait_for(r"child that lasts (\d+)")[1]), signal.SIGTERM)
            for pid in pids:
                wait_for_state(pid, "Z")
            assert count_frames(watching + askers) == before
            assert not late.ready() and not select.select([idle.socket.fileno()], [], [], 0)[0]
        assert int(read_page(idle)) == parent
        stack.callback(late.get().close)
        for peer in [server, watching[1], watching[3], *askers, late.get()]:
            assert peer.ask("still-here") == "still-here"
        assert watching[2].ask("still-here") == "tick"
        check_findings(host)
        assert all(peer.received.queue.count("tick") == len(peer.received) for peer in watching + askers)


def test_who_was_only_bound_may_be_started_in_each(bound: Host) -> None:
    """gevent's pre-fork idiom: parent and children accept from one socket, and each drains its own."""
    first, second = children(bound, 2)
    pids = [bound.pid, first, second]
    clients = []
    for pid in pids:
        with alone(pid, pids):
            assert int(get(bound, "/")) == pid
            clients.append(Client(bound, "/forks"))
    assert [line for line in bound.lines if "child starts" in line] == ["child starts False"] * 2
    os.kill(first, signal.SIGTERM)
    bound.wait_for(f"stopped in {first}")
    assert clients[0].ask("still-here") == clients[2].ask("still-here") == "still-here"
    os.kill(second, signal.SIGKILL)
    assert isinstance(clients[2].received.get(), EOFError | OSError)
    assert clients[0].ask("still-here") == "still-here"
    for client in clients:
        client.close()


@pytest.mark.parametrize("name", ["own hook", "pywsgi patched hook tls libuv"])
def test_a_child_may_start_what_its_parent_has_started(name: str, hosts: dict[str, Host], serve: Any) -> None:
    host = hosts[name].listening()
    parent = int(get(host, "/"))
    asker, before = Client(host, "/forks"), len(children(host, 0))
    assert asker.ask("os start") == "forked"
    host.wait_for("child serves True")
    child = children(host, before + 1)[-1]
    with alone(child, [parent, child]):
        assert int(get(host, "/")) == child
        client = Client(host, "/forks")
    os.kill(child, signal.SIGKILL)
    assert isinstance(client.received.get(), EOFError | OSError)
    assert asker.ask("still-here") == "still-here"
    with contextlib.closing(Client(host, "/forks")) as another:
        assert another.ask("still-here") == "still-here"
    client.close()
    asker.close()
