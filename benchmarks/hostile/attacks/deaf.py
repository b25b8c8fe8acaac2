"""The process never goes deaf: one connection breaks, and others are asked whether they are still served."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from .. import wire
from ..hosts import Victim
from .memory import Attack, Measure, repeat

OTHERS = 5
"""Connections that are open when one breaks, and that are opened after it."""

BUSY = 1.0
"""Seconds for which the CPU is watched afterwards."""

PATIENCE = 3.0
"""Seconds in which the others have to be answered."""


def beside(breaks: Callable[[Victim], None]) -> Attack:
    """An attack: something breaks one connection; counts those that are not served then, old and new."""

    def attack(victim: Victim) -> Measure:
        old = [victim.meet("/echo") for _ in range(OTHERS)]
        for peer in old:
            peer.ask(b"before")
        breaks(victim)
        unserved = sum(not peer.answers(PATIENCE) for peer in old) + sum(not serves(victim) for _ in range(OTHERS))
        used = victim.cpu()
        time.sleep(BUSY)
        return {"unserved": unserved, "s CPU": round(victim.cpu() - used, 2)}

    return attack


def serves(victim: Victim) -> bool:
    """Whether a new connection is served."""
    try:
        return victim.meet("/echo").answers(PATIENCE)
    except OSError:
        return False


def reserved_opcode(victim: Victim) -> None:
    """One frame that no endpoint may send."""
    victim.meet("/echo").send(b"\x8b\x80\0\0\0\0" if not victim.is_client else b"\x8b\x00")


def out_of_memory(victim: Victim) -> None:
    """A message that inflates to more than the process may have."""
    peer = victim.meet("/large", deflate=True)
    with contextlib.suppress(OSError):
        peer.push(peer.frame(wire.BINARY, wire.zeros(600), rsv=wire.DEFLATED))
        peer.drain(3.0)


def failing_control(victim: Victim) -> None:
    """A ping, for a program whose `on_control` raises."""
    peer = victim.meet("/control")
    peer.send(peer.frame(wire.PING))
    peer.drain(0.5)


def closed_under(victim: Victim) -> None:
    """A socket that is closed under its connection while a child holds it, and whose number goes to a stranger."""
    peer = victim.meet("/under")
    ports = peer.socket.getsockname()[1], peer.socket.getpeername()[1]
    peer.send(peer.frame(wire.BINARY, b"close %d %d" % ports))
    victim.wait_for("CLOSED")
    peer.push(repeat(peer.frame(wire.BINARY, b"x"), 1000))
    if stolen := int(victim.wait_for("STOLEN")):
        raise RuntimeError(f"{stolen} bytes of a stranger were read")


def resets(victim: Victim) -> None:
    """Peers that hang up with a RST in the middle of a message."""
    for _ in range(20):
        peer = victim.meet("/echo")
        peer.send(peer.frame(wire.BINARY, bytes(1000)) * 100 + peer.frame(wire.BINARY, bytes(1000))[:500])
        peer.reset()


def broken_rules(victim: Victim) -> None:
    """Frames that break each rule, one connection each."""
    for head in (b"\x83", b"\xc1", b"\x91", b"\xa1", b"\x09", b"\x80"):
        peer = victim.meet("/echo")
        peer.send(head + (b"\x80\0\0\0\0" if peer.masked else b"\x00"))
        peer.drain(0.1)

