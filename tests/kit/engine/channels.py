"""Channels of a poller, in place of connections: each notes what it is told, and may have a greenlet that waits."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import gevent

from geventws.engine.loop.poller import Poller, switch_to


class Channel:
    """A channel on one end of a pair of sockets, which receives by itself.

    Attributes:
        far: the other end.
        told: what it was told and where, in order: pairs of a name and a greenlet.
        on: functions to be called in a callback, by its name.
        waiting: the greenlet in `wait`, if there is one.
    """

    peer = "a channel"

    def __init__(self, poller: Poller, name: str = "") -> None:
        self.poller, self.name = poller, name
        self.near, self.far = socket.socketpair()  # ours has the lowest number that is free
        self.near.setblocking(False)
        self.fd = self.near.fileno()
        self.inbox: list[Any] = []
        self.told: list[tuple[str, Any]] = []
        self.on: dict[str, Callable[[], object]] = {}
        self.waiting: Any = None
        poller.interest.register(self)

    def _tell(self, name: str) -> None:
        self.told.append((name, gevent.getcurrent()))
        if name in self.on:
            self.on[name]()

    @property
    def names(self) -> list[str]:
        """What it was told."""
        return [name for name, _greenlet in self.told]

    def refuse_text(self) -> None:
        self._tell("refuse_text")

    def receive_data(self, data: memoryview) -> None:
        self.inbox.append(bytes(data))
        self._tell("receive_data")

    def readable(self) -> None:
        try:
            data = self.near.recv(1000)
        except BlockingIOError:
            return
        if data:
            self.inbox.append(data)
            self._tell("readable")
        else:
            self.receive_eof(0)

    def writable(self) -> None:
        self._tell("writable")

    def receive_eof(self, _errno: int) -> None:
        self.close()
        self._tell("receive_eof")

    def receive_error(self) -> None:
        self.close()
        self._tell("receive_error")

    def flush(self) -> None:
        self._tell("flush")

    def run(self) -> bool:
        self._tell("run")
        waiting, self.waiting = self.waiting, None
        if waiting is None or not self.inbox:
            self.waiting = waiting
            return False
        switch_to(waiting)
        return True

    def wait(self, patient: bool = True) -> Any:
        """Return what has come; blocks until there is something."""
        if not self.inbox:
            self.waiting = gevent.getcurrent()
            self.poller.park(self, patient)
        return self.inbox.pop(0)

    def close(self) -> None:
        self.poller.interest.unregister(self)
        self.near.close()
        self.far.close()
