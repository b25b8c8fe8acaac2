"""The poller of one loop: it receives for all connections at once, and runs the greenlets that wait for messages.

A batch has two halves. First everything that is ready is received, scanned and put into the inboxes, without running
the user's code. Then the greenlets that wait for these messages run, one after another (the run queue). So a message
costs a share of one C call and one switch, and a handler that closes another connection meets no half-processed batch.

The contract of callbacks: the methods of a connection that the poller calls (those of `Channel`, except `run`), and
functions called through `call`, are callbacks.

* A callback runs in the hub, or in the greenlet of any handler: a greenlet that waits for a message receives the next
  batch itself (`park`), and delivers it to all connections.
* It never blocks and never switches, as a batch is half delivered at that time. `may_block` tells whether the running
  code is in a callback; calls that would block return or raise there, as they do in the hub.
* It never raises. If one does raise after all, for lack of memory, say, the error is logged and ends its own connection
  (`fail`). All others get their messages, and the handler in whose greenlet it ran does not notice.

A callback calls the user's code through `call_out`, which holds it to the same contract.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet, WeakValueDictionary

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
"""`hub.switch()` without gevent's `switch_out` hooks: only the hub itself has one."""


class Channel(Protocol):
    """What a poller needs of a connection. All but `run` are callbacks: see the module for what they may do."""

    fd: int
    inbox: list[Any]  # what has `append` and `extend`
    peer: str  # for log lines

    def refuse_text(self) -> None:
        """Fail the connection for a whole text message that is not UTF-8."""

    def receive_data(self, data: memoryview) -> None:
        """Take received bytes. The method may change them until it returns."""

    def readable(self) -> None:
        """Receive from the socket, through the poller's `scratch` if need be."""

    def writable(self) -> None:
        """Send what is left to send."""

    def receive_eof(self, errno: int) -> None:
        """Note that the stream has ended, with this errno, or 0; EBADF if somebody else has closed the socket."""

    def receive_error(self) -> None:
        """Close with 1011, as one of its callbacks has raised."""

    def flush(self) -> None:
        """Send what is corked."""

    def disown(self) -> None:
        """In a forked child: leave the connection to the parent. See forks.py."""

    def run(self) -> bool:
        """Switch to the greenlet that waits for what was received, if there is one; return whether there was.

        Called in the hub, or by a greenlet in `park`, to which nobody switches back before its message has come. What
        this raises was thrown into the calling greenlet.
        """


