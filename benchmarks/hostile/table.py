"""The table: every attack, what is measured, and the bound.

A bound is what the defaults promise, whoever the peer is: 2 x `max_message_size` + 256 KB of memory for a
connection, 5 x while a text with a wide character waits; turns of the loop of 5 ms; and the clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import wire
from .attacks import deaf, ends, floods, forks, memory, proxies, rooms, slow, subscribers, text
from .attacks.floods import beside, bombs, many
from .attacks.memory import LIMIT, Attack, plain, sends, texts, zeros
from .attacks.slow import BODIES, DEADLINES, dribbled

HELD = 2 * (LIMIT >> 10) + 256
"""KB that are held for a connection at the most."""

WIDE = 5 * (LIMIT >> 10) + 256
"""The same while a text with a wide character waits to be taken."""

SHARED = 1024
"""KB that all connections share: the loop's buffer of 512 KB, which the first large batch fills, and what the
interpreter, the allocator and OpenSSL take when there is much to do."""

OBJECTS = 128
"""KB of a connection itself, and of its server's objects: a greenlet, a request, a socket and its TLS."""

WAITING = 64
"""KB that wait for a subscriber at the most."""

TURNS = {"ms median": 25.0, "ms p99": 100.0}
"""A few turns of 5 ms: five, and twenty where several peers flood at once."""

COLLECTED = {"ms p99": 1000.0}
"""Where a program has 10,000 connections, Python's garbage collector looks at all they are made of: that is the p99."""

GONE = {"left": 0} | TURNS
"""A second after their deadline none are left, and others were served meanwhile."""

SERVED = {"unserved": 0, "s CPU": 0.3}
"""Everybody else is served, and the loop does not spin: seconds of CPU in the second after it."""

SERVERS = ("pywsgi", "server", "pywsgi-callbacks", "server-tls", "server-callbacks-tls", "pywsgi-twin")
CLIENTS = ("client", "client-tls", "client-twin")
ALL = SERVERS + CLIENTS
PATCHED = tuple(f"{name}-patched" for name in ALL)
FORKED = ("pywsgi", "server-tls", "pywsgi-callbacks", "client", "pywsgi-libuv", "pywsgi-patched")
WITHOUT_TLS = ("pywsgi", "server", "pywsgi-callbacks", "server-callbacks")
OURS = ("server", "server-tls")
BLOCKING = ("pywsgi", "server-tls", "pywsgi-twin", "client")
ROOMS = ("pywsgi", "server", "server-tls", "pywsgi-twin")


@dataclass(frozen=True)
class Row:
    """One attack.

    Args:
        name: how it is asked for.
        what: what is done, in a line.
        attack: does it, and returns figures by their units.
        bounds: the most that each figure may be.
        hosts: the programs that a default run attacks.
        about: what the program has to be for it; see victim/.
    """

    name: str
    what: str
    attack: Attack
    bounds: dict[str, float] = field(hash=False)
    hosts: tuple[str, ...]
    about: dict[str, Any] = field(default_factory=dict, hash=False)


def holds(name: str, what: str, attack: Attack, bounds: dict[str, float], hosts: tuple[str, ...] = ALL) -> Row:
    """Return a row about memory."""
    return Row(name, what, attack, bounds, hosts, {"give_back": True})


def held(kilobytes: float, connections: int = 1) -> dict[str, float]:
    """Return the bound of what is held for some connections, as a process grows by it."""
    return {"KB": SHARED + (kilobytes + OBJECTS) * connections}


def clocks(options: dict[str, float]) -> dict[str, Any]:
    """Return what sets a server's clocks."""
    return {"options": options}


FORKS = {
    "gevent": "gevent.fork() in a handler, and a child that sleeps",
    "exception": "gevent.fork(), and a child that leaves its handler by an exception",
    "process": "multiprocessing.Process in a handler",
    "terminate": "multiprocessing.Process, terminated",
    "subprocess": "gevent.subprocess with an at-fork hook that yields",
}
EMOJI = texts(LIMIT, 200 << 10)
EMOJI_64K = texts(64 << 10, 270 << 10)
EMOJI_40 = texts(LIMIT, 15 << 10)
PLAIN = wire.text_with_emoji(LIMIT)

