"""Clients of a rooms endpoint that ask for as much as they can: who else waits, and what is held for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .. import wire
from ..honest import Honest
from ..hosts import Victim
from ..peers import Crowd, Flood, Peer
from .floods import SECONDS, waited
from .memory import Attack, Measure, grown, warm_up

PATH, PROTOCOL = "/rooms", "geventws.rooms.v1"
Requests = Callable[[], list[Any]]

WRONG = [
    {"type": "later"}, {"type": "subscribe"}, {"type": "subscribe", "topic": ""}, {"type": "subscribe", "topic": 7},
    {"type": "subscribe", "topic": "x" * 60_000}, {"type": "subscribe", "topic": "a", "since": None},
    {"type": "publish", "topic": "a"}, {"type": "publish", "topic": "a", "data": [[[]]]},
    {"type": "publish", "topic": "a", "base64": "?" * 60_000}, {"type": "publish", "topic": "a", "base64": "YQ"},
    {"type": "presence", "topic": {"a": [1] * 100}}, {"type": "publish", "topic": "secret", "data": "x" * 60_000},
]  # fmt: skip
"""Requests that are answered with errors."""

BOMB = '{"type":"ping","id":1,"x":[' + "[]," * 20_000 + "[]]}"
"""What is no request at all, and would be a large tree of lists."""


def subscribing() -> list[Any]:
    """Subscriptions to ever other topics, and their ends."""
    kinds = ("subscribe", "subscribe", "unsubscribe")
    return [{"type": kinds[number % 3], "topic": f"t{number % 5000}", "presence": True} for number in range(20_000)]


def coming_back() -> list[Any]:
    """The whole history of a topic, again and again: the victim keeps 4 MB of it."""
    return [{"type": "subscribe", "topic": "history", "since": ""}] * 1000


def wrong() -> list[Any]:
    """Every kind of request that is wrong."""
    return WRONG * 200


def encode(peer: Peer, requests: list[Any]) -> bytes:
    """Return requests as frames."""
    texts = [json.dumps({"id": number, **request}).encode() for number, request in enumerate(requests, 1)]
    return b"".join([peer.frame(wire.TEXT, text) for text in texts])


def join(victim: Victim, topic: str) -> Peer:
    """Return a peer that is subscribed."""
    peer = victim.meet(PATH, protocol=PROTOCOL)
    peer.send(encode(peer, [{"type": "subscribe", "topic": topic}]))
    while b'"subscribed"' not in peer.read_frame()[1]:
        pass
    return peer


def flooded(requests: Requests, peers: int) -> Attack:
    """An attack: so many clients send requests over and over, and read what they get; an honest peer asks beside."""

    def attack(victim: Victim) -> Measure:
        crowd = [victim.meet(PATH, protocol=PROTOCOL) for _ in range(peers)]
        with Honest(victim, SECONDS) as honest, Flood(crowd, encode(crowd[0], requests())):
            return waited(honest.waits())

    return attack


def published(size: int, subscribers: int) -> Attack:
    """An attack: one client publishes as fast as it can to a topic with many subscribers, who read."""

    def attack(victim: Victim) -> Measure:
        crowd = [join(victim, "large") for _ in range(subscribers)]
        publisher = victim.meet(PATH, protocol=PROTOCOL)
        data = encode(publisher, [{"type": "publish", "topic": "large", "data": "x" * size}])
        with Honest(victim, SECONDS) as honest, Flood(crowd, b""), Flood([publisher], data):
            return waited(honest.waits())

    return attack


def refused(victim: Victim) -> Measure:
    """A message of 1 MiB, a bomb of JSON, text that is no JSON, and a binary message: how many are not closed."""
    bad = [b'{"type":"publish","id":1,"topic":"a","data":"' + b"x" * (1 << 20) + b'"}', BOMB.encode(), b"{", b"["]
    peers = [victim.meet(PATH, protocol=PROTOCOL) for _ in range(len(bad) + 1)]
    with Crowd(peers) as crowd:
        for peer, payload in zip(peers, [*bad, b""], strict=True):
            peer.push(peer.frame(wire.TEXT if payload else wire.BINARY, payload))
        victim.settle()
    closed = [peer for peer in peers if any(opcode == wire.CLOSE for opcode, _ in crowd.frames[peer])]
    return {"left": len(peers) - len(closed)}


def held(requests: Requests) -> Attack:
    """An attack: a client sends requests as fast as they are taken, and reads nothing."""

    def attack(victim: Victim) -> Measure:
        warm_up(victim)
        join(victim, "history").close()
        victim.settle()
        victim.forget_peak()
        before = victim.memory()
        peer = victim.meet(PATH, protocol=PROTOCOL, receive_buffer=1 << 14)
        peer.push(encode(peer, requests()))
        victim.settle()
        return grown(victim, before, victim.peak())

    return attack
