"""What stands in for the system below the engine: a clock that a test turns, and sockets whose calls follow a script.

    with stand_in() as world:             connections that are opened in here use both
        calls = world.system.sockets[-1]  those of the one opened last
        calls.sends += [3, AGAIN, GONE]   its next `send` takes 3 bytes, the one after it none, and then it is lost
        world.clock.turn(30)              what is due within 30 seconds happens
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gevent import socket as gsocket

from geventws.engine.loop.poller import Poller, get_poller
from geventws.engine.loop.system import System
from geventws.testing import HandClock, hand_clock


def connect_pair() -> tuple[Any, Any]:
    """Return both ends of a TCP connection."""
    with gsocket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        far = gsocket.create_connection(server.getsockname())
        near, _address = server.accept()
    return near, far


def failing(number: int) -> OSError:
    """Return the error of a system call."""
    return OSError(number, os.strerror(number))


AGAIN = failing(errno.EAGAIN)
GONE = failing(errno.ECONNRESET)
NO_ROOM = failing(errno.ENOBUFS)

Step = int | OSError
"""How much a call takes at the most, or what it raises."""


class Calls:
    """The calls on a socket: each goes by the next step of its script, and by the system once there is none.

    Attributes:
        sends: the script of `send` and `sendmsg`.
        receives: that of `recv_into`.
        made: the names of the calls so far, without those that change nothing.
        sent: the bytes that were taken.
        flags: those of each `send`.
    """

    def __init__(self, real: Any) -> None:
        self._real = real
        self.sends: list[Step] = []
        self.receives: list[Step] = []
        self.made: list[str] = []
        self.sent = bytearray()
        self.flags: list[int] = []
        self.fileno, self.recv, self.setsockopt = real.fileno, real.recv, real.setsockopt

    def send(self, data: Any, flags: int = 0) -> int:
        self.made.append("send")
        self.flags.append(flags)
        return self._send(bytes(data))

    def sendmsg(self, buffers: Any) -> int:
        self.made.append("sendmsg")
        return self._send(b"".join(bytes(one) for one in buffers))

    def _send(self, data: bytes) -> int:
        most = take_step(self.sends)
        count: int = self._real.send(data if most is None else data[:most])
        self.sent += data[:count]
        return count

    def recv_into(self, buffer: memoryview) -> int:
        self.made.append("recv_into")
        most = take_step(self.receives)
        count: int = self._real.recv_into(buffer if most is None else buffer[:most])
        return count

    def shutdown(self, how: int) -> None:
        self.made.append("shutdown")
        self._real.shutdown(how)

    def close(self) -> None:
        self.made.append("close")
        self._real.close()


def take_step(script: list[Step]) -> int | None:
    """Return how much a call takes; None for all. Raises what it is to raise."""
    step = script.pop(0) if script else None
    if isinstance(step, OSError):
        raise type(step)(*step.args)
    return step


class ScriptedSystem(System):
    """A system whose sockets follow a script.

    Attributes:
        sockets: the calls of each, in the order in which they were opened.
        unacknowledged: what a peer has not taken of what its kernel holds, as far as anybody knows.
    """

    in_core = False

    def __init__(self) -> None:
        self.sockets: list[Calls] = []
        self.unacknowledged = 0

    def get_calls(self, socket: Any) -> Any:
        self.sockets.append(Calls(super().get_calls(socket)))
        return self.sockets[-1]

    def count_unacknowledged(self, fd: int) -> int:
        return self.unacknowledged


@dataclass
class World:
    """A poller, and what stands in for the system below it."""

    poller: Poller
    system: ScriptedSystem
    clock: HandClock


@contextlib.contextmanager
def stand_in() -> Iterator[World]:
    """Have this thread's loop use a system and a clock of ours; see the module."""
    system = ScriptedSystem()
    with hand_clock(system) as clock:
        yield World(get_poller(), system, clock)
