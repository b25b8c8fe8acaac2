"""Rooms over four workers and Redis: nobody misses a message while workers die."""

from __future__ import annotations

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

from geventws import PubSub
from geventws.pubsub.bus.bus import RedisBus

DOOR = '''\
import os

from geventws import PubSub
from geventws.pubsub.bus.bus import RedisBus

pubsub = PubSub(history={"room": (10_000, 300)})
pubsub.use(RedisBus(os.environ["REDIS_URL"], "gws:"))
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
    pubsub, bus = PubSub(history={"room": (10_000, 300)}), RedisBus(redis.url, "gws:")
    pubsub.use(bus)  # which publishes from here, without a socket
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
    bus.close(5.0)
