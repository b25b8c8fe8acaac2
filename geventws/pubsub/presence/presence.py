"""Presence: who is in the topics of one PubSub, here and, over a bus, in other processes; and who joins and leaves.

Over a bus, each process notes its members in Redis, and publishes who joins and leaves there, once the grace is over:
so one who reconnects to another process has never left. Those who hear it put it together (views.py).
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ...engine.loop.forks import register
from ...engine.loop.poller import get_poller, get_thread
from ...protocol.json import decode, encode
from ..branches.branch import call_out
from ..bus.home import Answer
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
"""Bytes of what is told of a member, as JSON."""

BEAT = 5.0
"""Seconds between two signs of life of this process."""

AGAIN = 86_400.0
"""Seconds after which a process notes its members once more: Redis forgets topics to which nobody comes."""

ANSWER = 5.0
"""Seconds for the members of a topic to be read."""


class Owner(Protocol):
    """The PubSub."""

    def tell_presence(self, topic: str, event: Event) -> None:
        """Tell the application."""


class Locked(Protocol):
    """Whose lock it takes: one for a whole PubSub, so that no two are taken in two orders.

    Attributes:
        lock: the lock; another one in a forked child.
    """

    lock: Any


class Presence:
    """The members of one PubSub's topics. Any thread may call it; it is what a bus tells (`Register`).

    Args:
        store: whose lock it takes.
        branches: the subscribers, who hear of it.
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
        self._waking: Poller | None = None  # whose loop has a timer for those who leave
        self._timer: Any = None  # that one
        self._bus: Bus | None = None  # if there is one
        self._views = Views()  # over a bus: who is where
        self._unsent: set[tuple[str, str]] = set()  # topics and members of which the bus has to be told again
        self._beaten = self._noted = time.monotonic()  # when it was told that we are alive, and of all members
        register(self)

    def forked(self) -> None:
        """Forget everybody, in a forked child: they are the parent's."""
        self._members.clear()
        self._views.clear()
        self._unsent.clear()
        self._waking = self._timer = None

    def use(self, bus: Bus) -> None:
        """Be there for other processes, too, from the beginning."""
        self._bus = bus

    # What the PubSub asks for

    def find(self, topic: str) -> dict[str, Any]:
        """Return the members of a topic, and what is told of them. Over a bus, it may block until that is read."""
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
        """Note that a connection is no member of a topic any more; return whether it was one."""
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
            return  # a forked child has forgotten everybody
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
        """Have this thread's loop see to those who leave, unless another does."""
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
            except BaseException:  # as for want of memory
                poller.report(None)
            self._wake_later()

    def _pass_on(self, changes: list[Change]) -> None:
        """Tell of what has changed in this process."""
        if self._bus is None:
            self._tell(changes)
            return
        for topic, event in changes:
            member = str(event.member)
            self._note(topic, member)
            self._tell(self._views.apply(topic, Stay(OWN, member, event.info, event.kind == JOIN)))

    def _tell(self, changes: list[Change]) -> None:
        """Tell of changes, in their order."""
        thread = get_thread()
        for change in changes:
            for branch in self._branches.all():
                is_here = branch.poller.thread == thread
                (branch.tell if is_here else branch.tell_later)(change.topic, change.event)
            call_out(get_poller(), self._owner.tell_presence, *change)

    # Over the bus

    def _is_heard(self, topic: str) -> bool:
        """Whether the bus tells this process of a topic: somebody here is subscribed."""
        return bool(self._branches.find(topic))

    def _note(self, topic: str, member: str) -> None:
        """Have Redis know, and others hear, whether a member is in this process."""
        info, there = self._members.find_info(topic, member)
        stay = Stay(OWN, member, encode(info) if there else "", there)
        assert self._bus is not None
        self._bus.ask(partial(pack_change, topic=topic, stay=stay), partial(self._take_noted, topic, member))

    def _take_noted(self, topic: str, member: str, reply: Any) -> None:
        with self._store.lock:
            if reply is None:
                self._unsent.add((topic, member))
            elif reply == 0 and len(self._members) > 1:  # Redis has forgotten us, and all our members
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

    # What the bus tells, in its loop

    def confirmed(self, topic: str) -> None:
        """Note that the bus tells of a topic from now on: what has changed before is to be asked."""
        with self._store.lock:
            if topic in self._views and self._is_heard(topic):
                self._ask(topic)

    def receive_stay(self, topic: str, stay: Stay) -> None:
        """Note that a member is in another process, or is not any more."""
        if not self._is_heard(topic):
            return
        with self._store.lock:
            if topic not in self._views:
                self._ask(topic)
            self._tell(self._views.apply(topic, _read(stay)))

    def tick(self) -> None:
        """Say that this process is alive, and ask who else is, when it is time. Called each second or so."""
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
            if pulse.known:  # or else it is Redis that has forgotten everybody
                self._tell(self._views.drop(pulse.dead))
            if not pulse.known or time.monotonic() - self._noted > AGAIN:
                self._noted = time.monotonic()
                self._unsent.update(self._members)
            unsent, self._unsent = self._unsent, set()
            for topic, member in unsent:
                self._note(topic, member)


def _read(stay: Stay) -> Stay:
    """Return what another process has told, with the info for JSON; None where it is none."""
    try:
        return stay._replace(info=decode(stay.info) if stay.there else None)
    except ValueError:
        return stay._replace(info=None)


def _check_member(name: str, info: Any) -> Any:
    """Return a copy of what is told of a member, as JSON has it.

    Raises:
        TypeError: the name is no `str`, or the info no JSON.
        ValueError: either is too long, or the info no JSON.
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
        raise ValueError(f"what is told of a member takes {MOST_INFO} bytes of JSON at the most, not {size}")
    return decode(text)
