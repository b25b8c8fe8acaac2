"""One point of the model beside a run: two workers, one Redis, 200 rooms of ten, each member on either worker."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool
from model import Costs, Site, busy_cores, redis_cores

from geventws import ConnectionClosed, connect

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from kit.servers.redis import RedisServer

ROOMS, MEMBERS, RATE = 200, 10, 5.0
WORKERS, SECONDS = 2, 10
MESSAGE = "x" * 200
PEER = Path(__file__).parent / "peers" / "geventws_bus.py"


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process's main thread has used."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def start(url: str) -> tuple[subprocess.Popen[str], int]:
    """Start a worker; return it and its port."""
    worker = subprocess.Popen([sys.executable, str(PEER), url], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    return worker, int(worker.stdout.readline().split()[1])


def enter(ports: list[int], room: int) -> Any:
    """Return a member of a room, and a greenlet that reads what it gets."""
    ws = connect(f"ws://127.0.0.1:{random.choice(ports)}/{room}", compression=None)
    return ws, gevent.spawn(read, ws)


def read(ws: Any) -> int:
    """Read to the end; return how many messages came."""
    count = 0
    try:
        for _ in ws:
            count += 1
    except ConnectionClosed:
        pass
    return count


def publish(authors: list[Any], site: Site) -> None:
    """Publish in all rooms in turn, as evenly as can be."""
    began, total = time.monotonic(), int(site.published * SECONDS)
    for number in range(total):
        gevent.sleep(max(0, began + number / site.published - time.monotonic()))
        authors[number % ROOMS].send(MESSAGE)


def compare(costs: Costs) -> None:
    site = Site("two workers, 200 rooms", ROOMS * MEMBERS, MEMBERS, RATE)
    redis = RedisServer()
    redis.start()
    workers = [start(redis.url) for _ in range(WORKERS)]
    ports = [port for _, port in workers]
    try:
        members = Pool(50).map(lambda room: enter(ports, room % ROOMS), range(ROOMS * MEMBERS))
        gevent.sleep(2)  # the subscriptions reach Redis
        pids = [worker.pid for worker, _ in workers]
        server = int(redis.ask("INFO", "server").decode().partition("process_id:")[2].split()[0])
        before = [cpu(pid) for pid in (*pids, server)]
        publish([ws for ws, _ in members[:ROOMS]], site)
        gevent.sleep(0.5)
        used = [cpu(pid) - was for pid, was in zip((*pids, server), before, strict=True)]
        for ws, _ in members:
            ws.close()
        got = sum(reader.get() for _, reader in members)
    finally:
        for worker, _ in workers:
            worker.kill()
            worker.wait()
        redis.stop()
    wanted = int(site.delivered * SECONDS)
    print(f"{got} of {wanted} messages came")
    for name, run, model in (
        ("workers", sum(used[:-1]), busy_cores(site, costs, WORKERS) * SECONDS),
        ("Redis", used[-1], redis_cores(site, costs, WORKERS)[1] * SECONDS),
    ):
        print(f"{name:8} {run:6.2f} s of CPU in the run, {model:6.2f} in the model: {model / run:.2f} times")
