"""Forks: what a child process does with the connections that it inherits.

A child has a copy of everything: the greenlets, the clocks, the loop, and the descriptors of the parent's connections.
None of that may go on twice. So before any greenlet runs in the child but the one that forked,

1. each loop gets a set of descriptors of its own: if gevent took descriptors out of the inherited one (with libuv it
   does so at once), they would be gone from the parent's set, too;
2. each inherited connection's descriptor is made to lead nowhere. Code that still has it (ours, the server's, that of
   OpenSSL and of the garbage collector) may send, receive and shut down without harm;
3. each heir forgets its connections and stops its clocks. The greenlets that waited for them stay where they are, and
   are kept alive: a greenlet that is collected is killed, and would run the last lines of its handler here.

Another library's hook for children, registered before ours, may yield, and let the hub run before our hook. So from
just before the fork on, we also act at the first switch of greenlets.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

import greenlet
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.monkey import get_original

if TYPE_CHECKING:
    from collections.abc import Callable

_Socket = get_original("_socket", "socket")
_get_thread = get_original("_thread", "get_ident")

_heirs: WeakSet[Heir] = WeakSet()
_told: WeakSet[Any] = WeakSet()  # those of them that have `note_fork`, which is called in the parent
_servers: WeakSet[Any] = WeakSet()
_claimed: WeakSet[Any] = WeakSet()  # sockets
_kept: list[Any] = []  # in a child, what must not be collected
_nowhere: dict[bool, Any] = {}  # the sockets to which an inherited descriptor leads; made when first needed
_tracers: dict[int, list[Any]] = {}  # by thread that forks: the tracer to put back, and how many forks are under way
_process = os.getpid()
_left = False  # in a child whose hooks are running: whether everything was left to the parent already


class Heir(Protocol):
    """An object with connections, or with something else that a child must leave to its parent."""

    loop: Any  # gevent's, which the heir has watchers on, or None

    def forked(self) -> None:
        """Leave it all to the parent: `cut` the connections and forget them. Called in the child; must not block."""


def register(heir: Heir, tell_parent: bool = False) -> None:
    """Have an heir's `forked` called in each child, and its `note_fork` in the parent, for as long as the heir lives.

    Args:
        heir: the object with connections.
        tell_parent: whether it has `note_fork`.
    """
    _heirs.add(heir)
    if tell_parent:
        _told.add(heir)


def unregister(heir: Heir) -> None:
    """Call an heir no more."""
    _heirs.discard(heir)
    _told.discard(heir)


def register_server(server: Any) -> None:
    """Have children leave to their parent what one of gevent's servers has accepted, and what it will accept."""
    _servers.add(server)


def claim(socket: Any) -> None:
    """Have children `cut` a socket that no heir knows yet; until `release`, or for as long as the socket lives."""
    _claimed.add(socket)


def release(socket: Any) -> None:
    """Undo `claim`."""
    _claimed.discard(socket)


def keep(*things: Any) -> None:
    """Keep objects alive for good: they wait for the parent's connections."""
    _kept.extend(things)


def cut(descriptor: int, ended: bool = False) -> None:
    """Make an inherited descriptor lead nowhere: sending fails with EPIPE.

    It stays open, so that no other file gets its number until its owner closes it. A closed one (-1) stays closed.

    Args:
        descriptor: that of a connection.
        ended: whether reading finds the end; otherwise nothing ever comes, and a reader waits for good.
    """
    if descriptor >= 0:
        try:
            os.dup2(_get_nowhere(ended), descriptor, inheritable=False)
        except OSError:
            os.close(descriptor)  # no number was free for `_nowhere`; now this one is, for the next descriptor


def stop_accepting(server: Any) -> None:
    """Stop one of gevent's servers in the child, until it is started there. In the parent it goes on accepting."""
    if server.started or server._watcher is not None:
        server.stop_accepting()
        server._stop_event = _Stopped(server._stop_event)


