"""Rooms: a subscriber that does wrong costs a bounded amount of memory, and nobody else messages or turns."""

from __future__ import annotations

from .. import wire
from ..honest import Honest
from ..hosts import Victim
from ..peers import Flood, Peer
from .deaf import OTHERS, PATIENCE, beside
from .floods import SECONDS, waited
from .memory import Attack, Measure, grown, warm_up

PUBLISHED = 20_000
"""Messages of a kilobyte that are published to a subscriber that does not read: more than the kernel takes."""

ROOM = "/room"


def join(victim: Victim, policy: str, *, receive_buffer: int = 0) -> Peer:
    """Return a peer that has subscribed."""
    peer = victim.meet(ROOM, receive_buffer=receive_buffer)
    peer.send(peer.frame(wire.BINARY, b"join room %s" % policy.encode()))
    peer.ask(b"joined")
    return peer


def published(peer: Peer, payload: bytes) -> bytes:
    """Return the message that has a payload published to the room."""
    return peer.frame(wire.BINARY, b"publish " + payload)


def never_reads(policy: str) -> Attack:
    """A subscriber that never reads, while 20 MB are published to it."""

    def attack(victim: Victim) -> Measure:
        before = warm_up(victim)
        deaf = join(victim, policy, receive_buffer=1 << 14)
        publisher = victim.meet(ROOM)
        for _ in range(PUBLISHED // 100):
            publisher.send(published(publisher, b"x" * 1000) * 100)
            publisher.ask(b"published")
        victim.settle()
        after = victim.peak()
        deaf.close()
        return grown(victim, before, after)

    return attack


def many_topics(victim: Victim) -> Measure:
    """A subscriber that asks for 20,000 topics, each as long as it may be, of characters that take four bytes."""
    before = warm_up(victim)
    peer = victim.meet(ROOM)
    for number in range(20_000):
        topic = f"{number:05}" + wire.EMOJI * 251
        peer.send(peer.frame(wire.BINARY, b"join %s close" % topic.encode()))
        if number % 1000 == 999:
            peer.ask(b"so far")
    victim.settle()
    after = victim.peak()
    peer.close()
    return grown(victim, before, after)


def leave_midway(victim: Victim) -> None:
    """Subscribers that hang up with a RST in the middle of a frame of theirs, and of one that is published to them."""
    publisher = victim.meet(ROOM)
    leavers = [join(victim, "close", receive_buffer=1 << 14) for _ in range(20)]
    for number, leaver in enumerate(leavers):
        publisher.send(published(publisher, bytes(100_000)))
        publisher.ask(b"published %d" % number)
        leaver.send(published(leaver, bytes(1000))[:500])
        leaver.reset()


def left_midway(victim: Victim) -> Measure:
    """The same beside members that behave, who get what is published afterwards."""
    members = [join(victim, "close") for _ in range(OTHERS)]
    with Flood(members, b""):
        figures = beside(leave_midway)(victim)
    late = [join(victim, "close") for _ in range(OTHERS)]
    publisher = victim.meet(ROOM)
    publisher.send(published(publisher, b"are you there"))
    for member in late:
        member.socket.settimeout(PATIENCE)
        figures["unserved"] += member.read_frame() != (wire.BINARY, b"are you there")
    return figures


def flooded(victim: Victim) -> Measure:
    """Four peers that publish over and over to 50 members, beside an echo."""
    members = [join(victim, "drop_oldest") for _ in range(50)]
    publishers = [victim.meet(ROOM) for _ in range(4)]
    data = published(publishers[0], b"x" * 20) * 10_000
    with Flood(members, b""), Honest(victim, SECONDS) as honest, Flood(publishers, data):
        return waited(honest.waits())
