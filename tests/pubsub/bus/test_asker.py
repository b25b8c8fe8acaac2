"""Asker: what waits is bounded and counted, what was not answered is sent again, and what is refused is told once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from kit.servers.redis import RedisServer
from kit.sites.buses import wait_until

from geventws.engine.loop.poller import get_poller
from geventws.pubsub.bus import asker as module
from geventws.pubsub.bus.asker import Asker
from geventws.pubsub.bus.connection import Address
from geventws.pubsub.bus.wire.resp import pack


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.ups = 0
        self.errors: list[Exception] = []

    def link_up(self) -> None:
        self.ups += 1

    def link_down(self, error: Exception) -> None:
        self.errors.append(error)


@pytest.fixture
def ask(serve: Any, redis: RedisServer) -> Iterator[Callable[..., tuple[Asker, Owner]]]:
    """Make an asker, and start it."""
    made: list[Asker] = []

    def ask(*scripts: bytes, start: bool = True) -> tuple[Asker, Owner]:
        owner = Owner()
        asker = Asker(Address(redis.url), get_poller(), owner, scripts)
        made.append(asker)
        if start:
            asker.link.start()
            wait_until(lambda: owner.ups)
        return asker, owner

    yield ask
    for asker in made:
        asker.link.close()


def counts(asker: Asker) -> tuple[int, int, int, int]:
    assert asker.published == asker.sent + asker.queued + asker.dropped
    return asker.published, asker.sent, asker.queued, asker.dropped


def push(number: int | str) -> bytes:
    """A command whose effect can be seen, in its order."""
    return pack(b"RPUSH", b"list", str(number).encode())


def pushed(redis: RedisServer) -> list[int]:
    return [int(number) for number in redis.ask("LRANGE", "list", "0", "-1")]


def test_messages_are_sent_in_order_and_counted(ask: Any, redis: RedisServer) -> None:
    asker, _ = ask()
    for number in range(50):
        assert asker.publish(push(number))
    assert counts(asker) == (50, 0, 50, 0)
    wait_until(lambda: not asker.queued)
    assert counts(asker) == (50, 50, 0, 0)
    assert pushed(redis) == list(range(50))


def test_questions_are_answered(ask: Any, redis: RedisServer) -> None:
    asker, _ = ask()
    answers: list[Any] = []
    asker.ask(pack(b"ECHO", b"a"), answers.append)
    asker.ping()
    asker.ask(pack(b"ECHO", b"b"), answers.append)
    wait_until(lambda: len(answers) == 2)
    assert answers == [b"a", b"b"] and counts(asker) == (0, 0, 0, 0)


def test_what_waits_for_a_connection_is_sent_when_there_is_one(ask: Any, redis: RedisServer) -> None:
    asker, owner = ask(b"return 1", start=False)
    for number in range(3):
        asker.publish(push(number))
    asker.link.start()
    wait_until(lambda: not asker.queued)
    assert pushed(redis) == [0, 1, 2]
    assert redis.ask("SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db") == [1]


def test_what_is_not_answered_is_sent_again(ask: Any, redis: RedisServer) -> None:
    """Redis, frozen, has the commands and has not run them when the connection is cut here."""
    asker, owner = ask()
    redis.freeze()
    for number in range(3):
        asker.publish(push(number))
    gevent.sleep(0)
    asker.link.abort("of the test")
    wait_until(lambda: owner.errors)
    asker.publish(push(3))
    redis.thaw()
    wait_until(lambda: not asker.queued)
    assert counts(asker) == (4, 4, 0, 0)
    assert pushed(redis)[-4:] == [0, 1, 2, 3]


def test_the_number_of_messages_has_a_bound(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    asker, _ = ask(start=False)
    assert [asker.publish(push(number)) for number in range(5)] == [True, True, True, False, False]
    assert counts(asker) == (5, 0, 3, 2)


def test_the_number_of_questions_has_a_bound(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members come and go at the pace of clients: what Redis does not answer must not wait without end."""
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    asker, _ = ask(start=False)
    answers: list[Any] = []
    for _ in range(3):
        asker.publish(push(0))
    for number in range(5):
        asker.ask(push(number), answers.append)
    assert answers == [], "nobody is called while he asks"
    gevent.sleep(0)
    assert answers == [None, None]
    asker.link.start()
    wait_until(lambda: len(answers) == 5)
    assert answers[2:] == [4, 5, 6] and counts(asker) == (3, 3, 0, 0)


def test_their_bytes_have_a_bound(ask: Any, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    asker, _ = ask(start=False)
    assert asker.publish(push("x" * 5000)), "one message may always wait"
    assert not asker.publish(push(1))
    asker.link.start()
    wait_until(lambda: not asker.queued)
    assert [asker.publish(push("x" * 400)) for _ in range(4)] == [True, True, False, False]
    wait_until(lambda: not asker.queued)
    assert counts(asker) == (6, 3, 0, 3)


def test_nothing_waits_for_a_connection_for_long(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(get_poller().clock, "monotonic", lambda: now[0])
    asker, _ = ask(start=False)
    answers: list[Any] = []
    asker.publish(push(0))
    asker.ask(pack(b"PING"), answers.append)
    now[0] += module.MOST_SECONDS - 1
    asker.publish(push(1))
    asker.expire()
    assert counts(asker) == (2, 0, 2, 0) and answers == []
    now[0] += 2
    asker.expire()
    assert counts(asker) == (2, 0, 1, 1) and answers == [None]


def test_what_is_refused_is_dropped_and_told_once(ask: Any, redis: RedisServer, log: Any) -> None:
    asker, _ = ask()
    redis.ask("SET", "list", "no list")
    for number in range(3):
        asker.publish(push(number))
    answers: list[Any] = []
    asker.ask(pack(b"NO-SUCH-COMMAND"), answers.append)
    wait_until(lambda: answers)
    gevent.sleep(0)
    assert counts(asker) == (3, 0, 0, 3) and answers == [None]
    told = [record.getMessage() for record in log()]
    assert len(told) == 2 and told[0].startswith("Redis has refused a command: WRONGTYPE")


def test_a_script_that_was_forgotten_is_loaded_again(ask: Any, redis: RedisServer) -> None:
    asker, owner = ask(b"return 1")
    redis.ask("SCRIPT", "FLUSH")
    run = pack(b"EVALSHA", b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db", b"0")
    for _ in range(3):
        asker.publish(run)
    wait_until(lambda: not asker.queued)
    assert counts(asker) == (3, 3, 0, 0)
    assert asker.link.connects == 2


def test_a_master_that_has_become_a_replica_is_left(ask: Any, redis: RedisServer) -> None:
    """As at a failover: what it refuses goes to the master, once the name leads there."""
    asker, owner = ask()
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    asker.publish(push(1))
    wait_until(lambda: owner.errors)
    redis.ask("REPLICAOF", "NO", "ONE")
    wait_until(lambda: not asker.queued)
    assert counts(asker) == (1, 1, 0, 0) and pushed(redis) == [1]
