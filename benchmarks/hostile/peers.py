"""Peers on plain sockets: one that may do anything, and a crowd that behaves."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time

from . import wire

PATIENCE = 20.0
"""Seconds to wait for an answer before there is none."""

STALL = 0.4
"""Seconds without a byte taken after which the other side does not read."""

RESET = struct.pack("ii", 1, 0)


class Peer:
    """The attacker's end of one connection.

    Args:
        sock: a connected socket, through its TLS handshake.
        masked: whether this end is a client's.
    """

    def __init__(self, sock: socket.socket, *, masked: bool = True) -> None:
        self.socket = sock
        self.masked = masked
        self.data = bytearray()
        sock.settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def frame(self, opcode: int, payload: bytes = b"", **bits: int) -> bytes:
        """Return a frame as this end has to send it."""
        return wire.frame(opcode, payload, masked=self.masked, **bits)

    def deflated(self, opcode: int, message: bytes) -> bytes:
        """Return a compressed message as this end has to send it."""
        return wire.deflated(opcode, message, masked=self.masked)

    def send(self, data: bytes) -> None:
        """Send everything."""
        self.socket.sendall(data)

    def push(self, data: bytes, stall: float = STALL) -> int:
        """Send until nothing has been taken for `stall` seconds, or the connection ends; return the bytes taken."""
        view, sent = memoryview(data), 0
        self.socket.settimeout(stall)
        with contextlib.suppress(TimeoutError, OSError):
            while sent < len(view):
                sent += self.socket.send(view[sent : sent + (1 << 16)])
        with contextlib.suppress(OSError):
            self.socket.settimeout(PATIENCE)
        return sent

    def read_head(self) -> bytes:
        """Return the head of an HTTP message."""
        while b"\r\n\r\n" not in self.data:
            self._receive()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        return bytes(head)

    def read_frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame."""
        while (found := wire.read_frame(self.data)) is None:
            self._receive()
        opcode, payload, size = found
        del self.data[:size]
        return opcode, payload

    def ask(self, message: bytes) -> float:
        """Send a message, wait for its echo among whatever comes, and return the seconds that took."""
        began = time.perf_counter()
        self.send(self.frame(wire.BINARY, message))
        while (found := self.read_frame()) != (wire.BINARY, message):
            if found[0] == wire.CLOSE:
                raise ConnectionError(f"closed instead of answered: {found[1]!r}")
            if found[0] == wire.PING:
                self.send(self.frame(wire.PONG, found[1]))
        return time.perf_counter() - began

    def answers(self, patience: float = PATIENCE, message: bytes = b"are you there") -> bool:
        """Whether a message is echoed."""
        try:
            self.socket.settimeout(patience)
            self.ask(message)
        except OSError:
            return False
        return True

    def drain(self, seconds: float) -> int:
        """Take whatever comes for so long, or until the end; return its size."""
        end, taken = time.monotonic() + seconds, 0
        with contextlib.suppress(OSError):
            while (left := end - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not (data := self.socket.recv(1 << 18)):
                    break
                taken += len(data)
        return taken

    def seconds_until_end(self, limit: float) -> float:
        """Read until the other side is gone, for `limit` seconds at the most; return how long that took."""
        began = time.monotonic()
        self.drain(limit)
        return time.monotonic() - began

    def reset(self) -> None:
        """Hang up with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def _receive(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the connection ended")
        self.data += data


class Flood:
    """Peers that send one piece of bytes over and over, and take whatever comes, in a thread.

    Args:
        peers: the connections.
        data: what each sends.
    """

    def __init__(self, peers: list[Peer], data: bytes) -> None:
        self.peers = peers
        self._data = memoryview(data)
        self._at = dict.fromkeys(peers, 0)
        self.sent = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        poll = select.poll()  # which knows more than 1,024 descriptors
        for peer in self.peers:
            peer.socket.setblocking(False)
            poll.register(peer.socket, select.POLLIN | (select.POLLOUT if self._data else 0))
        while not self._over.is_set():
            if not any([self._step(peer) for peer in self.peers]):
                poll.poll(50)

    def _step(self, peer: Peer) -> bool:
        """Send and receive what is possible; return whether anything was."""
        moved = False
        with contextlib.suppress(ssl.SSLError, OSError):
            at = self._at[peer]
            count = peer.socket.send(self._data[at : at + (1 << 16)]) if self._data else 0
            self._at[peer] = (at + count) % max(len(self._data), 1)
            self.sent += count
            moved = count > 0
        with contextlib.suppress(ssl.SSLError, OSError):
            moved = len(peer.socket.recv(1 << 18)) > 0 or moved
        return moved

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()
        for peer in self.peers:
            peer.close()


class Crowd:
    """Peers that behave: a thread answers their pings, and keeps what else comes.

    Args:
        peers: the connections.
    """

    def __init__(self, peers: list[Peer]) -> None:
        self.peers = peers
        self.frames: dict[Peer, list[tuple[int, bytes]]] = {peer: [] for peer in peers}
        self.ended: set[Peer] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.is_set():
            living = {peer.socket: peer for peer in self.peers if peer not in self.ended}
            ready = select.select(list(living), [], [], 0.05)[0]
            for sock in ready:
                self._receive(living[sock])

    def _receive(self, peer: Peer) -> None:
        """Read what is there, and answer the pings in it."""
        try:
            peer.socket.settimeout(1)
            peer._receive()
            while (found := wire.read_frame(peer.data)) is not None:
                opcode, payload, size = found
                del peer.data[:size]
                if opcode == wire.PING:
                    peer.send(peer.frame(wire.PONG, payload))
                else:
                    self.frames[peer].append((opcode, payload))
        except OSError:
            self.ended.add(peer)

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()
