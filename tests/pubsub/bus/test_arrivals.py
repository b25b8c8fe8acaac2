"""Arrivals: own messages and repeated ones are dropped, what is none of ours is skipped, and tickets come back."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from kit.sites.buses import RULE, Ear

from geventws.engine.loop.poller import get_poller
from geventws.protocol.prepared import PreparedMessage
from geventws.pubsub.bus import arrivals as module
from geventws.pubsub.bus.arrivals import Arrivals
from geventws.pubsub.bus.wire.messages import PLACED_HEAD, pack_message

OWN, OTHER = b"own node", b"another1"


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def asked() -> list[Any]:
    return []


@pytest.fixture
def arrivals(ear: Ear, asked: list[Any]) -> Arrivals:
    return Arrivals(get_poller(), ear, {OWN}, lambda stream, done: asked.append((stream, done)))


def pack(number: int, node: bytes = OTHER, key: str | None = None) -> bytes:
    return pack_message(node, number, PreparedMessage(f"{number}"), key)


def payloads(ear: Ear) -> list[bytes]:
    return [payload for _, payload, _ in ear.plain]


def test_others_messages_are_delivered_once(arrivals: Arrivals, ear: Ear) -> None:
    for number in (1, 2, 1, 2, 5, 4, 6):
        arrivals.take("room", pack(number, key="k"))
    arrivals.take("room", pack(1, b"the next"))
    assert ear.plain == [("room", payload, key) for payload, key in
                         [(b"1", "k"), (b"2", "k"), (b"5", "k"), (b"6", "k"), (b"1", None)]]  # fmt: skip
    assert (arrivals.received, arrivals.repeated) == (5, 3)


def test_own_messages_are_delivered_already(arrivals: Arrivals, ear: Ear) -> None:
    arrivals.take("room", pack(1, OWN))
    assert ear.plain == [] and arrivals.received == 0


def test_only_so_many_processes_are_known(arrivals: Arrivals, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NODES", 2)
    for node in (b"node 001", b"node 002", b"node 003", b"node 001"):
        arrivals.take("room", pack(1, node))
    assert len(ear.plain) == 4


def test_what_is_none_of_ours_is_skipped_and_told_once(arrivals: Arrivals, ear: Ear, log: Any, serve: Any) -> None:
    for data in (b"\x02 of the next version", b"", b"\x01", PLACED_HEAD + b"nonsense", pack(1)):
        arrivals.take("room", data)
    assert payloads(ear) == [b"1"] and arrivals.skipped == 4
    gevent.sleep(0)
    assert [record.getMessage() for record in log()] == [
        "a message to topic 'room' was skipped: its version is 2, not 1; further ones are only counted"
    ]


def test_a_ticket_comes_back_once(arrivals: Arrivals, ear: Ear, asked: list[Any]) -> None:
    arrivals.streams.watch("room", RULE, False)
    arrivals.confirm("room", False)
    asked.pop()[1]([b"e", b"0", b"0", []])
    arrivals.keep_ticket(OWN, 1, 77)
    for offset, data in enumerate([pack(1, OWN), pack(1, OTHER), pack(2, OWN)], 1):
        arrivals.take("room", PLACED_HEAD + b"e:%d:" % offset + data)
    assert ear.placed == [(1, b"1", 77), (2, b"1", None), (3, b"2", None)]
    assert arrivals.received == 3


def test_only_so_many_tickets_are_kept(arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TICKETS", 3)
    for number in range(10):
        arrivals.keep_ticket(OWN, number, number)
    assert list(arrivals._tickets) == [(OWN, 7), (OWN, 8), (OWN, 9)]


def test_what_only_another_process_keeps_is_delivered_once(arrivals: Arrivals, ear: Ear) -> None:
    for data in (pack(1), pack(1), pack(2, OWN), b"nonsense"):
        arrivals.take("room", PLACED_HEAD + b"e:1:" + data)
    assert ear.placed == [] and payloads(ear) == [b"1"] and arrivals.skipped == 1


def test_a_gap_is_told_where_nothing_is_kept(arrivals: Arrivals, ear: Ear, asked: list[Any]) -> None:
    arrivals.streams.watch("kept", RULE, False)
    for topic, missed in (("plain", False), ("plain", True), ("kept", True)):
        arrivals.confirm(topic, missed)
    assert ear.gaps == ["plain"] and arrivals.gaps == 1
    assert [stream.topic for stream, _ in asked] == ["kept"]