ROWS = (
    holds("emoji-busy", "deflated 1 MiB texts with an emoji, 200 KB; busy", sends(EMOJI, "/busy"), held(WIDE)),
    holds("emoji-echo", "the same; echo", sends(EMOJI, "/echo"), held(2 * WIDE)),
    holds("emoji-busy-40", "the same, 40 x 15 KB; busy", sends(EMOJI_40, "/busy", peers=40), held(WIDE, 40)),
    holds("emoji-echo-40", "the same, 40 x 15 KB; echo", sends(EMOJI_40, "/echo", peers=40), held(WIDE, 40)),
    holds("zeros-busy", "deflated 1 MiB of zeros, 200 KB; busy", sends(zeros(200 << 10), "/busy"), held(HELD)),
    holds("emoji-64k-busy", "deflated 64 KiB texts, 270 KB; busy", sends(EMOJI_64K, "/busy"), held(WIDE)),
    holds("emoji-reset", "1 MiB texts, 700 KB, then a RST while paused; busy",
          sends(texts(LIMIT, 700 << 10), "/busy", reset=True), held(WIDE)),
    holds("plain-emoji-busy", "plain 1 MiB texts with an emoji, 7 MB; busy",
          sends(plain(wire.TEXT, PLAIN, 7 << 20), "/busy", deflate=False), held(WIDE)),
    holds("plain-binary-busy", "plain 1 MiB binary, 7 MB; busy",
          sends(plain(wire.BINARY, bytes(LIMIT), 7 << 20), "/busy", deflate=False), held(HELD)),
    holds("pieces", "500,000 fragments of one two-byte character; streaming, wait()",
          sends(memory.fragments("é".encode(), 500_000), "/pieces", deflate=False), held(HELD), BLOCKING),
    holds("pings", "100,000 pings of 125 B to a peer that does not read; busy",
          sends(memory.pings(100_000), "/busy", receive_buffer=1 << 14), held(HELD)),
    holds("fragments", "131,071 fragments of one byte; busy",
          sends(memory.fragments(b"x", 131_071), "/busy", deflate=False), held(HELD)),
    holds("fragments-empty", "500,000 empty fragments; busy",
          sends(memory.fragments(b"", 500_000), "/busy", deflate=False), held(HELD)),
    holds("bomb", "one message of 1 GiB, deflated; echo", sends(memory.bomb, "/echo"), held(HELD)),
    holds("never-reads", "ten senders of 64 MB to a peer that takes nothing, after send_timeout",
          memory.never_reads, held(HELD)),
    holds("pings-unanswered", "20,000 ws.ping() that are never answered", memory.unanswered, held(HELD)),
    holds("room-never-reads", "20 MB published to a subscriber that takes nothing; closed with 1013",
          subscribers.never_reads("close"), held(WAITING), SERVERS),
    holds("room-drops", "the same; the oldest are dropped", subscribers.never_reads("drop_oldest"), held(WAITING),
          SERVERS),
    holds("room-topics", "20,000 topics of 256 emoji that one subscriber asks for", subscribers.many_topics, held(HELD),
          SERVERS),
    Row("room-left", "20 subscribers that hang up with a RST in the middle of a frame", subscribers.left_midway, SERVED,
        SERVERS),
    Row("room-flood", "4 peers that publish to 50 members, beside an echo", subscribers.flooded, TURNS, SERVERS),
    Row("alone", "no attack: what the measuring costs", floods.alone, TURNS, ALL),
    Row("flood-tiny", "16 peers of messages of one byte, beside an echo",
        beside(many(wire.BINARY, b"x"), 16), TURNS, ALL),
    Row("flood-pings", "16 peers of pings, beside an echo", beside(many(wire.PING), 16), TURNS, ALL),
    Row("flood-fragments", "16 peers of fragments, beside an echo", beside(floods.fragments, 16), TURNS, ALL),
    Row("flood-bombs", "4 peers of deflated 1 MiB texts, beside an echo", beside(bombs, 4), TURNS, ALL),
    Row("flood-handshakes", "16 peers of handshakes, beside an echo", floods.handshakes, TURNS, SERVERS),
    Row("pour", "a handler sends for ever to a fast reader, beside handshakes",
        beside(None, 1, "/pour", handshakes=True), TURNS, SERVERS),
    Row("pour-echo", "the same, beside an echo", beside(None, 1, "/pour"), TURNS, ALL),
    Row("reserved-opcode", "a frame with a reserved opcode, while a log handler's lock is held",
        deaf.beside(deaf.reserved_opcode), SERVED, PATCHED, {"held_log": True}),
    Row("no-memory", "a message that inflates to more than the process may have",
        deaf.beside(deaf.out_of_memory), SERVED, ALL, {"memory": 500 << 20}),
    Row("control-raises", "a ping, where on_control raises", deaf.beside(deaf.failing_control), SERVED, CLIENTS),
    Row("closed-under", "a socket closed under its connection, its number a stranger's",
        deaf.beside(deaf.closed_under), SERVED, ALL),
    Row("resets", "20 peers that hang up with a RST in a message", deaf.beside(deaf.resets), SERVED, ALL),
    Row("broken-rules", "frames that break six rules", deaf.beside(deaf.broken_rules), SERVED, ALL),
    *(Row(f"fork-{way}", what, forks.forked(way), {"harmed": 0}, FORKED) for way, what in FORKS.items()),
    Row("heads-dribbled", "1,000 heads, a byte at a time", dribbled(b"", slow.HEAD), GONE, OURS, clocks(DEADLINES)),
    Row("silent", "1,000 connections that say nothing", dribbled(b"", b""), GONE, OURS, clocks(DEADLINES)),
    Row("keep-alive", "1,000 connections after one request", dribbled(slow.GET, b""), GONE, OURS, clocks(DEADLINES)),
    Row("bodies-dribbled", "1,000 bodies, a byte at a time", dribbled(slow.BODY, b"x" * 5000), GONE, OURS,
        clocks(BODIES)),
    Row("bodies-withheld", "1,000 bodies that do not come", dribbled(slow.BODY, b""), GONE, OURS, clocks(BODIES)),
    Row("bodies-crowd", "50 bodies that do not come, with max_connections=50: seconds to the next handshake",
        slow.crowded_out, {"s": 3.5}, OURS, clocks(BODIES | {"max_connections": 50})),
    Row("tls-stalled", "1,000 TLS handshakes that stall", dribbled(slow.HELLO, b"", tls=False),
        GONE | {"ms p99": 1200}, ("server-tls",), clocks(DEADLINES)),
    Row("slow-reader", "64 MB to a reader of 20 KB a second, send_timeout 1 s", slow.little_by_little, {"s": 3}, ALL),
    Row("close-interrupted", "an interrupted close(), a silent peer, close_timeout 1 s", ends.interrupted_close,
        {"s": 2}, ALL),
    Row("held-up", "the loop held up past ping_timeout, the answers already there", ends.held_up, {"lost": 0}, ALL),
    Row("stop", "stop(0.5), ten peers that do not answer", ends.stopped, {"s": 0.8}, OURS),
    Row("gone", "300 peers gone, handlers that neither wait nor send", ends.gone, {"descriptors": 0}, ALL),
    Row("forged-lines", "newlines and escapes in paths, headers, reasons: what reaches the log", text.forge,
        {"forged": 0}, ALL, {"log": True}),
    Row("rooms-subscribe", "4 clients of rooms subscribe to ever other topics, and leave",
        rooms.flooded(rooms.subscribing, 4), TURNS, ROOMS),
    Row("rooms-history", "4 clients of rooms ask for 4 MB of history again and again",
        rooms.flooded(rooms.coming_back, 4), TURNS, ROOMS),
    Row("rooms-wrong", "4 clients of rooms send every kind of request that is wrong",
        rooms.flooded(rooms.wrong, 4), TURNS, ROOMS),
    Row("rooms-publish", "a client of rooms publishes 60 KB to a topic of 10,000",
        rooms.published(60_000, 10_000), TURNS | COLLECTED, ("pywsgi", "server")),
    Row("rooms-publish-1000", "a client of rooms publishes 60 KB to a topic of 1,000",
        rooms.published(60_000, 1000), TURNS, ("server-tls", "pywsgi-twin")),
    Row("rooms-refused", "1 MiB, a bomb of JSON, no JSON: how many are not closed", rooms.refused, {"left": 0},
        ROOMS),
    holds("rooms-topics", "20,000 subscriptions of a client of rooms that reads nothing",
          rooms.held(rooms.subscribing), held(HELD), ROOMS),
    holds("rooms-history-held", "4 MB of history, again and again, for a client that reads nothing",
          rooms.held(rooms.coming_back), held(HELD), ROOMS),
    *(Row(f"smuggling{via and '-' + via}", f"requests in the bodies of upgrade offers, {via or 'no proxy'}",
          proxies.smuggled(via), {"smuggled": 0}, WITHOUT_TLS) for via in ("", "nginx", "haproxy")),
)  # fmt: skip
