"""Presence: who is in the topics of one PubSub, here and, over a bus, in other processes; and who joins and leaves.

Over a bus, each process writes its members to Redis, and publishes who joins and leaves. It publishes a leave only
after the grace period, so a client that reconnects to another process in time does not leave. Each process combines
what it hears of the others (views.py).
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ...engine.loop.forks import register
from ...engine.loop.poller import get_poller, get_thread
from ...engine.loop.waiters import Answer
from ...protocol.json import decode, encode
from ..branches.branch import call_out
from ..bus.wire.members import pack_beat, pack_change, pack_members, parse_beat, parse_members
from ..interface import JOIN, Event, Stay
from .members import Change, Members
from .views import OWN, Views

if TYPE_CHECKING:
    from ...engine.loop.poller import Poller
    from ...engine.published.outlet import Outlet
    from ..branches.loops import Branches
    from ..interface import Bus

MOST_LENGTH = 256
"""Characters of a member's name."""

MOST_INFO = 4096
"""Bytes of a member's info, as JSON."""

BEAT = 5.0
"""Seconds between two heartbeats of this process."""

AGAIN = 86_400.0
"""Seconds after which a process writes its members to Redis again: Redis forgets topics that nobody joins."""

ANSWER = 5.0
"""Seconds to wait for the members of a topic."""


class Owner(Protocol):
    """The PubSub."""

    def tell_presence(self, topic: str, event: Event) -> None:
        """Tell the application."""


class Locked(Protocol):
    """The owner of the lock: there is one for a whole PubSub, which cannot deadlock with another.

    Attributes:
        lock: the lock; a new one in a forked child.
    """

    lock: Any


