"""How a connection ends, and a server: in time, and with nothing left."""

from __future__ import annotations

import time

from .. import wire
from ..hosts import Victim
from ..peers import PATIENCE, Peer
from .memory import Measure


def interrupted_close(victim: Victim) -> Measure:
    """A handler gives up waiting for its close, and the peer says nothing: the seconds until the end."""
    peer = victim.meet("/interrupt")
    victim.wait_for("INTERRUPTED")
    return {"s": round(peer.seconds_until_end(PATIENCE), 1)}


def held_up(victim: Victim) -> Measure:
    """The loop is held up past ping_timeout while the answer to a ping lies there: the connections that are lost."""
    peers = [victim.meet("/held") for _ in range(10)]
    for peer in peers:
        answer_ping(peer)
    peers[0].send(peers[0].frame(wire.BINARY, b"hold 2"))
    time.sleep(0.3)  # it is held up by now, and some pings are under way
    for peer in peers:
        peer.send(peer.frame(wire.PONG) + peer.frame(wire.BINARY, b"alive"))
    return {"lost": sum(not hears(peer, b"alive") for peer in peers)}


def answer_ping(peer: Peer) -> None:
    """Wait for the first ping, and leave it unanswered."""
    while peer.read_frame()[0] != wire.PING:
        pass


def hears(peer: Peer, message: bytes) -> bool:
    """Whether a message comes before the end."""
    try:
        while (found := peer.read_frame())[1] != message:
            if found[0] == wire.CLOSE:
                return False
    except OSError:
        return False
    return True


def stopped(victim: Victim) -> Measure:
    """The server stops within half a second, and ten peers answer no close frame: the seconds that takes."""
    peers = [victim.meet("/echo") for _ in range(10)]
    for peer in peers:
        peer.ask(b"before")
    victim.command("stop 0.5")
    took = float(victim.wait_for("STOPPED"))
    for peer in peers:
        peer.close()
    return {"s": took}


def gone(victim: Victim) -> Measure:
    """300 peers go, whose handlers neither wait nor send: the descriptors that are left."""
    victim.meet("/echo").ask(b"before")
    victim.settle()
    before = victim.descriptors()
    peers = [victim.meet("/busy") for _ in range(300)]
    for peer in peers:
        peer.close()
    end = time.monotonic() + 3
    while victim.descriptors() > before and time.monotonic() < end:
        time.sleep(0.1)
    return {"descriptors": victim.descriptors() - before}
