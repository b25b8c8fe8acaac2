"""The scripts, run by a real Redis: each message once, in one order, and what is kept of them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from kit.servers.redis import RedisServer

from geventws.pubsub.bus.wire.messages import PLACED_HEAD, Names
from geventws.pubsub.bus.wire.resp import Reader
from geventws.pubsub.bus.wire.scripts import (
    BATCH_BYTES,
    READ,
    WRITE,
    Reading,
    pack_read,
    pack_write,
    parse_reading,
)
from geventws.pubsub.history import Position, Rule

NAMES = Names("x:")
KEYS = NAMES.keys("room")
RULE = Rule(3, 60)


class Topic:
    """A topic of a real Redis, written and read by the scripts."""

    def __init__(self, redis: RedisServer) -> None:
        self.redis = redis
        for script in (WRITE, READ):
            name = redis.ask("SCRIPT", "LOAD", script)
            assert name == hashlib.sha1(script).hexdigest().encode()

    def write(self, number: int, data: bytes = b"data", node: bytes = b"12345678", rule: Rule = RULE) -> Any:
        return self._run(pack_write(KEYS, NAMES.channel("room"), node, number, rule, data))

    def read(self, after: Position | None = None, rule: Rule = RULE) -> Reading:
        return parse_reading(self._run(pack_read(KEYS, rule, after)))

    def _run(self, command: bytes) -> Any:
        return self.redis.ask(*split(command))


def split(command: bytes) -> list[bytes]:
    """Return the words of a command: what is sent is what a reader reads."""
    reader = Reader()
    reader.feed(command)
    return reader.gets()


@pytest.fixture
def topic(redis: RedisServer) -> Topic:
    return Topic(redis)


def offsets(reading: Reading) -> list[int]:
    return [entry.offset for entry in reading.entries]


def test_messages_are_kept_in_order(topic: Topic) -> None:
    before = topic.read()
    assert (before.offset, before.entries) == (0, [])
    for number in range(1, 3):
        assert topic.write(number, b"%d" % number) == 1
    reading = topic.read()
    assert (reading.epoch, reading.offset) == (before.epoch, 2)
    assert [(entry.offset, entry.data) for entry in reading.entries] == [(1, b"1"), (2, b"2")]
    assert all(0 <= entry.age < 10 for entry in reading.entries)
    assert offsets(topic.read(Position(reading.epoch, 1))) == [2]
    assert offsets(topic.read(Position(reading.epoch, 2))) == []
    assert offsets(topic.read(Position("another", 1))) == [1, 2]


def test_a_message_that_is_sent_twice_is_kept_once(topic: Topic) -> None:
    assert [topic.write(number) for number in (1, 2, 1, 2, 3)] == [1, 1, 0, 0, 1]
    assert topic.write(1, node=b"another1") == 1
    assert topic.read().offset == 4


def test_as_many_are_kept_as_the_rule_says(topic: Topic) -> None:
    for number in range(1, 6):
        topic.write(number)
    assert offsets(topic.read()) == [3, 4, 5]


def test_messages_go_before_the_epoch_does(topic: Topic) -> None:
    topic.write(1, rule=Rule(3, 0.001))
    while topic.redis.ask("EXISTS", KEYS[1]):
        pass
    reading = topic.read()
    assert (reading.offset, reading.entries) == (1, [])
    assert topic.write(2) == 1
    assert topic.read().epoch == reading.epoch


@pytest.mark.parametrize("lost", KEYS)
def test_what_is_evicted(topic: Topic, lost: bytes) -> None:
    """Without the hash, it is another epoch, and without the stream, what was before is missing."""
    topic.write(1)
    before = topic.read()
    topic.redis.ask("DEL", lost)
    topic.write(2)
    after = topic.read()
    if lost == KEYS[0]:
        assert after.epoch != before.epoch and offsets(after) == [1]
    else:
        assert after.epoch == before.epoch and offsets(after) == [2]


def test_processes_that_are_gone_are_forgotten(topic: Topic) -> None:
    for number in range(40):
        topic.write(1, node=b"node%04d" % number)
    assert topic.redis.ask("HLEN", KEYS[0]) == 42
    topic.redis.ask("HSET", KEYS[0], "node0000", "1:1")
    topic.write(1, node=b"one more")
    assert topic.redis.ask("HEXISTS", KEYS[0], "node0000") == 0
    assert topic.redis.ask("HLEN", KEYS[0]) == 42
    assert topic.write(1, node=b"node0001") == 0


def test_a_reading_has_a_bound_in_bytes(topic: Topic) -> None:
    large = bytes(BATCH_BYTES * 2 // 3)
    for number in range(1, 4):
        topic.write(number, large)
    reading = topic.read()
    assert offsets(reading) == [1] and reading.offset == 3
    topic.write(4, bytes(BATCH_BYTES * 2))
    assert offsets(topic.read(Position(reading.epoch, 3))) == [4]


def test_large_offsets_stay_numbers(topic: Topic) -> None:
    topic.write(1)
    topic.redis.ask("HSET", KEYS[0], "o", str(10**15))
    topic.redis.ask("DEL", KEYS[1])
    topic.write(2)
    assert offsets(topic.read()) == [10**15 + 1]


def test_what_is_published_has_its_position(topic: Topic) -> None:
    epoch = topic.read().epoch.encode()
    with topic.redis.subscribed(NAMES.channel("room")) as receive:
        topic.write(1, b"data")
        assert receive() == PLACED_HEAD + epoch + b":1:data"


@pytest.mark.parametrize("reply", [None, b"", [], [b"e", b"1", b"1"], [b"e", b"x", b"1", []], [b"e", b"1", b"1", [1]]])
def test_what_is_no_reading_is_told(reply: Any) -> None:
    with pytest.raises(ValueError):
        parse_reading(reply)
