"""Readiness: the sockets of one loop in one epoll set, whose descriptor gevent watches.

A batch has two halves. First everything that is ready is received, scanned and put into the inboxes, without
running anybody's code; then the greenlets that wait for it are run, one after the other. So a message costs a share
of one C call and one switch, and a handler that closes its neighbour meets no half-processed batch.

All connections of a loop share this one watcher, and a batch may be received in the greenlet of any handler. So what
is raised for one of them, by us or by the memory that there is not, ends that one (`fail`): gevent would stop the
watcher of all.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from gevent.exceptions import HubDestroyed
from gevent.monkey import get_original
from greenlet import greenlet

from .forks import keep, register, unregister
from .logs import LogQueue
from .system import SYSTEM, Clock, System
from .turns import Turns
from .watchers import EPOLLET, EPOLLIN, EPOLLOUT

if TYPE_CHECKING:
    from collections.abc import Callable

switch_to = greenlet.switch
"""`hub.switch()` without gevent's hooks, of which the hub alone has one."""

RETRY = 1.0
"""Seconds until the next attempt, where the system had no new epoll set for us."""


class Channel(Protocol):
    """What a poller needs of a connection. The callbacks run in the hub, and never block."""

    fd: int
    inbox: Any  # what has `append` and `extend`
    peer: str  # for log lines

    def refuse_text(self) -> None:
        """Take a whole text message that is not UTF-8."""

    def receive_data(self, data: memoryview) -> None:
        """Take bytes as they came; they are the callee's to change until it returns."""

    def readable(self) -> None:
        """Receive from the socket, through the poller's `spare` if need be."""

    def writable(self) -> None:
        """Send what is left to send."""

    def receive_eof(self, errno: int) -> None:
        """Take the end of the stream, and the errno it came with, or 0; EBADF for a socket that somebody closed."""

    def receive_error(self) -> None:
        """Take it that something was raised in here: say so to the peer (1011), and end."""

    def run(self) -> bool:
        """Switch to whoever waits for what came, if anybody does; return whether that was so.

        What it raises was thrown into the greenlet that calls it.
        """

    def flush(self) -> None:
        """Send what is corked."""

    def disown(self) -> None:
        """Leave the connection to the parent, in a forked child: see forks.py."""


