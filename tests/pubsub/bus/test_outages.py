"""Outages: what becomes of messages and connections when Redis, or the way there, fails: docs/scaling.rst.

Two rooms in this process stand for two processes: they know of each other by Redis alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from kit.clients import RawClient
from kit.servers.redis import RedisServer
from kit.servers.valve import Valve
from kit.sites.buses import wait_until
from kit.sites.rooms import Room

from geventws import PubSub
from geventws.engine.loop.poller import get_poller
from geventws.pubsub.bus import link

KEPT = {"kept*": (1000, 300)}


class Process:
    """A room, its PubSub, and what that tells."""

    def __init__(self, serve: Any, url: str, history: dict[str, tuple[int, float]]) -> None:
        self.gaps: list[str] = []
        self.ups: list[bool] = []
        self.pubsub = PubSub(url, history=history)
        self.pubsub.on_gap = self.gaps.append
        self.pubsub.on_bus = self.ups.append
        self.room = Room(serve)
        self.room.pubsub = self.pubsub
        self.room.open()

    def join(self, *topics: str) -> RawClient:
        """Return a client that is subscribed, also as Redis sees it."""
        client = self.room.connect(list(topics))
        bus: Any = self.pubsub._bus
        wait_until(lambda: bus._lodging.core._channels.link.up and not bus._lodging.core._channels._unconfirmed)
        return client

    @property
    def core(self) -> Any:
        """Its connections."""
        bus: Any = self.pubsub._bus
        return bus._lodging.core

    def say(self, topic: str, *texts: Any) -> None:
        """Publish as a handler does."""

        def publish() -> None:
            for text in texts:
                self.pubsub.publish(topic, str(text))

        gevent.spawn(publish).get()


@pytest.fixture
def start(serve: Any, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Process]]:
    """Start a process."""
    monkeypatch.setattr(link, "LAST_DELAY", 0.2)
    started: list[Process] = []

    def start(url: str = redis.url, history: Any = KEPT) -> Process:
        started.append(Process(serve, url, history))
        return started[-1]

    yield start
    for process in started:
        process.pubsub.close(0)


def read_numbers(client: RawClient, until: int) -> list[int]:
    """Return the numbers that a client gets, up to one."""
    numbers: list[int] = []
    while not numbers or numbers[-1] != until:
        numbers.append(int(client.read_message()))
    return numbers


def test_a_receiver_is_cut(start: Any, redis: RedisServer) -> None:
    """Without history what was missed is told; with history nothing is missed."""
    here, there = start(), start()
    plain, kept = there.join("plain"), there.join("kept")
    number = 0
    for _ in range(5):
        redis.kill_clients("pubsub")
        for _ in range(20):
            number += 1
            here.say("kept", number)
            here.say("plain", number)
        wait_until(lambda: there.core.is_up)
    wait_until(lambda: redis.ask("PUBSUB", "NUMSUB", "gws:t:plain")[1] == 1)  # also after the last cut
    here.say("kept", 0)
    here.say("plain", 0)
    assert read_numbers(kept, 0) == [*range(1, number + 1), 0]
    heard = read_numbers(plain, 0)
    assert heard == sorted(heard[:-1]) + [0] and len(heard) == len(set(heard))
    assert set(there.gaps) == {"plain"}
    assert there.pubsub.stats.bus.gaps == len(there.gaps) >= 1


def test_processes_that_keep_different_topics(start: Any) -> None:
    """As while they are replaced by others with another `history`: subscribers get everything, with it or without."""
    here, there = start(), start(history={})
    clients = [process.join("kept") for process in (here, there)]
    for number in range(1, 11):
        (here if number % 2 else there).say("kept", number)
        assert [read_numbers(client, number) for client in clients] == [[number]] * 2
    assert [process.pubsub.history("kept", since="").messages for process in (here, there)] == [list("13579"), []]


def test_an_asker_is_cut(start: Any, redis: RedisServer) -> None:
    """What Redis has not answered is sent again, and arrives once."""
    here, there = start(), start()
    clients = {topic: there.join(topic) for topic in ("plain", "kept")}
    for number in range(1, 101):
        here.say("plain", number)
        here.say("kept", number)
        if number == 1:
            wait_until(lambda: not here.pubsub.stats.bus.queued)  # it is connected, and can be cut
        if not number % 10:
            here.core._asker.link.abort("of the test")
            gevent.sleep(0)
    wait_until(lambda: not here.pubsub.stats.bus.queued)
    for client in clients.values():
        assert read_numbers(client, 100) == list(range(1, 101))
    stats = here.pubsub.stats.bus
    assert (stats.published, stats.sent, stats.dropped) == (200, 200, 0) and stats.reconnects
    assert there.gaps == []


def test_a_user_that_may_not_subscribe_is_told_once(start: Any, redis: RedisServer, log: Any) -> None:
    """As a user of Redis 7 whose channels nobody has allowed; what it publishes and keeps goes on."""
    redis.ask("ACL", "SETUSER", "ana", "on", ">secret", "~*", "resetchannels", "+@all")
    there = start(f"redis://ana:secret@127.0.0.1:{redis.port}")
    there.room.connect(["plain"])
    wait_until(lambda: there.core._channels.link.connects > 3)
    assert there.ups[-1] is False and not there.pubsub.stats.bus.up
    lines = [record.getMessage().partition(": NOPERM")[0] for record in log()]
    assert lines == [f"the bus is down: redis://127.0.0.1:{redis.port}"]


def test_redis_begins_anew_without_its_data(start: Any, redis: RedisServer) -> None:
    here, there = start(), start()
    plain, kept = there.join("plain"), there.join("kept")
    here.say("kept", 1, 2, 3)
    assert read_numbers(kept, 3) == [1, 2, 3]
    wait_until(lambda: not here.pubsub.stats.bus.queued)  # what has no answer yet is sent again
    position = there.pubsub.history("kept").position
    redis.stop()
    wait_until(lambda: there.ups[-1:] == [False] and here.ups[-1:] == [False])
    here.say("kept", 4)  # waits
    redis.start()
    wait_until(lambda: there.ups[-1] and len(there.gaps) >= 2)
    here.say("plain", 5)
    here.say("kept", 5)
    assert read_numbers(kept, 5) == [4, 5] and read_numbers(plain, 5) == [5]
    assert sorted(set(there.gaps)) == ["kept", "plain"]
    recovered = there.pubsub.history("kept", since=position)
    assert recovered.gap and recovered.messages == ["4", "5"]


def test_redis_is_full(start: Any, redis: RedisServer, log: Any) -> None:
    """What it refuses is counted; what it need not keep, and what stays in the process, goes on."""
    here, there = start(), start()
    mine, plain, kept = here.join("plain"), there.join("plain"), there.join("kept")
    redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    here.say("kept", 1, 2, 3)
    here.say("plain", 4)
    assert read_numbers(mine, 4) == [4] and read_numbers(plain, 4) == [4]
    wait_until(lambda: not here.pubsub.stats.bus.queued)
    assert here.pubsub.stats.bus.dropped == 3
    redis.ask("CONFIG", "SET", "maxmemory", "0")
    here.say("kept", 5)
    assert read_numbers(kept, 5) == [5]
    gevent.sleep(0)
    assert [record.getMessage()[:36] for record in log()] == ["Redis has refused a command: OOM com"]


def test_a_receiver_is_too_slow_for_redis(start: Any, redis: RedisServer, valve: Valve) -> None:
    """Redis cuts what takes too little: then it is as with any cut."""
    redis.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
    here, there = start(), start(f"redis://127.0.0.1:{valve.port}")
    kept = there.join("kept", "plain")
    there.core._channels.watch("large")
    wait_until(lambda: redis.ask("PUBSUB", "NUMSUB", "gws:t:large")[1] == 1)
    valve.shut()
    here.say("kept", 1)
    while redis.count_clients("pubsub"):
        here.say("large", *["x" * 15_000] * 40)  # of larger ones Valkey does not count each byte
        gevent.sleep(0.01)
    here.say("kept", 2)
    valve.open()
    wait_until(lambda: "plain" in there.gaps and there.core.is_up)
    here.say("kept", 3)
    assert read_numbers(kept, 3) == [1, 2, 3]


def test_a_process_is_gone(start: Any, redis: RedisServer) -> None:
    here, there, gone = start(), start(), start()
    client = there.join("plain", "kept")
    gone.join("plain", "kept")
    gone.pubsub.close(0)
    here.say("plain", 1)
    here.say("kept", 2)
    assert sorted(read_numbers(client, 2)[-2:]) in ([1, 2], [2])
    assert there.gaps == [] and there.ups == [True]


@pytest.fixture
def valve(redis: RedisServer) -> Iterator[Valve]:
    """A way to Redis that can be shut."""
    valve = Valve(redis.port)
    yield valve
    valve.open()
    valve.close()


def test_a_process_is_cut_off(start: Any, redis: RedisServer, valve: Valve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sockets stay open and hear each other; when the way is there again, they get the rest, or are told."""
    now, offset = get_poller().clock.monotonic, [0.0]
    monkeypatch.setattr(get_poller().clock, "monotonic", lambda: now() + offset[0])
    monkeypatch.setattr(link, "CONNECT_TIMEOUT", 0.2)
    here, there = start(), start(f"redis://127.0.0.1:{valve.port}")
    plain, kept = there.join("plain"), there.join("kept")
    valve.shut()
    here.say("plain", 1)
    here.say("kept", 1)
    assert here.pubsub.flush(5)
    there.say("plain", 2)
    assert read_numbers(plain, 2) == [2]
    for _ in range(2):
        offset[0] += link.PING_INTERVAL
        for one in there.core._state.links:
            one.check()
    wait_until(lambda: there.ups[-1] is False)
    there.say("plain", 3)
    assert read_numbers(plain, 3) == [3]
    valve.open()
    wait_until(lambda: there.ups[-1] is True and "plain" in there.gaps)
    here.say("kept", 4)
    assert read_numbers(kept, 4) == [1, 4]


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.count = 0
        self._counting = gevent.spawn(self._run)
        gevent.sleep(0)

    def _run(self) -> None:
        while True:
            self.count += 1
            gevent.sleep(0)

    def stop(self) -> None:
        self._counting.kill()