class Poller:
    """What all connections of one loop share.

    Args:
        hub: gevent's.
        system: the system calls.
        clock: the loop's clock; None is the real one.

    Attributes:
        loop: gevent's.
        current: the channel whose greenlet runs now, if the poller has switched to it; None otherwise.
        run_queue: the channels of this batch that have not run yet, the last first.
        uninterrupted: whether no greenlet has blocked anywhere but in `park` since the loop's last turn.
        closed: whether it serves no connection any more: its hub was destroyed, or this is a forked child.
        interest: the sockets that are watched, and their channels.
        channels: those that are registered, by descriptor; None for the others.
        receiver: receives from their sockets.
        turns: limits how long greenlets and callbacks may go on.
        log: for log lines from callbacks.
        outbox: the frames that leave together at the end of a turn.
        thread: the ident of the loop's native thread.
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
        self._calling_back = False  # whether a callback runs, in any greenlet
        self.closed: bool = False
        self.outbox: Outbox = Outbox(self)
        self.receiver: Receiver = system.make_receiver(self)
        self.turns: Turns = Turns(hub, self.clock, self.receiver.get_polled, self.may_block)
        self.interest: InterestList = InterestList(self)
        self.channels: list[Any] = self.interest.channels
        register(self, tell_parent=True)

    def set_fast_path(self, channel: Any, word: int) -> None:
        """Set which whole messages of a channel may go past its protocol: `WS_FAST_...` in receive.h."""
        if self.channels[channel.fd] is channel:
            self.receiver.set_fast_path(channel.fd, word)

    def later(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function in the loop's next turn; not if the process has forked by then and this is the child."""
        self.clock.run_callback(self._call_unless_closed, function, *arguments)

    def _call_unless_closed(self, function: Callable[..., object], *arguments: Any) -> None:
        if not self.closed:
            function(*arguments)

    # The end of the loop, and forks

    def let_go(self) -> None:
        """End all connections, and release everything: gevent keeps a destroyed hub, and the frames that did it."""
        for channel in filter(None, list(self.channels)):
            self.call(channel, channel.receive_eof, 0)
        self.end()

    def end(self) -> None:
        """Note that the loop has no turn any more. Its connections, if there are any, stay as they are."""
        self.closed = True
        self.interest.close()
        unregister(self)
        self.receiver.let_go()
        self.turns.end()

    def forked(self) -> None:
        """In a forked child: leave the connections to the parent."""
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
        """In the parent: note that a child holds all sockets, too."""
        self.receiver.note_fork()

    # Callbacks

    def may_block(self) -> bool:
        """Whether the code that runs may block: it is neither in the hub nor in a callback."""
        return not self._calling_back and getcurrent() is not self.hub

    def call(self, channel: Any, function: Callable[..., object], *arguments: Any) -> None:
        """Call a callback of a channel. If it raises, that ends the channel. Never blocks, never raises."""
        if self.closed:
            return  # in a forked child: the parent does this
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
        """Call a function of the user's from a callback. Calls that would block raise `BlockingSwitchOutError` in it.

        gevent calls the `switch_out` of a greenlet before it leaves it. That of the hub raises, and is used here.
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
        """Report what a channel has raised, and end the channel. To be called in `except`; never raises."""
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
        """Report the current exception to the log, or, if it has to end the process, to the hub. Never raises."""
        kind, error, traceback = sys.exc_info()
        with contextlib.suppress(Exception):
            if isinstance(error, self.hub.SYSTEM_ERROR):
                self.clock.run_callback(self.hub.handle_error, channel, kind, error, traceback)
            else:
                self.log.tell(logging.ERROR, "%s: an internal error", getattr(channel, "peer", "geventws"), error=error)

    # Batches

    def ready(self) -> None:
        """Receive for every ready channel, then run the greenlets that wait. The loop calls this. Never raises.

        If it raised, gevent would not call it again, for any connection.
        """
        queue = self.run_queue
        try:
            queue += self.receiver.receive()
            self.uninterrupted = bool(queue)
            if len(queue) > 1:
                self._begin_batch()
            while queue:
                self.current = channel = queue.pop()
                try:
                    channel.run()
                except HubDestroyed:  # raised here if a greenlet that we have switched to destroys the hub
                    raise
                except BaseException:  # from a greenlet that leaves its errors to the hub
                    gevent.spawn(self.hub.handle_error, channel, *sys.exc_info())
                self.uninterrupted = False
                self.flush_current()  # of the channel that ran last, here or in park()
                if self.outbox.holds:
                    self.outbox.flush()  # a greenlet has blocked elsewhere: frames do not wait for it
            self.current = None
            if self.outbox.gathers:
                self.outbox.flush(end=True)
            if self.interest.doubtful and self.receiver.saw_stray:
                self.interest.recover()
        except HubDestroyed:
            raise
        except BaseException:
            self.report(None)
            self.current = None
            self.outbox.flush(end=True)
            self.interest.recover()

    def _begin_batch(self) -> None:
        """Begin to serve several channels, the first of them first."""
        self.run_queue.reverse()
        if len(self.run_queue) >= FEW:
            self.outbox.begin()

    def flush_current(self) -> None:
        """Send the corked frames of the channel whose greenlet runs."""
        try:
            self.current.flush()
        except BaseException:
            self.fail(self.current)

    def park(self, waiting: Any, patient: bool = True) -> None:
        """Block this greenlet, which waits for the channel `waiting`, until somebody switches to it.

        While a batch is being served, its next greenlet runs at once, without a detour through the hub. If one of them
        blocks elsewhere, the hub goes on with the rest of the batch. After the last one, if none has blocked elsewhere,
        the next batch may be received here.

        Args:
            waiting: the channel.
            patient: whether a timer may be late by some milliseconds.

        Raises:
            BlockingSwitchOutError: this is a callback.
        """
        if self._calling_back:
            raise BlockingSwitchOutError("a callback cannot wait for a message")
        queue = self.run_queue
        while True:
            if self.current is not waiting and self.current is not None:
                self.flush_current()  # the greenlet waits on another connection than its own
            if not queue:
                if self.outbox.gathers:
                    self.outbox.flush(end=True)
                if self.uninterrupted and patient:
                    self._calling_back = True
                    try:
                        queue += self.receiver.busy_poll()
                    except BaseException:
                        self.report(None)
                    self._calling_back = False
                if not queue:
                    break
                if len(queue) > 1:
                    self._begin_batch()
            self.current = channel = queue.pop()
            if channel.run():
                return
        switch_to(self.hub)


get_thread: Any = get_original("_thread", "get_ident")
"""Return the ident of the native thread, whatever is patched."""


def get_poller() -> Poller:
    """Return the poller of this thread's loop; make it if there is none."""
    hub = gevent.get_hub()
    poller: Poller | None = getattr(hub, "geventws_poller", None)
    if poller is None or poller.closed:
        poller = Poller(hub)
        set_poller(poller)
    return poller


class _Thread:
    """A native thread that has loops: Python collects it when the thread ends.

    Attributes:
        pollers: those of its loops.
    """

    def __init__(self) -> None:
        self.pollers: WeakSet[Poller] = WeakSet()
        self._process = os.getpid()

    def __del__(self) -> None:
        if self._process == os.getpid() and not sys.is_finalizing():  # a child has none of its parent's threads
            for poller in [poller for poller in self.pollers if not poller.closed]:
                poller.end()


_local: Any = get_original("_thread", "_local")()  # its `thread`
_pollers: WeakValueDictionary[int, Poller] = WeakValueDictionary()  # those of all threads, by id


def set_poller(poller: Poller) -> None:
    """Have connections that are opened from now on in the poller's loop use this poller."""
    if not hasattr(_local, "thread"):
        _local.thread = _Thread()
    _local.thread.pollers.add(poller)
    _pollers[id(poller)] = poller
    hub = poller.hub
    hub.geventws_poller = poller
    if "destroy" not in vars(hub):  # a hub may be destroyed, such as a thread's, and gevent notifies nobody
        hub.destroy = functools.partial(_destroy, hub)


def count_connections() -> int:
    """Return how many connections this process has open, in all its loops. Any thread may call it; it never blocks."""
    pollers = [reference() for reference in _pollers.valuerefs()]  # copied in one step: other threads may add to it
    return sum([poller.interest.count for poller in pollers if poller is not None and not poller.closed])


def _destroy(hub: Any, destroy_loop: bool | None = None) -> None:
    del hub.destroy
    hub.geventws_poller.let_go()
    del hub.geventws_poller
    hub.destroy(destroy_loop)
