"""Channels: subscribed in batches, left some time later, and heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from kit.servers.redis import RedisServer
from kit.sites.buses import wait_until

from geventws.engine.loop.poller import get_poller
from geventws.pubsub.bus import channels as module
from geventws.pubsub.bus.channels import Channels
from geventws.pubsub.bus.connection import Address


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.ups = 0
        self.errors: list[Exception] = []
        self.taken: list[tuple[str, bytes]] = []
        self.confirmed: list[tuple[str, bool]] = []
        self.probes = 0
        self.left: list[str] = []

    def link_up(self) -> None:
        self.ups += 1

    def link_down(self, error: Exception) -> None:
        self.errors.append(error)

    def take(self, topic: str, data: bytes) -> None:
        self.taken.append((topic, data))

    def confirm(self, topic: str, missed: bool) -> None:
        self.confirmed.append((topic, missed))

    def send_probe(self) -> None:
        self.probes += 1

    def leave(self, topic: str) -> None:
        self.left.append(topic)


@pytest.fixture
def listen(serve: Any, redis: RedisServer) -> Iterator[Callable[..., tuple[Channels, Owner]]]:
    """Open a connection that receives."""
    opened: list[Channels] = []

    def listen(url: str = redis.url, start: bool = True) -> tuple[Channels, Owner]:
        owner = Owner()
        channels = Channels(Address(url), get_poller(), owner, str.encode, b"own")
        opened.append(channels)
        if start:
            channels.link.start()
            wait_until(lambda: owner.ups)
        return channels, owner

    yield listen
    for channels in opened:
        channels.link.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of this loop's poller, to be set."""
    now = [1000.0]
    monkeypatch.setattr(get_poller().clock, "monotonic", lambda: now[0])
    return now


def count_channels(redis: RedisServer) -> int:
    return len(redis.ask("PUBSUB", "CHANNELS"))


def test_what_is_published_is_heard(listen: Any, redis: RedisServer) -> None:
    channels, owner = listen()
    assert not channels.watch("a")
    wait_until(lambda: owner.confirmed)
    assert owner.confirmed == [("a", False)]
    assert redis.ask("PUBLISH", "a", "1") == 1 and redis.ask("PUBLISH", "b", "2") == 0
    wait_until(lambda: owner.taken)
    assert owner.taken == [("a", b"1")]


def test_one_that_is_there_before_the_connection_misses_nothing(listen: Any) -> None:
    channels, owner = listen(start=False)
    channels.watch("a")
    channels.link.start()
    wait_until(lambda: owner.confirmed)
    assert owner.confirmed == [("a", False)]


def test_many_are_subscribed_in_batches(listen: Any, redis: RedisServer) -> None:
    channels, owner = listen()
    topics = [f"topic {number}" for number in range(1234)]
    before = int(info(redis, "total_commands_processed"))
    for topic in topics:
        channels.watch(topic)
    wait_until(lambda: len(owner.confirmed) == len(topics))
    assert [topic for topic, _ in owner.confirmed] == topics
    assert count_channels(redis) == len(topics) + 1
    assert info(redis, "cmdstat_subscribe").startswith("calls=4,")  # the own one, and 3 batches
    assert int(info(redis, "total_commands_processed")) - before < 20


def info(redis: RedisServer, name: str) -> str:
    lines = redis.ask("INFO", "all").decode().splitlines()
    return next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:"))


def test_after_a_cut_everything_is_subscribed_again_and_may_be_missed(listen: Any, redis: RedisServer) -> None:
    channels, owner = listen()
    for number in range(1000):
        channels.watch(f"topic {number}")
    wait_until(lambda: len(owner.confirmed) == 1000)
    owner.confirmed.clear()
    redis.kill_clients("pubsub")
    wait_until(lambda: owner.errors)
    channels.watch("later")
    wait_until(lambda: len(owner.confirmed) == 1001)
    assert all(missed for _, missed in owner.confirmed)
    channels.watch("after")
    wait_until(lambda: len(owner.confirmed) == 1002)
    assert owner.confirmed[-1] == ("after", False)


def test_what_could_not_be_subscribed_at_first_may_be_missed(listen: Any, redis: RedisServer) -> None:
    redis.stop()
    channels, owner = listen(start=False)
    channels.watch("a")
    channels.link.start()
    wait_until(lambda: owner.errors)
    redis.start()
    wait_until(lambda: owner.confirmed)
    assert owner.confirmed == [("a", True)]


def test_a_topic_is_left_some_time_later(listen: Any, redis: RedisServer, clock: list[float]) -> None:
    channels, owner = listen()
    for topic in ("a", "b"):
        channels.watch(topic)
    wait_until(lambda: len(owner.confirmed) == 2)
    channels.unwatch("a")
    channels.unwatch("b")
    clock[0] += module.LINGER - 1
    channels.check()
    assert channels.watch("b"), "it is subscribed still"
    clock[0] += 1
    channels.check()
    assert owner.left == ["a"]
    wait_until(lambda: count_channels(redis) == 2)  # the own one, and b
    assert redis.ask("PUBLISH", "a", "1") == 0 and redis.ask("PUBLISH", "b", "2") == 1
    wait_until(lambda: owner.taken)
    assert owner.taken == [("b", b"2")] and len(owner.confirmed) == 2
    channels.watch("a")
    wait_until(lambda: len(owner.confirmed) == 3)


def test_one_that_leaves_while_nothing_is_there_is_not_subscribed_again(
    listen: Any, redis: RedisServer, clock: list[float]
) -> None:
    channels, owner = listen()
    channels.watch("a")
    channels.watch("b")
    wait_until(lambda: len(owner.confirmed) == 2)
    redis.stop()
    wait_until(lambda: owner.errors)
    channels.unwatch("a")
    clock[0] += module.LINGER
    channels.check()
    redis.start()
    wait_until(lambda: len(owner.confirmed) == 3)
    assert owner.confirmed[2] == ("b", True)


def test_a_deaf_connection_is_noticed(listen: Any, redis: RedisServer, clock: list[float]) -> None:
    channels, owner = listen()
    clock[0] += module.PROBE_INTERVAL - 1
    channels.check()
    assert owner.probes == 0
    clock[0] += 1
    channels.check()
    channels.check()
    assert owner.probes == 1
    received = len(redis.ask("CLIENT", "LIST"))
    assert received and redis.ask("PUBLISH", "own", "") == 1
    wait_until(lambda: channels._received == clock[0])  # it hears
    clock[0] += module.PROBE_TIMEOUT
    channels.check()
    assert owner.probes == 1 and owner.ups == 1
    clock[0] += module.PROBE_INTERVAL
    channels.check()
    assert owner.probes == 2
    clock[0] += module.PROBE_TIMEOUT
    channels.check()
    wait_until(lambda: owner.ups == 2)


def test_a_ping_is_answered(listen: Any) -> None:
    channels, owner = listen()
    before = channels.link._heard
    channels.ping()
    wait_until(lambda: channels.link._heard > before)
    assert not owner.errors


def test_who_may_not_subscribe_is_told(listen: Any, redis: RedisServer) -> None:
    redis.ask("ACL", "SETUSER", "ana", "on", "nopass", "+@all", "~*", "resetchannels", "&own")
    channels, owner = listen(redis.url.replace("//", "//ana:x@"))
    channels.watch("a")
    wait_until(lambda: owner.errors)
    assert "NOPERM" in str(owner.errors[0])
    gevent.sleep(0)