class Presence:
    """The members of one PubSub's topics. Any thread may call it. It is the `Register` of a bus.

    Args:
        store: the owner of the lock.
        branches: the subscribers, which get the events.
        owner: the PubSub.
        grace: see `Members`.
        max_topics: see `Members`.

    Attributes:
        loop: None: it belongs to no loop.
    """

    def __init__(self, store: Locked, branches: Branches, owner: Owner, grace: float, max_topics: int) -> None:
        self.loop: Any = None
        self._store = store
        self._branches = branches
        self._owner = owner
        self._members = Members(time.monotonic, grace, max_topics)  # who is in this process
        self._waking: Poller | None = None  # the loop with a timer for members that leave; None if there is no timer
        self._timer: Any = None  # that timer
        self._bus: Bus | None = None  # the bus, if there is one
        self._views = Views()  # over a bus: the members in all processes
        self._unsent: set[tuple[str, str]] = set()  # topics and members to be written to Redis again
        self._beaten = self._noted = time.monotonic()  # the times of the last heartbeat, and of writing all members
        register(self)

    def forked(self) -> None:
        """Forget all members, in a forked child: they are the parent's."""
        self._members.clear()
        self._views.clear()
        self._unsent.clear()
        self._waking = self._timer = None

    def use(self, bus: Bus) -> None:
        """Share the members with other processes. Called before anything else."""
        self._bus = bus

    # Called by the PubSub

    def find(self, topic: str) -> dict[str, Any]:
        """Return the members of a topic and their infos. Over a bus, it may block until Redis has told them."""
        bus = self._bus
        if bus is None:
            with self._store.lock:
                return self._members.find(topic)
        if self._is_heard(topic):
            with self._store.lock:
                known = self._views.find(topic)
            if known is not None:
                return known
        answer = Answer()
        with self._store.lock:
            self._views.ask(topic)
            bus.ask(partial(pack_members, topic=topic), partial(self._take_members, topic, answer))
        answer.wait(ANSWER)
        with self._store.lock:
            known = self._views.find(topic)
            if not self._is_heard(topic):
                self._views.forget(topic)
            return known if known is not None else self._members.find(topic)

    def track(self, outlet: Outlet, topic: str, name: str, info: Any) -> None:
        """Note that a connection is a member's."""
        copy = _check_member(name, info)
        with self._store.lock:
            changes = self._members.track(outlet, topic, name, copy)
            outlet.join(self)
            self._pass_on(changes)

    def untrack(self, outlet: Outlet, topic: str, at_once: bool) -> bool:
        """Note that a connection is no longer a member's in a topic; return whether it was."""
        with self._store.lock:
            is_member = self._members.is_member(outlet, topic)
            if at_once:
                self._pass_on(self._members.untrack(outlet, topic))
            else:
                self._members.release(outlet, topic)
                self._wake_later()
        return is_member

    def leave(self, outlet: Outlet) -> None:
        """Note that a connection has ended. Called in the hub, too; never raises."""
        if outlet.connection.stream.poller.closed:
            return  # in a forked child, which has forgotten all members
        with self._store.lock:
            self._members.leave(outlet)
            self._wake_later()

    def note_topic(self, topic: str, begun: bool) -> None:
        """Note that a loop has its first subscriber of a topic, or that its last has left."""
        if self._bus is not None and not begun:
            with self._store.lock:
                if not self._is_heard(topic):
                    self._views.forget(topic)

    def _wake_later(self) -> None:
        """Start a timer for members that leave in this thread's loop, unless another loop has one."""
        due = self._members.due
        if due is not None and (self._waking is None or self._waking.closed):
            self._waking = get_poller()
            self._timer = self._waking.clock.timer(due)
            self._timer.start(self._expire)

    def _expire(self) -> None:
        with self._store.lock:
            poller, self._waking, self._timer = get_poller(), None, None
            try:
                self._pass_on(self._members.expire())
            except BaseException:  # out of memory, say
                poller.report(None)
            self._wake_later()

    def _pass_on(self, changes: list[Change]) -> None:
        """Pass on what has changed in this process: to subscribers here, and over the bus."""
        if self._bus is None:
            self._tell(changes)
            return
        for topic, event in changes:
            member = str(event.member)
            self._note(topic, member)
            self._tell(self._views.apply(topic, Stay(OWN, member, event.info, event.kind == JOIN)))

    def _tell(self, changes: list[Change]) -> None:
        """Send changes to the subscribers here, and call the application's functions, in order."""
        thread = get_thread()
        for change in changes:
            for branch in self._branches.all():
                is_here = branch.poller.thread == thread
                (branch.tell if is_here else branch.tell_later)(change.topic, change.event)
            call_out(get_poller(), self._owner.tell_presence, *change)

    # Over the bus

    def _is_heard(self, topic: str) -> bool:
        """Whether this process receives a topic over the bus: somebody here is subscribed."""
        return bool(self._branches.find(topic))

    def _note(self, topic: str, member: str) -> None:
        """Write to Redis, and publish to other processes, whether a member is in this process."""
        info, there = self._members.find_info(topic, member)
        stay = Stay(OWN, member, encode(info) if there else "", there)
        assert self._bus is not None
        self._bus.ask(partial(pack_change, topic=topic, stay=stay), partial(self._take_noted, topic, member))

    def _take_noted(self, topic: str, member: str, reply: Any) -> None:
        with self._store.lock:
            if reply is None:
                self._unsent.add((topic, member))
            elif reply == 0 and len(self._members) > 1:  # Redis has forgotten this process, and all its members
                self._unsent.update(self._members)

    def _ask(self, topic: str) -> None:
        assert self._bus is not None
        self._views.ask(topic)
        self._bus.ask(partial(pack_members, topic=topic), partial(self._take_members, topic, None))

    def _take_members(self, topic: str, answer: Answer | None, reply: Any) -> None:
        assert self._bus is not None
        with self._store.lock:
            try:
                stays = [stay for stay in map(_read, parse_members(reply)) if stay.node not in self._bus.nodes]
                changes = self._views.fill(topic, stays)
            except ValueError:  # no connection, or no answer
                self._views.give_up(topic)
                changes = []
            self._tell(changes)
        if answer is not None:
            answer.set(True)

    # Called by the bus, in its loop

    def confirmed(self, topic: str) -> None:
        """Note that this process receives a topic from now on. Ask for its members: earlier changes were missed."""
        with self._store.lock:
            if topic in self._views and self._is_heard(topic):
                self._ask(topic)

    def receive_stay(self, topic: str, stay: Stay) -> None:
        """Note that a member is in another process, or no longer is."""
        if not self._is_heard(topic):
            return
        with self._store.lock:
            if topic not in self._views:
                self._ask(topic)
            self._tell(self._views.apply(topic, _read(stay)))

    def tick(self) -> None:
        """Send a heartbeat to Redis when it is due, and ask which processes are alive. Called about once a second."""
        now = time.monotonic()
        if now - self._beaten < BEAT:
            return
        with self._store.lock:
            others = self._views.nodes
            if self._bus is not None and (others or self._members or self._unsent):
                self._beaten = now
                self._bus.ask(partial(pack_beat, others=others), self._take_beat)

    def _take_beat(self, reply: Any) -> None:
        try:
            pulse = parse_beat(reply)
        except ValueError:
            return
        with self._store.lock:
            if pulse.known:  # otherwise Redis has lost its data, and the others may be alive
                self._tell(self._views.drop(pulse.dead))
            if not pulse.known or time.monotonic() - self._noted > AGAIN:
                self._noted = time.monotonic()
                self._unsent.update(self._members)
            unsent, self._unsent = self._unsent, set()
            for topic, member in unsent:
                self._note(topic, member)


def _read(stay: Stay) -> Stay:
    """Return another process's statement with its info decoded from JSON; None if that is not JSON."""
    try:
        return stay._replace(info=decode(stay.info) if stay.there else None)
    except ValueError:
        return stay._replace(info=None)


def _check_member(name: str, info: Any) -> Any:
    """Return a copy of a member's info, encoded to JSON and decoded again.

    Raises:
        TypeError: the name is not a `str`, or the info is not JSON.
        ValueError: either is too long, or the info is not JSON.
    """
    if not isinstance(name, str):
        raise TypeError(f"a member is str, not {type(name).__name__}")
    if not 0 < len(name) <= MOST_LENGTH:
        raise ValueError(f"a member has 1 to {MOST_LENGTH} characters, not {len(name)}")
    if info is None:
        return None
    text = encode(info)
    size = len(text.encode())
    if size > MOST_INFO:
        raise ValueError(f"a member's info has at most {MOST_INFO} bytes as JSON, not {size}")
    return decode(text)
