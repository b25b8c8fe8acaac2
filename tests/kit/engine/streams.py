"""A stream by itself: what the poller and the stream ask of a connection, and the other end of the socket."""

from __future__ import annotations

from typing import Any

import gevent

from geventws.engine.stream import Stream

from .system import Calls, World, connect_pair


class Peer:
    """A stream, the other end of its connection, and the channel that the poller knows.

    Attributes:
        stream: what is tested.
        calls: what it calls.
        timed_out: how often its channel was told that the peer is too slow.
    """

    peer = "a stream"

    def __init__(self, world: World, send_timeout: float | None) -> None:
        ours, self.far = connect_pair()
        self.socket, self.fd = ours, ours.fileno()
        self.inbox: list[Any] = []
        self.timed_out = 0
        self.stream = Stream(ours, self, world.poller, send_timeout)
        self.calls: Calls = world.system.sockets[-1]
        self.flush = self.stream.flush
        self.writable = self.stream.writable
        self.stream.open()

    def readable(self) -> None:
        pass

    def run(self) -> bool:
        return False

    def receive_eof(self, _errno: int) -> None:
        self.stream.close()

    receive_error = close = lambda self: self.stream.close()

    def send_timed_out(self) -> None:
        self.timed_out += 1

    def read(self) -> bytes:
        """Return what is on the wire, and let the loop go on until nothing more comes."""
        data = b""
        while part := self._read_some():
            data += part
        return data

    def _read_some(self) -> bytes:
        for _ in range(3):
            gevent.sleep(0.0005)  # the loop looks at its sockets
        try:
            return self.far._sock.recv(1 << 20)
        except BlockingIOError:
            return b""
