"""The poller of one loop: it receives for all connections at once, and runs the greenlets that wait for it.

A batch has two halves. First everything that is ready is received, scanned and put into the inboxes, without
running anybody's code; then the greenlets that wait for it are run, one after the other (the run queue). So a message
costs a share of one C call and one switch, and a handler that closes its neighbour meets no half-processed batch.

The contract of callbacks. All that a poller calls of a connection (`Channel`, but for `run`), and all that is called
through `call`, is a callback:

* It runs in the hub, or in the greenlet of any handler: one that waits for a message receives the next batch itself
  (`park`), and delivers it to all connections.
* It never blocks, and never switches: a batch is half delivered then. `may_block` tells whether the code that runs is
  in a callback; what would block there returns or raises instead, as it does in the hub.
* It never raises. What does come out of one, as for want of memory, is logged and ends its own connection (`fail`);
  all others get their messages, and the handler whose greenlet it was learns nothing of it.

User code that is called from a callback goes through `call_out`, which holds it to the same.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from gevent.exceptions import BlockingSwitchOutError, HubDestroyed
from gevent.monkey import get_original
from greenlet import getcurrent, greenlet

from .forks import keep, register, unregister
from .interest import InterestList
from .logs import LogQueue
from .outbox import FEW, Outbox
from .system import SYSTEM, Clock, System
from .turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._core.receive.pure import Receiver

switch_to: Any = greenlet.switch
"""`hub.switch()` without gevent's hooks, of which the hub alone has one."""


class Channel(Protocol):
    """What a poller needs of a connection. All but `run` are callbacks: see the module for what they may do."""

    fd: int
    inbox: Any  # what has `append` and `extend`
    peer: str  # for log lines

    def refuse_text(self) -> None:
        """Take a whole text message that is not UTF-8."""

    def receive_data(self, data: memoryview) -> None:
        """Take bytes as they came; they are the callee's to change until it returns."""

    def readable(self) -> None:
        """Receive from the socket, through the poller's `scratch` if need be."""

    def writable(self) -> None:
        """Send what is left to send."""

    def receive_eof(self, errno: int) -> None:
        """Take the end of the stream, and the errno it came with, or 0; EBADF for a socket that somebody closed."""

    def receive_error(self) -> None:
        """Take it that something was raised in here: say so to the peer (1011), and end."""

    def flush(self) -> None:
        """Send what is corked."""

    def disown(self) -> None:
        """Leave the connection to the parent, in a forked child: see forks.py."""

    def run(self) -> bool:
        """Switch to whoever waits for what was received, if anybody does; return whether that was so.

        Called in the hub, or by a greenlet in `park`, to which nobody switches back before what it waits for has come.
        What it raises was thrown into the greenlet that calls it.
        """


