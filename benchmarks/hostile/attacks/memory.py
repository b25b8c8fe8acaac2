"""Memory that a peer decides: what the program grows by, at the peak, in KB."""

from __future__ import annotations

import time
from collections.abc import Callable

from .. import wire
from ..hosts import Victim
from ..peers import Peer

LIMIT = 1 << 20
"""`max_message_size`, as it is by default."""

Measure = dict[str, float]
Attack = Callable[[Victim], Measure]
Bytes = Callable[[Peer], bytes]


def grown(victim: Victim, before: int, after: int) -> Measure:
    """Return a growth as the row's figure."""
    return {"KB": round((after - before) / 1024)}


def warm_up(victim: Victim) -> int:
    """Have the program do once what it does for anyone, and return what it holds then."""
    for deflate in (False, True):
        peer = victim.meet("/echo", deflate=deflate)
        for _ in range(20):
            peer.send(peer.frame(wire.PING) + peer.frame(wire.TEXT, b"a", fin=False) + peer.frame(0, b"b"))
            peer.send(peer.deflated(wire.BINARY, bytes(3000)) if deflate else peer.frame(wire.BINARY, bytes(3000)))
            peer.ask(b"over")
        peer.close()
    victim.settle()
    victim.forget_peak()
    return victim.memory()


def texts(size: int, total: int) -> Bytes:
    """Compressed texts of a size, with one character that makes Python keep four bytes for each."""
    message = wire.text_with_emoji(size)
    return lambda peer: repeat(peer.deflated(wire.TEXT, message), total)


def zeros(total: int) -> Bytes:
    """Compressed binary messages of a megabyte."""
    return lambda peer: repeat(peer.deflated(wire.BINARY, bytes(LIMIT)), total)


def plain(opcode: int, message: bytes, total: int) -> Bytes:
    """Messages as they are."""
    return lambda peer: repeat(peer.frame(opcode, message), total)


def fragments(payload: bytes, count: int) -> Bytes:
    """A message of many fragments that does not end."""
    return lambda peer: peer.frame(wire.TEXT, payload, fin=False) + peer.frame(0, payload, fin=False) * count


def pings(count: int) -> Bytes:
    """Pings, as many as one read takes and more."""
    return lambda peer: peer.frame(wire.PING, b"x" * 125) * count


def bomb(peer: Peer) -> bytes:
    """One compressed message of a gigabyte."""
    return peer.frame(wire.BINARY, wire.zeros(1 << 10), rsv=wire.DEFLATED)


def repeat(data: bytes, total: int) -> bytes:
    """Return data as often as fits into a total, in bytes; once at least."""
    return data * max(1, total // len(data))


def sends(
    what: Bytes, path: str, *, peers: int = 1, deflate: bool = True, reset: bool = False, receive_buffer: int = 0
) -> Attack:
    """An attack: `peers` connections send their bytes as fast as they are taken, and stay, or hang up with a RST.

    They read nothing; `receive_buffer` bounds what their kernel takes.
    """

    def attack(victim: Victim) -> Measure:
        before = warm_up(victim)
        crowd = [victim.meet(path, deflate=deflate, receive_buffer=receive_buffer) for _ in range(peers)]
        for peer in crowd:
            peer.push(what(peer))
        victim.settle()
        if reset:
            for peer in crowd:
                peer.reset()
            victim.settle()
        after = victim.peak()
        for peer in crowd:
            peer.close()
        return grown(victim, before, after)

    return attack


def never_reads(victim: Victim) -> Measure:
    """Ten senders of 64 MB, whose peer takes nothing, and what is left once `send_timeout` has ended it."""
    before = warm_up(victim)
    peer = victim.meet("/block", receive_buffer=1 << 14)
    victim.wait_for("ENDED")
    victim.settle()
    after = victim.memory()
    peer.close()
    return grown(victim, before, after)


def unanswered(victim: Victim) -> Measure:
    """A peer that answers none of 20,000 pings."""
    before = warm_up(victim)
    peer = victim.meet("/ping")
    began = time.monotonic()
    while "PINGED" not in victim.read_all() and time.monotonic() - began < 20:
        if not peer.drain(0.2):
            break
    victim.settle()
    after = victim.peak()
    peer.close()
    return grown(victim, before, after)
