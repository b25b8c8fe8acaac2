"""Rooms over four workers and Redis: what a newcomer writes, and that nobody misses a message while workers die."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from kit.programs.browser import Browser
from kit.programs.hosts import Host
from kit.programs.rooms import Client, NodeProgram, PageProgram, PythonClient, ScriptClient

import geventws
from geventws import PubSub

ROOM = '''\
import os

from flask import Flask
from geventws import PubSub
from geventws.flask import Sock

app = Flask(__name__)
sock = Sock(app)
pubsub = PubSub(os.environ["REDIS_URL"])

@sock.route("/rooms/<name>")
def room(ws, name):
    pubsub.subscribe(ws, name)
    for message in ws:
        pubsub.publish(name, message)
'''
"""As docs/flask.rst and docs/rooms.rst have it."""

DOOR = '''\
import os

from geventws import PubSub

pubsub = PubSub(os.environ["REDIS_URL"], history={"room": (10_000, 300)})
app = pubsub.endpoint(lambda environ, action, topic: True, origins=None)
'''
COUNT = 600
"""Messages that are published while workers end."""


class Workers:
    """Four workers of gunicorn's.

    Attributes:
        host: the master.
        port: where they listen.
    """

    def __init__(self, folder: Path, program: str, redis: Any) -> None:
        (folder / "program.py").write_text(program)
        command = [sys.executable, "-m", "gunicorn", "-k", "geventws.gunicorn.Worker", "--workers", "4"]
        command += ["--bind", "127.0.0.1:0", "--chdir", str(folder), "--graceful-timeout", "5", "program:app"]
        self.host = Host(command, more={"REDIS_URL": redis.url})

    def __enter__(self) -> Workers:
        self.port = self.host.listening().port
        self.wait_until(lambda: len(self.pids()) == 4)
        return self

    def __exit__(self, *_error: object) -> None:
        print("\n".join(self.host.lines))  # for whoever looks at a failure
        self.host.terminate()
        gevent.get_hub().threadpool.apply(self.host.wait)

    def connect(self, path: str) -> Any:
        """Return a connection; the first may wait until the workers have begun."""
        return geventws.connect(f"ws://127.0.0.1:{self.port}{path}", open_timeout=40)

    def pids(self) -> list[int]:
        """Return the workers' processes."""
        master = self.host.pid
        return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]

    def wait_until(self, done: Any) -> None:
        """Poll until it is so; the test has a deadline."""
        while not done():
            gevent.sleep(0.02)


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """What a test may take, on a busy machine."""
    with gevent.Timeout(80):
        yield


def tell(speaker: Any, message: str, listener: Any) -> None:
    """Speak until another one hears it: its worker may still be subscribing at Redis."""
    heard = None
    while heard != message:
        speaker.send(message)
        with contextlib.suppress(TimeoutError):
            while (heard := listener.wait(timeout=0.5)) != message:
                pass


@pytest.mark.timeout(100)
def test_a_room_of_fifteen_lines_over_four_workers(redis: Any, tmp_path: Path) -> None:
    assert len(ROOM.splitlines()) <= 15
    with Workers(tmp_path, ROOM, redis) as workers:
        members = [workers.connect("/rooms/7") for _ in range(16)]
        other = workers.connect("/rooms/8")
        for number, author in enumerate(members):
            author.send(f"member {number}")
            while author.wait() != f"member {number}":
                pass  # whoever hears an own message is in the room of the worker
        for member in members:
            tell(members[0], "last", member)
        other.send("alone")
        assert other.wait() == "alone"
        for ws in (*members, other):
            ws.close()


def numbers(client: Client) -> list[int]:
    """Return the numbers of the messages that have come, and -1 for each gap."""
    client.look()
    events = [event for event in client.events if event[0] in ("message", "gap")]
    return [int(event[2]) if event[0] == "message" else -1 for event in events]


def count_descriptors(pid: int) -> int:
    """Return how many descriptors a process has open: most are its connections."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def describe(found: list[int]) -> str:
    """Return what is wrong with the numbers that a client has: "" for nothing."""
    wanted = list(range(COUNT))
    if found == wanted:
        return ""
    missing, gaps = sorted(set(wanted) - set(found)), [at for at, number in enumerate(found) if number < 0]
    doubled = [number for number in wanted if found.count(number) > 1]
    return f"missing {missing}, doubled {doubled}, gaps at {gaps}"


@pytest.mark.browser
@pytest.mark.timeout(100)
def test_forty_clients_miss_nothing_while_workers_are_killed_and_reloaded(
    redis: Any, tmp_path: Path, in_thread: Any
) -> None:
    pubsub = PubSub(redis.url, history={"room": (10_000, 300)})  # which publishes from here, without a socket
    with Workers(tmp_path, DOOR, redis) as workers, Browser() as browser:
        node, page = NodeProgram(), PageProgram(browser, in_thread)
        clients: list[Client] = [PythonClient() for _ in range(30)]
        clients += [ScriptClient(program) for program in (node, page) for _ in range(5)]
        pubsub.publish("room", "0")
        for client in clients:
            client.call("connect", f"ws://127.0.0.1:{workers.port}/")
            client.call("subscribe", "room", {"history": True})
        for client in clients:
            client.wait_for(lambda events: ["message", "room", "0"] in [event[:3] for event in events])
        before = workers.pids()
        for number in range(1, COUNT):
            pubsub.publish("room", str(number))
            gevent.sleep(0.005)
            if number == COUNT // 4:
                os.kill(max(before, key=count_descriptors), signal.SIGKILL)
            if number == COUNT // 2:
                os.kill(workers.host.pid, signal.SIGHUP)
        for client in clients:
            client.wait_for(lambda events: ["message", "room", str(COUNT - 1)] in [event[:3] for event in events])
        wrong = {number: found for number, client in enumerate(clients) if (found := describe(numbers(client)))}
        assert wrong == {}
        workers.wait_until(lambda: len(workers.pids()) == 4 and not set(workers.pids()) & set(before))
        for one in (*clients, node, page):
            one.close()
    pubsub.close()


WORKERS = ["gevent", "gevent_pywsgi", "geventws.gunicorn.Worker"]
ALONE = """
from geventws import PubSub, WebSocketWSGI

pubsub = PubSub()

@WebSocketWSGI
def app(ws):
    for topic in ws:
        pubsub.subscribe(ws, topic)
        ws.send("subscribed")
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", WORKERS)
def test_rooms_of_several_processes_that_do_not_reach_each_other_are_told(
    tmp_path: Path, kind: str, workers: int
) -> None:
    (tmp_path / "alone.py").write_text(ALONE)
    words = ["-m", "gunicorn", "--bind", "127.0.0.1:0", "-k", kind, "-w", str(workers), "--chdir", str(tmp_path)]
    host = Host([sys.executable, *words, "--graceful-timeout", "1", "alone:app"])
    port = int(host.wait_for(r"Listening at: http://127\.0\.0\.1:(\d+)")[1])
    with geventws.connect(f"ws://127.0.0.1:{port}/") as ws:
        for topic in "ab":
            ws.send(topic)
            assert ws.wait(10) == "subscribed"
    host.terminate()
    host.wait()
    told = [line for line in host.lines if "the server has several processes" in line]
    assert len(told) == workers - 1
