"""Peers that take their time: whether they are gone at their deadlines, and what others wait for meanwhile."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

from .. import dial, wire
from ..honest import Honest
from ..hosts import Victim
from ..peers import PATIENCE, Peer
from .floods import waited
from .memory import Attack, Measure

MANY = 1000
DEADLINES = {"head_timeout": 2.0, "keepalive_timeout": 2.0, "handshake_timeout": 2.0}
BODIES = DEADLINES | {"body_timeout": 2.0}
"""The server's clocks, set to what can be waited for."""

HEAD = wire.request("/page")
GET = b"GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HELLO = b"\x16\x03\x01\x02\x00\x01"
BODY = b"POST /page HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000\r\n\r\n"


class Dribble:
    """Connections that are sent a byte every 50 ms, all in one thread, until they are gone.

    Args:
        peers: the connections.
        data: what each of them is sent, a byte at a time.
    """

    def __init__(self, peers: list[Peer], data: bytes) -> None:
        self.living = {peer.socket: peer for peer in peers}
        self.answers: list[bytes] = []
        self._data = data
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        at = 0
        poll = select.poll()
        sockets = {sock.fileno(): sock for sock in self.living}
        for number in sockets:
            poll.register(number, select.POLLIN)
        while sockets and not self._over.is_set():
            for number, _ in poll.poll(50):
                if self._is_gone(sockets[number]):
                    poll.unregister(number)
                    self.living.pop(sockets.pop(number)).close()
            for sock in sockets.values() if at < len(self._data) else ():
                self._send(sock, self._data[at : at + 1])
            at += 1

    def _is_gone(self, sock: socket.socket) -> bool:
        """Take what has come; return whether that was the end."""
        try:
            data = sock.recv(4096)
        except OSError:
            return True
        if data:
            self.answers.append(data)
        return not data

    def _send(self, sock: socket.socket, data: bytes) -> None:
        try:
            sock.send(data)
        except OSError:
            pass

    def __enter__(self) -> Dribble:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()
        for peer in list(self.living.values()):
            peer.close()


def dribbled(first: bytes, rest: bytes, *, count: int = MANY, tls: bool = True) -> Attack:
    """An attack: many connections send something at once and the rest byte by byte; honest peers shake hands.

    Counts the connections that are left a second after their deadline.
    """

    def attack(victim: Victim) -> Measure:
        peers = [dial.connect(victim.port, tls=victim.tls and tls) for _ in range(count)]
        for peer in peers if first else ():
            peer.send(first)
        with Dribble(peers, rest) as dribble, Honest(victim, 2.0, handshakes=True) as honest:
            waits = honest.waits()
            end = time.monotonic() + 1.0
            while dribble.living and time.monotonic() < end:
                time.sleep(0.05)
            left = len(dribble.living)
        return {"left": left, **waited(waits)}

    return attack


def crowded_out(victim: Victim) -> Measure:
    """As many withheld bodies as the server takes connections; how long everybody else waits for another answer."""
    peers = [dial.connect(victim.port, tls=victim.tls) for _ in range(50)]
    for peer in peers:
        peer.send(BODY)
    began = time.monotonic()
    while not answered(victim) and time.monotonic() - began < PATIENCE:
        time.sleep(0.1)
    waited_for = time.monotonic() - began
    for peer in peers:
        peer.close()
    return {"s": round(waited_for, 1)}


def answered(victim: Victim) -> bool:
    """Whether a handshake is taken."""
    try:
        dial.shake(victim.port, "/echo", tls=victim.tls).close()
    except OSError:
        return False
    return True


def little_by_little(victim: Victim) -> Measure:
    """A peer takes 20 KB a second of 64 MB: the seconds until its connection is over."""
    peer = victim.meet("/slow", receive_buffer=1 << 14)
    began = time.monotonic()
    with contextlib.suppress(OSError):
        while time.monotonic() - began < PATIENCE and "ENDED" not in victim.read_all() and peer.socket.recv(2000):
            time.sleep(0.1)
    peer.close()
    return {"s": round(time.monotonic() - began, 1)}
