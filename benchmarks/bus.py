"""What the bus costs: `python benchmarks/bus.py` starts a Redis of its own, and prints a line for each figure.

    way       CPU and time of one message through Redis, in one process, beside redis-py's own publish and receive,
              and beside Redis alone
    burst     the same, published 100 at a time
    stall     how long the loop is held up while Redis is stopped, frozen, cut off or slow
    cuts      what is lost while the receiving connection is cut every 0.3 s, at 1,000 messages a second
    resume    how often Redis is asked when 20,000 clients come back at once
    costs     what model.py wants to know, into build/bench/results/bus.json

Two buses in this process stand for two processes. Names of parts may be given: `python benchmarks/bus.py way cuts`.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()  # for redis-py alone

# ruff: noqa: E402
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gevent
from buses import MESSAGE, Bare, Pair, RedisPy, Sink

from geventws import PreparedMessage, PubSub
from geventws.pubsub.bus.bus import RedisBus
from geventws.pubsub.history import Rule

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from kit.servers.redis import RedisServer
from kit.servers.valve import Valve

RULE = Rule(1000, 300)
ROUNDS, MESSAGES = 9, 2000
TICK = 0.001


def measure(send_one: Callable[[], None]) -> tuple[float, float]:
    """Return the microseconds of CPU a message, and of time in the middle."""
    times = []
    began = time.thread_time()
    for _ in range(MESSAGES):
        start = time.perf_counter()
        send_one()
        times.append(time.perf_counter() - start)
    return (time.thread_time() - began) / MESSAGES * 1e6, statistics.median(times) * 1e6


def way(server: RedisServer) -> None:
    """The time from `publish` until the other bus delivers, of which Redis has a part; others' work disturbs both."""
    ways: dict[str, Any] = {
        "plain": Pair(server.url, None),
        "with history": Pair(server.url, RULE, "kept"),
        "redis-py": RedisPy(server.port),
        "Redis, plain": Bare(server.port, "bare", None),
        "Redis, history": Bare(server.port, "bare-kept", RULE),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, one in ways.items():
            found[name].append(measure(one.send_one))
    base = [cpu for cpu, _ in found["redis-py"]]
    for name, figures in found.items():
        cpu, middle = (statistics.median(column) for column in zip(*figures, strict=True))
        ratio = statistics.median([mine / other for (mine, _), other in zip(figures, base, strict=True)])
        quiet = min([time for _, time in figures])
        print(f"way     {name:14} {cpu:6.1f} us of CPU a message, {ratio:4.2f} x redis-py; ", end="")
        print(f"{middle:6.1f} us on its way, {quiet:6.1f} in the quietest round")
    for one in ways.values():
        one.close()


def burst(server: RedisServer) -> None:
    for name, rule in (("plain", None), ("with history", RULE)):
        pair = Pair(server.url, rule, f"burst {name}")
        figures = []
        for _ in range(ROUNDS * 10):
            began, wanted = time.thread_time(), len(pair.sink.got) + 100
            for _ in range(100):
                pair.publish(MESSAGE)
            while len(pair.sink.got) < wanted:
                gevent.sleep(0.0005)
            figures.append((time.thread_time() - began) / 100 * 1e6)
        print(f"burst   {name:13} {statistics.median(figures):6.1f} us of CPU a message")
        pair.close()


class Ticker:
    """Has the loop call it each millisecond, and notes what was in between.

    Attributes:
        longest: the most CPU that the loop has used between two calls, in seconds.
        blocked: the most time that nobody has used, here or in other programs: what a call has waited for.
    """

    def __init__(self) -> None:
        self.longest = self.blocked = 0.0
        self._waits = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        gc.collect()
        gc.freeze()  # what the program has is not the bus's
        self._before = self._look()
        self._timer = gevent.get_hub().loop.timer(TICK)
        self._timer.start(self._tick)

    def _tick(self) -> None:
        now = self._look()
        wall, cpu, others = (late - early for late, early in zip(now, self._before, strict=True))
        self.longest = max(self.longest, cpu)
        self.blocked = max(self.blocked, wall - cpu - others - TICK)
        self._before = now
        self._timer.start(self._tick)

    def _look(self) -> tuple[float, float, float]:
        """Return the time, the CPU of this thread, and how long others had it while this one was ready to run."""
        waited = int(os.pread(self._waits, 100, 0).split()[1]) / 1e9
        return time.perf_counter(), time.thread_time(), waited

    def stop(self) -> str:
        self._timer.close()
        os.close(self._waits)
        gc.unfreeze()
        return f"{self.longest * 1e3:5.2f} ms of CPU at the longest, {self.blocked * 1e3:5.2f} ms blocked"


class Trouble(NamedTuple):
    """How Redis fails, and how that ends."""

    begin: Callable[[RedisServer, Valve], None]
    end: Callable[[RedisServer, Valve], None]


TROUBLES = {
    "none": Trouble(lambda server, valve: None, lambda server, valve: None),
    "stopped": Trouble(lambda server, valve: server.stop(), lambda server, valve: server.start()),
    "frozen": Trouble(lambda server, valve: server.freeze(), lambda server, valve: server.thaw()),
    "cut off": Trouble(lambda server, valve: valve.shut(), lambda server, valve: valve.open()),
    "slow": Trouble(lambda server, valve: valve.slow(0.1), lambda server, valve: valve.slow(0)),
}


def stall(server: RedisServer) -> None:
    for name, trouble in TROUBLES.items():
        valve = Valve(server.port)
        url = f"redis://127.0.0.1:{valve.port}"
        pairs = [Pair(url, None), Pair(url, RULE, "kept")]
        trouble.begin(server, valve)
        during = measure_stall(pairs, 4)
        trouble.end(server, valve)
        print(f"stall   {name:13} {during}; afterwards {measure_stall(pairs, 4)}")
        for pair in pairs:
            pair.out.close(0)
            pair.into.close(0)
        valve.close()


def measure_stall(pairs: list[Pair], seconds: float) -> str:
    """Publish for some seconds; return how long the loop was held up."""
    ticker, end, number = Ticker(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        pairs[number % 2].publish(MESSAGE)
        number += 1
        gevent.sleep(TICK)
    return ticker.stop()


def cuts(server: RedisServer) -> None:
    for name, rule in (("plain", None), ("with history", RULE)):
        pair = Pair(server.url, rule, f"cuts {name}")
        kills, published, next_kill = 0, 0, time.monotonic() + 0.3
        began = time.monotonic()
        while time.monotonic() - began < 10:
            for _ in range(int((time.monotonic() - began) * 1000) - published):
                published += 1
                pair.publish(f"{published:8d} {MESSAGE}")
            if time.monotonic() > next_kill:
                kills += server.kill_clients("pubsub")
                next_kill += 0.3
            gevent.sleep(0.001)
        pair.out.flush(5)
        gevent.sleep(1)
        got = pair.sink.got
        lost, doubled = published - len(set(got)), len(got) - len(set(got))
        order = "in order" if got == sorted(got) else "OUT OF ORDER"
        told = f"told {pair.sink.gaps} times" if rule is None else f"{pair.sink.gaps} gaps"
        print(f"cuts    {name:13} {kills} cuts, {published} published, {lost} lost, {doubled} doubled, {order}, {told}")
        pair.close()


def resume(server: RedisServer) -> None:
    history = {"room*": (100, 300)}
    there, here = PubSub(server.url, history=history), PubSub(server.url, history=history)
    topics = [f"room {number}" for number in range(20)]
    for topic in topics:
        for number in range(50):
            there.publish(topic, str(number))
    there.flush(5)
    since = {topic: there.history(topic, limit=0).position.rpartition(":")[0] + ":10" for topic in topics}
    before = count_scripts(server)
    began = time.perf_counter()
    clients = []
    for _ in range(1000):
        clients += [gevent.spawn(here.history, topic, since[topic]) for topic in topics]
        gevent.sleep(0)  # no loop accepts 20,000 connections in one turn
    gevent.joinall(clients, raise_error=True)
    took = time.perf_counter() - began
    right = sum(len(one.value.messages) == 40 and not one.value.gap for one in clients)
    asked = count_scripts(server) - before
    print(f"resume  {right} of {len(clients)} clients have all they missed; {asked} requests for {len(topics)} topics")
    print(f"resume  {took:.2f} s")
    there.close(1)
    here.close(1)


def count_scripts(server: RedisServer) -> int:
    lines = server.ask("INFO", "commandstats").decode().splitlines()
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines if "cmdstat_evalsha:" in line)


def cpu_of(pid: int) -> float:
    """Return the microseconds of CPU that a process's main thread has used."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e3


class Pace:
    """Publishes some messages together, again and again, and notes what each costs, without what the pauses cost."""

    def __init__(self, out: RedisBus, pid: int) -> None:
        self.out, self.pid = out, pid
        self.found: dict[str, list[float]] = {}

    def run(self, name: str, topic: str, together: int) -> None:
        pause = 0.0005 * (1 + together / 20)
        marks = []
        for number in (0, together):
            began = time.thread_time() * 1e6, cpu_of(self.pid)
            for _ in range(600 // together):
                for _ in range(number):
                    self.out.publish(topic, PreparedMessage(MESSAGE), None, None, None)
                gevent.sleep(pause)
            marks.append((time.thread_time() * 1e6 - began[0], cpu_of(self.pid) - began[1]))
        (idle, idle_redis), (busy, busy_redis) = marks
        self.found.setdefault(name, []).append((busy - idle) / 600)
        self.found.setdefault(f"{name}_redis", []).append((busy_redis - idle_redis) / 600)


def costs(server: RedisServer) -> None:
    pid = int(server.ask("INFO", "server").decode().partition("process_id:")[2].split()[0])
    pair, other = Pair(server.url, None, "heard"), RedisBus(server.url, "bench:")
    other.start(Sink())
    pace, kinds = Pace(pair.out, pid), (("", 1), ("busy_", 100))
    for receivers in (1, 2):
        if receivers == 2:
            other.subscribe("heard", None)
            gevent.sleep(0.3)
        for _ in range(ROUNDS):
            for prefix, together in kinds:
                pace.run(f"{prefix}heard{receivers}", "heard", together)
                pace.run(f"{prefix}unheard", "unheard", together)
    middle = {name: statistics.median(figures) for name, figures in pace.found.items()}
    known = {}
    for prefix, _ in kinds:
        known[f"{prefix}publish"] = middle[f"{prefix}unheard"]
        known[f"{prefix}receive"] = middle[f"{prefix}heard1"] - middle[f"{prefix}unheard"]
        known[f"{prefix}redis"] = middle[f"{prefix}unheard_redis"]
        known[f"{prefix}redis_copy"] = middle[f"{prefix}heard2_redis"] - middle[f"{prefix}heard1_redis"]
    folder = Path(__file__).parents[1] / "build" / "bench" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bus.json").write_text(json.dumps(known, indent=1))
    for name, figure in known.items():
        print(f"costs   {name:16} {figure:6.1f} us of CPU")
    pair.close()
    other.close(1)


PARTS = {"way": way, "burst": burst, "stall": stall, "cuts": cuts, "resume": resume, "costs": costs}


def main() -> None:
    for name in sys.argv[1:] or PARTS:
        server = RedisServer()
        server.start()
        try:
            gevent.spawn(PARTS[name], server).get()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
