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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gevent
from gevent import socket as gsocket

from geventws.engine.loop.poller import Poller, get_poller, set_poller
from geventws.engine.loop.system import Clock, System


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


class HandTimer:
    """A timer of a `HandClock`."""

    def __init__(self, clock: HandClock, seconds: float, repeat: float = 0.0) -> None:
        self._clock, self._seconds, self._repeat = clock, seconds, repeat
        self.due = 0.0

    def start(self, callback: Callable[..., object], *arguments: Any, update: bool = False) -> None:
        self._call = callback, arguments
        self._set(self._seconds)

    def _set(self, seconds: float) -> None:
        self.due = self._clock.now + seconds
        self._clock.timers.append(self)

    def strike(self) -> None:
        self.close()
        if self._repeat:
            self._set(self._repeat)
        callback, arguments = self._call
        callback(*arguments)

    def close(self) -> None:
        if self.pending:
            self._clock.timers.remove(self)

    stop = close

    @property
    def pending(self) -> bool:
        return self in self._clock.timers

    active = pending


class HandClock(Clock):
    """A clock that stands still until it is turned. Callbacks are the loop's, as their order needs no time.

    Attributes:
        now: the time.
        timers: those that are due later.
    """

    def __init__(self, loop: Any) -> None:
        super().__init__(loop)
        self.now = 1000.0
        self.timers: list[HandTimer] = []
        self.monotonic = lambda: self.now
        self.timer = lambda seconds, repeat=0.0: HandTimer(self, seconds, repeat)

    def turn(self, seconds: float) -> None:
        """Let time go by: call what is due meanwhile, in the hub, where timers call; then let the greenlets run."""
        end = self.now + seconds
        while self.timers and min(timer.due for timer in self.timers) <= end:
            timer = min(self.timers, key=lambda timer: timer.due)
            self.now = max(self.now, timer.due)
            gevent.get_hub().loop.run_callback(timer.strike)
            gevent.sleep(0)
        self.now = end
        gevent.sleep(0)


@dataclass
class World:
    """A poller, and what stands in for the system below it."""

    poller: Poller
    system: ScriptedSystem
    clock: HandClock


@contextlib.contextmanager
def stand_in() -> Iterator[World]:
    """Have this thread's loop use a system and a clock of ours; see the module."""
    hub, before = gevent.get_hub(), get_poller()
    world = World(None, ScriptedSystem(), HandClock(hub.loop))  # type: ignore[arg-type]
    world.poller = Poller(hub, world.system, world.clock)
    set_poller(world.poller)
    try:
        yield world
    finally:
        set_poller(before)
        world.poller.let_go()