def _get_nowhere(ended: bool) -> int:
    if ended not in _nowhere:
        ours, other = get_original("socket", "socketpair")()
        ours.setblocking(False)
        ours.shutdown(socket.SHUT_WR)
        _nowhere[ended] = ours, None if ended else other
    descriptor: int = _nowhere[ended][0].fileno()
    return descriptor


class _Stopped(Event):  # type: ignore[misc]
    """The `_stop_event` of a server in a child whose parent has started it: set, as the server does not accept here.

    A greenlet that waits for the parent's server goes on waiting, until the child stops the server without starting it.
    """

    def __init__(self, inherited: Any) -> None:
        super().__init__()
        super().set()
        self._inherited = inherited  # the event of greenlets that wait for the parent's server to stop

    def set(self) -> None:
        """Note that the server is stopped."""
        super().set()
        self._inherited.set()

    def clear(self) -> None:
        """Note that the server is started."""
        super().clear()
        keep(self._inherited)
        self._inherited = Event()


# ---- around a fork


def _before() -> None:
    """Watch the switches of this thread: the first one in a child comes before anything else runs there."""
    thread = _get_thread()
    if thread not in _tracers:
        _tracers[thread] = [greenlet.settrace(_trace), 0]
    _tracers[thread][1] += 1


def _trace(event: str, arguments: Any) -> None:
    previous: Callable[..., object] | None = _tracers[_get_thread()][0]
    if os.getpid() != _process:
        _leave()
    if previous is not None:
        previous(event, arguments)


def _after_in_parent() -> None:
    thread = _get_thread()
    _tracers[thread][1] -= 1
    if not _tracers[thread][1]:
        greenlet.settrace(_tracers.pop(thread)[0])
    for heir in list(_told):
        heir.note_fork()


def _after_in_child() -> None:
    global _left
    if not _left:
        _leave()
    _left = False


def _leave() -> None:
    """In a child: leave to the parent what is the parent's."""
    global _left, _process
    _left, _process = True, os.getpid()
    tracer = _tracers.get(_get_thread())
    if tracer is not None:
        greenlet.settrace(tracer[0])
    _tracers.clear()
    heirs, servers = list(_heirs), list(_servers)
    keep(*heirs)
    _separate_loops({one.loop for one in heirs + servers if one.loop is not None})
    for descriptor in (*(claimed.fileno() for claimed in list(_claimed)), *_find_accepted(servers)):
        cut(descriptor)
    for server in servers:
        stop_accepting(server)
    for heir in heirs:
        heir.forked()


def _separate_loops(loops: set[Any]) -> None:
    """Give each loop a set of descriptors of its own. The loops of other threads never run again."""
    hub = get_hub_if_exists()
    for loop in loops:
        descriptor = loop.fileno()
        if descriptor is None:
            continue  # it was destroyed
        if hub is not None and loop is hub.loop:
            loop.reinit()
        else:
            _replace_set(descriptor)


def _replace_set(descriptor: int) -> None:
    try:
        with get_original("select", "epoll")() as empty:
            os.dup2(empty.fileno(), descriptor, inheritable=False)
    except OSError:
        os.close(descriptor)  # no number is free for a new one


def _find_accepted(servers: list[Any]) -> list[int]:
    """Return the descriptors of the connections that servers have accepted: they have no list of them."""
    homes = {_get_home(server.socket) for server in servers if not server.closed}
    found = []
    for name in os.listdir("/dev/fd") if homes else ():
        try:
            accepted = _Socket(fileno=int(name))
        except OSError:
            continue  # it is no socket
        if _get_home(accepted) in homes and not accepted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            found.append(int(name))
        accepted.detach()
    return found


def _get_home(sock: Any) -> tuple[int, Any]:
    """Return the part of its address that a listening socket has in common with the sockets it has accepted."""
    address = sock.getsockname()
    return sock.family, address[1] if isinstance(address, tuple) else address


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
