"""A server in the test's own thread, with its raw clients and its log."""

from __future__ import annotations

from typing import Any

from gevent import pywsgi
from gevent.event import Event
from gevent.pool import Pool
from kit.clients import RawClient

SETTLE = 3.0
"""Seconds in which every connection of a test has to be over once its clients are gone."""


class Lines(list):
    """A server's log: the lines, and a way to wait for them."""

    def __init__(self) -> None:
        super().__init__()
        self._written = Event()

    def write(self, data: str) -> None:
        """Take what the server logs."""
        self.extend(line for line in data.splitlines() if line)
        self._written.set()

    def flush(self) -> None:
        """Do nothing: all is written (PEP 3333 wants this of `wsgi.errors`)."""

    def wait(self, count: int = 1) -> list[str]:
        """Block until there are that many lines."""
        while len(self) < count:
            self._written.clear()
            assert self._written.wait(SETTLE), f"no line {count} in {self}"
        return list(self)


class Site:
    """A pywsgi server in this thread: where it is, who is connected, what it logged."""

    def __init__(self, application: Any, *, tls: Any = None, server_class: Any = pywsgi.WSGIServer, **options: Any):
        self.access, self.errors = Lines(), Lines()
        self.pool = Pool()
        self.tls = tls
        options = {"log": self.access, "error_log": self.errors, "spawn": self.pool, **options}
        self.server = server_class(("127.0.0.1", 0), application, **options)
        self.server.start()
        self.port: int = self.server.server_port
        self._clients: list[RawClient] = []

    def dial(self, **options: Any) -> RawClient:
        """Return a client that has said nothing yet."""
        client = RawClient(self.port, self.tls, **options)
        self._clients.append(client)
        return client

    def connect(self, path: str = "/", frames: bytes = b"", receive_buffer: int = 0, **changed: Any) -> RawClient:
        """Return a client that has shaken hands."""
        client = self.dial(receive_buffer=receive_buffer)
        client.open(frames, path, **changed)
        return client

    def settle(self) -> None:
        """Block until no connection is left, as far as the server sees it."""
        assert self.pool.join(SETTLE), f"still running: {list(self.pool)}"

    def close(self) -> None:
        """Stop. What still runs when the clients are gone is an error, and is killed."""
        for client in self._clients:
            client.close()
        self.server.close()
        done = self.pool.join(SETTLE)
        left = list(self.pool)
        self.pool.kill()
        assert done, f"left running: {left}"
