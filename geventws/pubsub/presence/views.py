"""Views: the members of topics in all processes, as far as this process knows. No I/O.

A member is in a topic as long as it is there in any process (a node). A process learns of the others' members in two
ways: it asks Redis for all of them, and it receives each change. A change that arrives while it waits for an answer is
applied again after the answer, which may be older.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..interface import JOIN, LEAVE, Event, Stay
from .members import Change

if TYPE_CHECKING:
    from collections.abc import Collection

OWN = b""
"""The node that stands for this process."""

MOST_LATE = 10_000
"""Changes of one topic that are kept at most while this process waits for an answer."""


class View:
    """The members of one topic.

    Attributes:
        members: by member and node, the member's info there. The last node's info applies.
        asked: the number of answers that this process waits for.
        late: the changes received since it asked.
        loaded: whether an answer has arrived.
    """

    __slots__ = ("asked", "late", "loaded", "members")

    def __init__(self) -> None:
        self.members: dict[str, dict[bytes, Any]] = {}
        self.asked: int = 0
        self.late: list[Stay] = []
        self.loaded: bool = False

    def apply(self, stay: Stay) -> list[Event]:
        """Note that a member is in a process, or no longer is; return the events that follow."""
        stays = self.members.get(stay.member, {})
        before = next(reversed(stays.values()), None)
        is_known, is_new = stay.node in stays, not stays
        if stay.there and is_known and stays[stay.node] == stay.info:
            return []
        stays.pop(stay.node, None)
        if stay.there:
            stays[stay.node] = stay.info
            self.members[stay.member] = stays
            return [Event(JOIN, None, stay.member, stay.info)] if is_new or before != stay.info else []
        if stays:
            after = next(reversed(stays.values()))
            return [Event(JOIN, None, stay.member, after)] if after != before else []
        if not is_known:
            return []
        del self.members[stay.member]
        return [Event(LEAVE, None, stay.member, before)]

    def find_others(self, nodes: Collection[bytes] | None = None) -> list[Stay]:
        """Return statements that end each member's stay in these nodes; in all other processes if there are none."""
        return [
            Stay(node, member, None, False)
            for member, stays in self.members.items()
            for node in stays
            if (node != OWN if nodes is None else node in nodes)
        ]

    def fill(self, stays: list[Stay]) -> list[Event]:
        """Take an answer: the stays in other processes. Return the events that follow."""
        there = {(stay.node, stay.member) for stay in stays}
        gone = [stay for stay in self.find_others() if (stay.node, stay.member) not in there]
        events = [event for stay in [*stays, *gone, *self.late] for event in self.apply(stay)]
        self.loaded = True
        self.end_asking()
        return events

    def end_asking(self) -> None:
        """Note that an answer has arrived, or never will."""
        self.asked = max(self.asked - 1, 0)
        if not self.asked:
            self.late.clear()


class Views:
    """The views of all topics whose members this process has to know."""

    def __init__(self) -> None:
        self._views: dict[str, View] = {}  # by topic

    def __contains__(self, topic: str) -> bool:
        return topic in self._views

    @property
    def nodes(self) -> set[bytes]:
        """The other processes that have members."""
        views = self._views.values()
        return {node for view in views for stays in view.members.values() for node in stays} - {OWN}

    def clear(self) -> None:
        """Forget everything."""
        self._views.clear()

    def find(self, topic: str) -> dict[str, Any] | None:
        """Return the members of a topic and their infos, or None if this process does not know them."""
        view = self._views.get(topic)
        if view is None or not view.loaded:
            return None
        return {member: next(reversed(stays.values())) for member, stays in view.members.items()}

    def ask(self, topic: str) -> None:
        """Note that this process asks for all members of a topic."""
        self._views.setdefault(topic, View()).asked += 1

    def give_up(self, topic: str) -> None:
        """Note that no answer will arrive for a topic."""
        if topic in self._views:
            self._views[topic].end_asking()

    def fill(self, topic: str, stays: list[Stay]) -> list[Change]:
        """Take an answer; return what has changed."""
        view = self._views.get(topic)
        return [Change(topic, event) for event in view.fill(stays)] if view is not None else []

    def apply(self, topic: str, stay: Stay) -> list[Change]:
        """Note that a member is in a process, or no longer is; return what has changed."""
        view = self._views.setdefault(topic, View())
        if view.asked and len(view.late) < MOST_LATE:
            view.late.append(stay)
            if not view.loaded and stay.node != OWN:
                return []
        changes = [Change(topic, event) for event in view.apply(stay)]
        if not (view.members or view.asked or view.loaded):
            del self._views[topic]
        return changes

    def drop(self, nodes: Collection[bytes]) -> list[Change]:
        """Note that processes have ended; return what has changed."""
        return [
            Change(topic, event)
            for topic, view in self._views.items()
            for stay in view.find_others(nodes)
            for event in view.apply(stay)
        ]

    def forget(self, topic: str) -> None:
        """Forget a topic's members in other processes: changes there will no longer arrive here."""
        former = self._views.pop(topic, None)
        own = [(member, stays[OWN]) for member, stays in former.members.items() if OWN in stays] if former else []
        for member, info in own:
            self.apply(topic, Stay(OWN, member, info))
