"""A process that forks: what that costs the parent's connections."""

from __future__ import annotations

import os
import signal
import time

from .. import wire
from ..hosts import Victim
from ..peers import Crowd, Peer
from .memory import Attack, Measure

OTHERS = 5
"""Connections that the handler that forks has nothing to do with."""

LIFE = 3.5
"""Seconds to wait: the child lives for three, while the clocks of what it inherits run."""


def forked(way: str) -> Attack:
    """An attack: a handler forks in some way; counts connections that end, and answers that are missing or doubled."""

    def attack(victim: Victim) -> Measure:
        peers = [victim.meet("/fork") for _ in range(OTHERS + 1)]
        with Crowd(peers) as crowd:
            for number, peer in enumerate(peers):
                peer.send(peer.frame(wire.BINARY, b"before %d" % number))
            peers[0].send(peers[0].frame(wire.BINARY, way.encode()))
            child = int(victim.wait_for("CHILD"))
            for number, peer in enumerate(peers):
                peer.send(peer.frame(wire.BINARY, b"at once %d" % number))
            time.sleep(LIFE)
            for number, peer in enumerate(peers):
                send_if_open(peer, b"after %d" % number)
            time.sleep(0.5)
        kill(child)
        expected = {peer: said(number, way) for number, peer in enumerate(peers)}
        return {"harmed": sum(crowd.frames[peer] != expected[peer] or peer in crowd.ended for peer in peers)}

    return attack


def said(number: int, way: str) -> list[tuple[int, bytes]]:
    """Return the frames that a peer has to be sent."""
    words = [b"before", way.encode(), b"at once", b"after"] if number == 0 else [b"before", b"at once", b"after"]
    return [(wire.BINARY, word if word == way.encode() else word + b" %d" % number) for word in words]


def send_if_open(peer: Peer, message: bytes) -> None:
    """Send a message; a connection that is gone is counted elsewhere."""
    try:
        peer.send(peer.frame(wire.BINARY, message))
    except OSError:
        pass


def kill(child: int) -> None:
    """End a child that has outlived its work."""
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
