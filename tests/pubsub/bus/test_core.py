"""Core: two connections, whatever the number of topics; what is published arrives elsewhere, once."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from kit.sites.buses import RULE, wait_until

from geventws.engine.loop.poller import get_poller
from geventws.pubsub.bus import core as module
from geventws.pubsub.bus.link import Link


def test_two_connections_whatever_the_number_of_topics(party: Any, redis: Any) -> None:
    one = party()
    for number in range(200):
        gevent.spawn(one.bus.subscribe, f"topic {number}", RULE if number % 2 else None).get()
    wait_until(lambda: len(one.confirmed) == 200)
    one.say("topic 1", "hello", RULE)
    assert one.bus.flush(5)
    assert (redis.count_clients("pubsub"), redis.count_clients("normal")) == (1, 1)


def test_what_is_published_arrives_elsewhere(party: Any) -> None:
    here, there = party(), party()
    for one in (here, there):
        one.join("room")
    for text in ("a", "b", "c"):
        assert here.say("room", text)
    wait_until(lambda: len(there.ear.plain) == 3)
    assert there.ear.plain == [("room", text, None) for text in (b"a", b"b", b"c")]
    assert here.ear.plain == [], "that is delivered already"
    assert here.bus.stats[:5] == (True, 3, 3, 0, 0) and there.bus.stats.received == 3


def test_what_is_kept_arrives_everywhere_in_one_order(party: Any) -> None:
    parties = [party() for _ in range(3)]
    for one in parties:
        one.join("room", RULE)
    for number in range(30):
        parties[number % 3].say("room", str(number), RULE, ticket=number)
        if not number % 7:
            gevent.sleep(0)
    wait_until(lambda: all(len(one.ear.placed) == 30 for one in parties))
    orders = [[(offset, payload) for offset, payload, _ in one.ear.placed] for one in parties]
    assert orders[0] == orders[1] == orders[2]
    assert [offset for offset, _ in orders[0]] == list(range(1, 31))
    for index, one in enumerate(parties):
        tickets = [ticket for _, _, ticket in one.ear.placed if ticket is not None]
        assert tickets == list(range(index, 30, 3)), "each knows its own"


def test_prefixes_keep_applications_apart(party: Any, redis: Any) -> None:
    here, there, elsewhere = party(prefix="a:"), party(prefix="a:"), party(prefix="b:")
    for one in (there, elsewhere):
        one.join("room")
        one.join("kept", RULE)
    here.say("room", "hello")
    here.say("kept", "hello", RULE)
    wait_until(lambda: there.ear.plain and there.ear.placed)
    elsewhere.join("another")
    assert elsewhere.ear.plain == elsewhere.ear.placed == []
    assert all(key.startswith((b"a:", b"b:")) for key in redis.ask("KEYS", "*"))


def test_the_clock_ticks(party: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits too long is dropped, and links are looked after, without anybody's asking."""
    monkeypatch.setattr(module, "TICK", 0.01)
    now = get_poller().clock.monotonic
    offset = [0.0]
    monkeypatch.setattr(get_poller().clock, "monotonic", lambda: now() + offset[0])
    one = party("redis://127.0.0.1:1")
    gevent.spawn(one.say, "room", "lost").get()
    assert one.bus.stats[1:5] == (1, 0, 1, 0)
    offset[0] = 60.0
    wait_until(lambda: one.bus.stats.dropped == 1)


def test_the_clock_ticks_on_where_something_raises(party: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.01)
    looks: list[None] = []

    def check(_link: Link) -> None:
        looks.append(None)
        raise MemoryError

    monkeypatch.setattr(Link, "check", check)
    party().say("room", "hello")
    wait_until(lambda: len(looks) >= 3)


def test_a_probe_is_heard(party: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = party()
    one.join("room")
    core = one.bus._lodging.core
    core._channels._received = 0.0
    core.send_probe()
    wait_until(lambda: core._channels._received)
