"""What the bus costs: `python benchmarks/bus.py` starts a Redis of its own, and prints a line for each figure.

    way       CPU and time of one message through Redis, in one process, beside redis-py's own publish and receive
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
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import redis
from gevent.event import Event

from geventws import PreparedMessage, PubSub
from geventws.pubsub.bus.bus import RedisBus
from geventws.pubsub.history import Rule

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from kit.servers.redis import RedisServer
from kit.servers.valve import Valve

MESSAGE = "x" * 200
RULE = Rule(1000, 300)
ROUNDS, MESSAGES = 9, 2000


def number_of(message: PreparedMessage) -> int:
    """Return the number that a message begins with; 0 for one without."""
    return 0 if message.payload[:1] == b"x" else int(message.payload[:8])


class Sink:
    """What a bus tells; it switches to the greenlet that waits for the next message."""

    def __init__(self) -> None:
        self.got: list[int] = []  # the numbers that messages begin with
        self.gaps = 0
        self.register = SimpleNamespace(tick=lambda: None, confirmed=lambda topic: None)  # who is in a room
        self.waiting: Any = None

    def receive(self, topic: str, message: PreparedMessage, key: str | None) -> None:
        self.got.append(number_of(message))
        if self.waiting is not None:
            gevent.get_hub().loop.run_callback(self.waiting)
            self.waiting = None

    def receive_at(self, topic: str, position: Any, message: PreparedMessage, key: str | None, ticket: Any) -> None:
        self.receive(topic, message, key)

    def fill(self, topic: str, position: Any, messages: list[tuple[float, PreparedMessage]]) -> None:
        self.got += [number_of(message) for _, message in messages]

    def lost(self, topic: str) -> None:
        self.gaps += 1

    def tell_bus(self, is_up: bool) -> None:
        pass


class Pair:
    """Two buses: one publishes, the other one is subscribed."""

    def __init__(self, url: str, rule: Rule | None, topic: str = "room") -> None:
        self.sink, self.rule, self.topic = Sink(), rule, topic
        self.out, self.into = RedisBus(url, "bench:"), RedisBus(url, "bench:")
        self.out.start(Sink())
        self.into.start(self.sink)
        self.into.subscribe(topic, rule)
        if rule is not None:
            self.into.read(topic, rule)
        gevent.sleep(0.3)

    def publish(self, text: str) -> None:
        self.out.publish(self.topic, PreparedMessage(text), None, self.rule, None)

    def send_one(self) -> None:
        """Publish a message, and wait until it has arrived."""
        self.sink.waiting = gevent.getcurrent().switch
        self.publish(MESSAGE)
        gevent.get_hub().switch()

    def close(self) -> None:
        self.out.close(1)
        self.into.close(1)


class RedisPy:
    """The same by redis-py alone, whose sockets gevent has patched."""

    def __init__(self, port: int) -> None:
        self.client = redis.Redis(port=port)
        self.pubsub = self.client.pubsub(ignore_subscribe_messages=True)
        self.pubsub.subscribe("theirs")
        self.arrived = Event()
        self.listening = gevent.spawn(self._listen)
        gevent.sleep(0.1)

    def _listen(self) -> None:
        for _ in self.pubsub.listen():
            self.arrived.set()

    def send_one(self) -> None:
        self.arrived.clear()
        self.client.publish("theirs", MESSAGE)
        self.arrived.wait()

    def close(self) -> None:
        self.listening.kill()
        self.pubsub.close()
        self.client.close()


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
    pairs = {"plain": Pair(server.url, None), "with history": Pair(server.url, RULE, "kept")}
    theirs = RedisPy(server.port)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*pairs, "redis-py")}
    for _ in range(ROUNDS):
        for name, one in (*pairs.items(), ("redis-py", theirs)):
            found[name].append(measure(one.send_one))
    base = [cpu for cpu, _ in found["redis-py"]]
    for name, figures in found.items():
        cpu, middle = (statistics.median(column) for column in zip(*figures, strict=True))
        ratio = statistics.median([mine / other for (mine, _), other in zip(figures, base, strict=True)])
        print(f"way     {name:13} {cpu:6.1f} us of CPU a message, {ratio:4.2f} x redis-py; {middle:6.1f} us on its way")
    for one in (*pairs.values(), theirs):
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


class Spinner:
    """Turns with the loop, and notes how long it was held up between two turns.

    Attributes:
        longest: by the CPU that was used meanwhile.
        blocked: by the clock, without what the CPU was used for, here or by others: what a call has waited for.
    """

    def __init__(self) -> None:
        self.longest = self.blocked = 0.0
        self._turning = gevent.spawn(self._turn)

    def _turn(self) -> None:
        before = self._look()
        while True:
            gevent.sleep(0)
            now = self._look()
            wall, cpu, others = (late - early for late, early in zip(now, before, strict=True))
            self.longest = max(self.longest, cpu)
            self.blocked = max(self.blocked, wall - cpu - others)
            before = now

    def _look(self) -> tuple[float, float, float]:
        """Return the time, the CPU of this thread, and how long others had it while this one was ready to run."""
        waited = int(Path("/proc/thread-self/schedstat").read_bytes().split()[1]) / 1e9
        return time.perf_counter(), time.thread_time(), waited

    def stop(self) -> str:
        self._turning.kill()
        return f"{self.longest * 1e3:5.2f} ms of CPU at the longest, {self.blocked * 1e3:5.2f} ms blocked"


def stall(server: RedisServer) -> None:
    troubles: dict[str, Callable[[Valve], None]] = {
        "none": lambda valve: None,
        "stopped": lambda valve: server.stop(),
        "frozen": lambda valve: server.freeze(),
        "cut off": lambda valve: valve.shut(),
        "slow": lambda valve: setattr(valve, "delay", 0.1),
    }
    for name, begin in troubles.items():
        valve = Valve(server.port)
        url = f"redis://127.0.0.1:{valve.port}"
        pairs = [Pair(url, None), Pair(url, RULE, "kept")]
        begin(valve)
        spinner = Spinner()
        for number in range(3000):
            pairs[number % 2].publish(MESSAGE)
            gevent.sleep(0.001)
        print(f"stall   {name:13} {spinner.stop()}")
        for pair in pairs:
            pair.out.close(0)
            pair.into.close(0)
        valve.open()
        valve.close()
        server.thaw() if name == "frozen" else server.start() if name == "stopped" else None


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