TROUBLE: dict[str, Callable[[RedisServer, Valve], None]] = {
    "stopped": lambda redis, valve: redis.stop(),
    "frozen": lambda redis, valve: redis.freeze(),
    "blackholed": lambda redis, valve: valve.shut(),
    "slow": lambda redis, valve: valve.slow(0.05),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_nobody_waits_for_redis(start: Any, redis: RedisServer, valve: Valve, trouble: str) -> None:
    """Publishing does not give the loop its turn, so it cannot wait; and the loop turns on meanwhile."""
    here = start(f"redis://127.0.0.1:{valve.port}")
    client = here.join("plain")
    here.join("kept")
    TROUBLE[trouble](redis, valve)
    turns = Turns()
    switched: list[int] = []

    def publish() -> None:
        for number in range(1, 101):
            before = turns.count
            here.pubsub.publish("kept", str(number))
            here.pubsub.publish("plain", str(number))
            switched.append(turns.count - before)
            gevent.sleep(0)

    before = turns.count
    gevent.spawn(publish).get()
    assert read_numbers(client, 100) == list(range(1, 101))
    assert switched == [0] * 100 and turns.count - before >= 100
    turns.stop()
    if trouble == "frozen":
        redis.thaw()


def test_a_subscriber_waits_for_history_only_so_long(
    start: Any, redis: RedisServer, valve: Valve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its handler goes on with a gap; others' messages are not held up by it."""
    monkeypatch.setattr("geventws.pubsub.bus.bus.READ_TIMEOUT", 0.05)
    here = start(f"redis://127.0.0.1:{valve.port}")
    here.join("plain")
    valve.shut()
    recovered = here.pubsub.history("kept", since="epoch:1")
    assert recovered.gap and recovered.position is None
    client = here.room.connect(["kept"])
    valve.open()
    wait_until(lambda: here.core._arrivals.streams.get("kept").position)
    here.say("kept", 1)
    assert read_numbers(client, 1) == [1]


def test_a_mass_of_clients_comes_back(start: Any, redis: RedisServer) -> None:
    """Of each topic Redis is asked once, however many come back."""
    here = start()
    clients = [here.join("kept-1", "kept-2")]
    here.say("kept-1", 1, 2, 3)
    assert read_numbers(clients[0], 3) == [1, 2, 3]
    position = here.pubsub.history("kept-1", limit=0).position.rpartition(":")[0] + ":1"
    there = start()

    def come_back() -> Any:
        return there.pubsub.history("kept-1", since=position).messages

    before = count_scripts(redis)
    found = [gevent.spawn(come_back) for _ in range(500)]
    gevent.joinall(found, raise_error=True)
    assert all(one.value == ["2", "3"] for one in found)
    assert count_scripts(redis) - before == 1


def count_scripts(redis: RedisServer) -> int:
    lines = redis.ask("INFO", "commandstats").decode().splitlines()
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines if "cmdstat_evalsha:" in line)