class Poller:
    """What all connections of one loop share.

    Args:
        hub: gevent's.
        system: the system calls.
        clock: the loop's clock; None is the real one.

    Attributes:
        loop: gevent's.
        current: the channel whose greenlet runs now, if we run it.
        run_queue: of the batch at hand, the channels that have not run yet, the last first.
        uninterrupted: whether greenlets have left the processor in `park` only, since the loop's last turn.
        closed: whether it serves nobody any more: its hub was destroyed, or this is a forked child.
        interest: the sockets that are watched, and whose they are.
        channels: those that are registered, by descriptor; None for the others.
        receiver: what receives for them.
        turns: how long greenlets and callbacks may go on.
        log: for what is to be told from a callback.
        outbox: what leaves together at the end of a turn.
        thread: the native thread of the loop, by its ident.
    """

    def __init__(self, hub: Any, system: System = SYSTEM, clock: Clock | None = None) -> None:
        self.hub = hub
        self.loop: Any = hub.loop
        self.system = system
        self.clock: Clock = clock or Clock.of(hub.loop)
        self.thread: Any = get_thread()
        self.log: LogQueue = LogQueue()
        self.current: Any = None
        self.run_queue: list[Any] = []
        self.uninterrupted: bool = False
        self._calling_back = False  # whether a callback runs, in whatever greenlet
        self.closed: bool = False
        self.outbox: Outbox = Outbox(self)
        self.receiver: Receiver = system.make_receiver(self)
        self.turns: Turns = Turns(hub, self.clock, self.receiver.get_polled, self.may_block)
        self.interest: InterestList = InterestList(self)
        self.channels: list[Any] = self.interest.channels
        register(self, tell_parent=True)

    def set_fast_path(self, channel: Any, word: int) -> None:
        """Say which whole messages of a channel may go past its protocol: `WS_FAST_...` in receive.h."""
        if self.channels[channel.fd] is channel:
            self.receiver.set_fast_path(channel.fd, word)

    def later(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function in the loop's next turn; not in a forked child, whose connections are others."""
        self.clock.run_callback(self._call_unless_closed, function, *arguments)

    def _call_unless_closed(self, function: Callable[..., object], *arguments: Any) -> None:
        if not self.closed:
            function(*arguments)

    # The end of the loop, and its forks

    def let_go(self) -> None:
        """End all connections, and keep nothing: gevent keeps a hub that is destroyed, and the frames of its end."""
        for channel in filter(None, list(self.channels)):
            self.call(channel, channel.receive_eof, 0)
        self.closed = True
        self.interest.close()
        unregister(self)
        self.receiver.let_go()

    def forked(self) -> None:
        """Leave the connections to the parent, in a forked child."""
        self.closed = True
        self.uninterrupted = False
        self.run_queue.clear()
        self.outbox.clear()
        self.log.clear()
        self.turns.leave()
        channels = self.interest.leave()
        keep(self, channels)
        unregister(self)
        for channel in channels:
            channel.disown()

    def note_fork(self) -> None:
        """Note in the parent that a child has all connections, too."""
        self.receiver.note_fork()

    # Callbacks

    def may_block(self) -> bool:
        """Whether the code that runs may block: it is neither in the hub nor in a callback."""
        return not self._calling_back and getcurrent() is not self.hub

    def call(self, channel: Any, function: Callable[..., object], *arguments: Any) -> None:
        """Call a callback of a channel: what it raises ends that channel. Never blocks, never raises."""
        if self.closed:
            return  # in a forked child: what was due is the parent's
        try:
            self._call_back(function, *arguments)
        except HubDestroyed:
            raise
        except BaseException:
            self.fail(channel)

    def _call_back(self, function: Callable[..., object], *arguments: Any) -> Any:
        outer, self._calling_back = self._calling_back, True
        try:
            return function(*arguments)
        finally:
            self._calling_back = outer

    def call_out(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function of the user's from a callback: what would block in it raises `BlockingSwitchOutError`.

        gevent asks the greenlet that is to be left, of which the hub is one that refuses.
        """
        current = getcurrent()
        if current is self.hub:
            self._call_back(function, *arguments)
            return
        current.switch_out = self.hub.switch_out
        try:
            self._call_back(function, *arguments)
        finally:
            del current.switch_out

    def fail(self, channel: Any) -> None:
        """See to what a channel has raised: report it, and end the channel. To be called in `except`; never raises."""
        self.report(channel)
        try:
            self._call_back(channel.receive_error)
        except BaseException:
            self.report(channel)
            try:
                self._call_back(channel.receive_eof, 0)
            except BaseException:
                self.report(channel)

    def report(self, channel: Any) -> None:
        """Report the exception at hand: to the log, but what is to end the process to the hub. Never raises."""
        kind, error, traceback = sys.exc_info()
        with contextlib.suppress(Exception):
            if isinstance(error, self.hub.SYSTEM_ERROR):
                self.clock.run_callback(self.hub.handle_error, channel, kind, error, traceback)
            else:
                self.log.tell(logging.ERROR, "%s: an internal error", getattr(channel, "peer", "geventws"), error=error)

    # Batches

    def ready(self) -> None:
        """Receive for every ready channel, then run the greenlets that wait for it. The loop calls this; never raises.

        gevent would call no more, for all connections, after an error.
        """
        queue = self.run_queue
        try:
            found = self.receiver.receive()
            found.reverse()
            queue += found
            self.uninterrupted = bool(queue)
            if len(queue) >= FEW:
                self.outbox.begin()
            while queue:
                self.current = channel = queue.pop()
                try:
                    channel.run()
                except HubDestroyed:  # it strikes where the hub had switched to whoever destroys it
                    raise
                except BaseException:  # of a greenlet that leaves its errors to the hub
                    gevent.spawn(self.hub.handle_error, channel, *sys.exc_info())
                self.uninterrupted = False
                self.flush_current()  # of the last that ran, here or in park()
                if self.outbox.gathers:
                    self.outbox.flush()  # a greenlet has blocked elsewhere: what was sent does not wait for it
            self.current = None
            if self.outbox.gathers:
                self.outbox.end()
            if self.interest.doubtful and self.receiver.saw_stray:
                self.interest.recover()
        except HubDestroyed:
            raise
        except BaseException:
            self.report(None)
            self.current = None
            self.outbox.end()
            self.interest.recover()

    def flush_current(self) -> None:
        """Send what is corked on the channel whose greenlet runs."""
        try:
            self.current.flush()
        except BaseException:
            self.fail(self.current)

    def park(self, waiting: Any, patient: bool = True) -> None:
        """Block this greenlet, which waits for the channel `waiting`, until somebody switches to it.

        While a batch is being served, the next greenlet of it runs at once, without a detour through the hub; as the
        hub is every greenlet's parent, it goes on with what is left of the batch when one of them blocks elsewhere.
        When that was the last, and none has blocked elsewhere, the next batch may be received here.

        Args:
            waiting: the channel.
            patient: whether it is no matter if a timer is late by some milliseconds.

        Raises:
            BlockingSwitchOutError: this is a callback.
        """
        if self._calling_back:
            raise BlockingSwitchOutError("a callback cannot wait for a message")
        queue = self.run_queue
        while True:
            if self.current is not waiting and self.current is not None:
                self.flush_current()  # what the greenlet has sent on another connection than the one it waits for
            if not queue:
                if self.outbox.gathers:
                    self.outbox.end()
                if self.uninterrupted and patient:
                    self._calling_back = True
                    try:
                        found = self.receiver.busy_poll()
                        found.reverse()
                        queue += found
                    except BaseException:
                        self.report(None)
                    self._calling_back = False
                    if len(queue) >= FEW:
                        self.outbox.begin()
                if not queue:
                    break
            self.current = channel = queue.pop()
            if channel.run():
                return
        switch_to(self.hub)


get_thread: Any = get_original("_thread", "get_ident")
"""Return the ident of the native thread, whatever is patched."""


def get_poller() -> Poller:
    """Return the poller of this thread's loop, made when first asked for."""
    hub = gevent.get_hub()
    poller: Poller | None = getattr(hub, "geventws_poller", None)
    if poller is None or poller.closed:
        poller = Poller(hub)
        set_poller(poller)
    return poller


def set_poller(poller: Poller) -> None:
    """Have the connections of a poller's loop that are opened from now on use it."""
    hub = poller.hub
    hub.geventws_poller = poller
    if "destroy" not in vars(hub):  # a hub is destroyed, as that of a thread may be, and gevent tells nobody
        hub.destroy = functools.partial(_destroy, hub)


def _destroy(hub: Any, destroy_loop: bool | None = None) -> None:
    del hub.destroy
    hub.geventws_poller.let_go()
    del hub.geventws_poller
    hub.destroy(destroy_loop)