class Poller:
    """The epoll set of one loop.

    Args:
        hub: gevent's.
        system: the system calls.
        clock: the loop's clock; None is the real one.

    Attributes:
        current: the channel whose greenlet runs now, if we run it.
        channels: those that are registered, by descriptor; None for others.
        doubtful: whether the set may hold a socket that is no channel's: one that somebody closed, and that another
            process holds open. epoll goes on telling of it, and takes it out only with the set.
        log: for what is to be told from a callback.
        turns: how long greenlets and callbacks may go on.
        thread: the native thread of the loop, by its ident.
    """

    def __init__(self, hub: Any, system: System = SYSTEM, clock: Clock | None = None) -> None:
        self.hub = hub
        self.loop = hub.loop
        self.system = system
        self.clock = clock or Clock(hub.loop)
        self.thread = get_thread()
        self.log = LogQueue()
        self.current: Any = None
        self.closed = False
        self.doubtful = False
        self.channels: list[Any] = []
        self._due: list[Any] = []  # of the batch at hand, the channels that have not run yet, last first
        self._chained = False  # since the loop's last turn, greenlets have left the processor in `park` only
        self._masks = bytearray()  # what each descriptor is watched for
        self._count = 0
        self.receiver = system.make_receiver(self)
        self.spare = self.receiver.spare
        self.turns = Turns(hub, self.clock, self.receiver.get_polled)
        self._retry: Any = None
        self._open()
        register(self, tell_parent=True)

    def _open(self) -> None:
        self.set: Any = self.system.open_set(self.loop)
        self.receiver.attach(self.set)

    def register(self, channel: Any) -> None:
        """Watch a channel's socket for something to receive."""
        fd = channel.fd
        if fd >= len(self.channels):
            self._grow(fd + 64 - fd % 64)
        self.set.register(fd, EPOLLIN)
        if not self._count:
            self.set.start(self._ready)
        before, self.channels[fd] = self.channels[fd], channel
        self._masks[fd] = EPOLLIN
        self.receiver.forget(fd)
        self.receiver.drop(fd)
        if before is None:
            self._count += 1
        else:  # somebody closed that one's socket, and the number is another's
            self.doubtful = True
            self.call(before, before.receive_eof, errno.EBADF)

    def watch(self, channel: Any, reading: bool, writing: bool) -> None:
        """Say what a registered channel is watched for."""
        fd = channel.fd
        if self.channels[fd] is channel:
            self.receiver.forget(fd)
            self._masks[fd] = EPOLLIN * reading | EPOLLOUT * writing
            try:
                # A reset cannot be masked: where nothing is watched for, it is told once, not in every turn.
                self.set.modify(fd, self._masks[fd] or EPOLLET)
            except ValueError:
                pass  # there is no set: see _recover
            except OSError:  # its socket was closed by somebody else
                self.clock.run_callback(self.call, channel, channel.receive_eof, errno.EBADF)

    def unregister(self, channel: Any) -> None:
        """Watch a channel no more; its socket may be closed now."""
        fd = channel.fd
        if self.channels[fd] is not channel:
            return  # somebody closed its socket, and another connection has the number now
        self.channels[fd] = None
        self.receiver.forget(fd)
        self.receiver.drop(fd)
        try:
            self.set.unregister(fd)
        except (OSError, ValueError):
            self.doubtful = True  # somebody closed it, or the set
        self._count -= 1
        if not self._count:
            self.set.stop()

    def set_fast_path(self, channel: Any, word: int) -> None:
        """Say which of a channel's whole messages may go past its protocol: see `find_fast_path`."""
        if self.channels[channel.fd] is channel:
            self.receiver.set_fast_path(channel.fd, word)

    def _grow(self, size: int) -> None:
        self.channels.extend([None] * (size - len(self.channels)))
        self._masks.extend(bytes(size - len(self._masks)))
        self.receiver.grow(size)

    def forked(self) -> None:
        """Leave the connections to the parent, whose set a forked child shares: nothing may be taken out of that."""
        channels, self.channels = self.channels, []
        self.closed = True
        self.doubtful = self._chained = False
        self._due.clear()
        self.log.clear()
        self.turns.leave()
        self.set.close()
        if self._retry is not None:
            self._retry.close()
        keep(self, channels)
        unregister(self)
        for channel in channels:
            if channel is not None:
                channel.disown()

    def note_fork(self) -> None:
        """Note in the parent that a child has all connections, too."""
        self.receiver.note_fork()

    def later(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function in the loop's next turn; not in a forked child, whose connections are others."""
        self.clock.run_callback(self._call_unless_closed, function, *arguments)

    def _call_unless_closed(self, function: Callable[..., object], *arguments: Any) -> None:
        if not self.closed:
            function(*arguments)

    def let_go(self) -> None:
        """End all connections, and keep nothing: gevent keeps a hub that is destroyed, and the frames of its end."""
        for channel in filter(None, list(self.channels)):
            self.call(channel, channel.receive_eof, 0)
        self.closed = True
        self.set.close()
        unregister(self)
        self.receiver.let_go()
        self.spare = self.receiver.spare

    def _recover(self) -> None:
        """Watch all channels in a new set, as soon as there can be one."""
        try:
            self._rebuild()
        except BaseException:
            self._report(None)
            self._retry = self.clock.timer(RETRY)
            self._retry.start(self._recover)

    def _rebuild(self) -> None:
        self.doubtful = False
        self.set.close()  # first: there may be no descriptor left
        self._open()
        for channel in filter(None, list(self.channels)):
            try:
                if self.receiver.inodes.is_stranger(channel.fd):
                    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
                self.set.register(channel.fd, self._masks[channel.fd] or EPOLLET)
            except OSError:
                self.call(channel, channel.receive_eof, errno.EBADF)
        self.doubtful = False
        if self._count:
            self.set.start(self._ready)

    # Errors

    def call(self, channel: Any, function: Callable[..., object], *arguments: Any) -> None:
        """Have a channel do something that must not block: what it raises ends that channel. Never raises."""
        if self.closed:
            return  # in a forked child: what was due is the parent's
        try:
            function(*arguments)
        except HubDestroyed:
            raise
        except BaseException:
            self.fail(channel)

    def fail(self, channel: Any) -> None:
        """See to what a channel has raised: report it, and end the channel. To be called in `except`; never raises."""
        self._report(channel)
        try:
            channel.receive_error()
        except BaseException:
            self._report(channel)
            try:
                channel.receive_eof(0)
            except BaseException:
                self._report(channel)

    def _report(self, channel: Any) -> None:
        """Report the exception at hand: to the log, but what is to end the process to the hub."""
        kind, error, traceback = sys.exc_info()
        with contextlib.suppress(Exception):
            if isinstance(error, self.hub.SYSTEM_ERROR):
                self.clock.run_callback(self.hub.handle_error, channel, kind, error, traceback)
            else:
                self.log.tell(logging.ERROR, "%s: an internal error", getattr(channel, "peer", "geventws"), error=error)

    # Turns

    def _ready(self) -> None:
        """Take a turn. Never raises, so that gevent goes on calling it."""
        try:
            self._take_turn()
        except HubDestroyed:
            raise
        except BaseException:
            self._report(None)
            self._recover()

    def _take_turn(self) -> None:
        """Receive for every ready channel, then run the greenlets that wait for it."""
        due = self._due
        due.extend(reversed(self.receiver.receive()))
        self._chained = bool(due)
        while due:
            self.current = channel = due.pop()
            try:
                channel.run()
            except HubDestroyed:  # it strikes where the hub had switched to whoever destroys it
                raise
            except BaseException:  # of a greenlet that leaves its errors to the hub
                gevent.spawn(self.hub.handle_error, channel, *sys.exc_info())
            self._chained = False
            self.flush_current()  # of the last that ran, here or in park()
        self.current = None
        if self.doubtful and self.receiver.saw_stray:
            self._recover()

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
        """
        due = self._due
        while True:
            if self.current is not waiting and self.current is not None:
                self.flush_current()  # what the greenlet has sent on another connection than the one it waits for
            if not (due or (self._chained and patient and self._linger())):
                break
            self.current = channel = due.pop()
            if channel.run():
                return
        switch_to(self.hub)

    def _linger(self) -> bool:
        """Wait a moment for the next batch; return whether it has come."""
        try:
            found = self.receiver.busy_poll()
        except BaseException:
            self._report(None)
            return False
        self._due += reversed(found)
        return bool(found)


get_thread = get_original("_thread", "get_ident")
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
