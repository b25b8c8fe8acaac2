"""Nobody starves: how long an honest peer waits beside a flood, in milliseconds."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable

from .. import dial, wire
from ..honest import Honest
from ..hosts import Victim
from ..peers import Flood, Peer
from .memory import Attack, Bytes, Measure

SECONDS = 2.0
"""How long a flood lasts, at least; an honest peer that is not answered makes it longer."""


def waited(waits: list[float]) -> Measure:
    """Return median and p99 as the row's figures."""
    ordered = sorted(waits)
    return {"ms median": round(statistics.median(ordered), 1), "ms p99": round(ordered[int(len(ordered) * 0.99)], 1)}


def many(opcode: int, payload: bytes = b"") -> Bytes:
    """A hundred thousand small frames."""
    return lambda peer: peer.frame(opcode, payload) * 100_000


def fragments(peer: Peer) -> bytes:
    """A message in 10,001 fragments of a byte."""
    return peer.frame(wire.TEXT, b"x", fin=False) + peer.frame(0, b"x", fin=False) * 10_000 + peer.frame(0)


def bombs(peer: Peer) -> bytes:
    """Compressed texts of a megabyte, each with an emoji."""
    return peer.deflated(wire.TEXT, wire.text_with_emoji(1 << 20)) * 100


def beside(what: Bytes | None, peers: int, path: str = "/echo", *, handshakes: bool = False) -> Attack:
    """An attack: so many peers send over and over what they are given, and an honest one asks."""

    def attack(victim: Victim) -> Measure:
        crowd = [victim.meet(path, deflate=what is bombs) for _ in range(peers)]
        data = what(crowd[0]) if what else b""
        with Honest(victim, SECONDS, handshakes=handshakes) as honest, Flood(crowd, data):
            return waited(honest.waits())

    return attack


def alone(victim: Victim) -> Measure:
    """No attack: what an honest peer waits for anyway."""
    with Honest(victim, 1.0) as honest:
        return waited(honest.waits())


class Dialers:
    """Threads that open connections one after the other, and hang up."""

    def __init__(self, count: int, dial_one: Callable[[], None]) -> None:
        self._dial = dial_one
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._dial()
            except OSError:
                continue

    def __enter__(self) -> Dialers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def handshakes(victim: Victim) -> Measure:
    """Sixteen peers open connection after connection."""

    def dial_one() -> None:
        dial.shake(victim.port, "/echo", tls=victim.tls).close()

    with Honest(victim, SECONDS) as honest, Dialers(16, dial_one):
        return waited(honest.waits())
