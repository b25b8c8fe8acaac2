"""A valve: what connects through it is forwarded, until it is shut; then nothing comes through, and nothing is said."""

from __future__ import annotations

from typing import Any

import gevent
from gevent import socket as gsocket
from gevent.event import Event
from gevent.pool import Group
from gevent.server import StreamServer


class Valve:
    """A proxy to a port of this machine.

    Attributes:
        port: where it listens.
        delay: seconds that everything takes.
    """

    def __init__(self, target: int) -> None:
        self.delay = 0.0
        self._target = target
        self._open = Event()
        self._open.set()
        self._pumps = Group()
        self._sockets: list[Any] = []
        self._server = StreamServer(("127.0.0.1", 0), self._accept)
        self._server.start()
        self.port: int = self._server.server_port

    def shut(self) -> None:
        """Let nothing through, as a network that has gone; new connections are accepted by the kernel."""
        self._open.clear()

    def slow(self, delay: float) -> None:
        """Let everything take some seconds from now on."""
        self.delay = delay

    def open(self) -> None:
        """Let everything through again, also what has waited."""
        self._open.set()

    def close(self) -> None:
        """End everything."""
        self._server.stop()
        self._pumps.kill()
        for socket in self._sockets:
            socket.close()

    def _accept(self, client: Any, _address: Any) -> None:
        self._open.wait()
        try:
            server = gsocket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._sockets += [client, server]
        for source, target in ((client, server), (server, client)):
            self._pumps.spawn(self._pump, source, target)
        self._pumps.join()

    def _pump(self, source: Any, target: Any) -> None:
        try:
            while data := source.recv(65536):
                if self.delay:
                    gevent.sleep(self.delay)
                self._open.wait()
                target.sendall(data)
            target.shutdown(gsocket.SHUT_WR)
        except OSError:
            source.close()
            target.close()
