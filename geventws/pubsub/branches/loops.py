"""Branches: the branches of one PubSub, one for each loop that has subscribers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gevent.monkey import get_original

from ...engine.loop.poller import get_poller, get_thread
from ...engine.published.deliveries import Tally
from .branch import Branch

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ...engine.loop.poller import Poller
    from ...engine.published.deliveries import Limits
    from ...engine.published.outlet import Outlet
    from ...protocol.prepared import PreparedMessage
    from .branch import Audience
    from .topics import Topic

allocate_lock: Any = get_original("_thread", "allocate_lock")

MOST_PAST = 64
"""Tallies of ended branches that are kept one by one; a server may end a thread, and its loop, with each connection."""


class Branches:
    """The branches of one PubSub. Any thread may call it.

    Args:
        limits: see `Branch`.
        max_topics: see `Branch`.
        audience: see `Branch`.
    """

    def __init__(self, limits: Limits, max_topics: int, audience: Audience) -> None:
        self._limits = limits
        self._max_topics = max_topics
        self._audience = audience
        self._branches: dict[Poller, Branch] = {}
        self._past: list[Tally] = []  # the counts of branches that have ended
        self._adding: Any = allocate_lock()  # held by who adds them up; nobody waits for it

    def get(self) -> Branch:
        """Return the branch in this thread's loop; make it if there is none."""
        poller = get_poller()
        branch = self._branches.get(poller)
        if branch is None:
            self.all()  # forgets those that have ended
            branch = self._branches[poller] = Branch(poller, self._limits, self._max_topics, self, self._audience)
        return branch

    def all(self) -> list[Branch]:
        """Return the branches, except those whose loops have been destroyed."""
        branches = list(self._branches.values())
        for branch in branches:
            if branch.poller.closed:
                break
        else:
            return branches
        for branch in branches:
            if branch.closed:
                self.drop(branch)
                for topic in branch.topics:
                    self._audience.note_topic(topic, False)
        return [branch for branch in branches if not branch.closed]

    def drop(self, branch: Branch) -> None:
        """Forget a branch, except for its counts: its loop was destroyed, or belongs to a parent process."""
        if self._branches.pop(branch.poller, None) is not None:
            self._past.append(branch.stats)
            if len(self._past) > MOST_PAST and self._adding.acquire(False):
                past, total = list(self._past), Tally()
                for tally in past:
                    total.add(tally)
                self._past[: len(past)] = [total]  # at once: other threads read, and append
                self._adding.release()

    def publish(self, name: str, message: PreparedMessage, exclude: Outlet | None, key: Hashable) -> int:
        """Publish a message to a topic without history in each loop; return how many subscribers there are."""
        thread, reached = get_thread(), 0
        for branch in self.all():
            here = branch.poller.thread == thread
            reached += (branch.publish if here else branch.publish_later)(name, message, exclude, key)
        return reached

    def find(self, name: str) -> list[Topic]:
        """Return the topic of this name in each branch that has it."""
        found = [branch.topics.get(name) for branch in self.all()]
        return [topic for topic in found if topic is not None]

    @property
    def stats(self) -> Tally:
        """The counts of all messages."""
        total, branches = Tally(), self.all()
        for tally in [*self._past, *[branch.stats for branch in branches]]:
            total.add(tally)
        return total
