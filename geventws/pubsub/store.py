"""Store: the history of one PubSub, which all its loops and threads share.

Whoever writes it holds the lock until each loop knows of the message: so all have one order. Whoever reads it and
subscribes does both under the lock: so it gets each message once. A forked child begins with an empty one, and with
other epochs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gevent.monkey import get_original

from ..engine.loop.forks import register
from ..engine.loop.poller import get_thread
from .history import History

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from ..engine.published.outlet import Outlet
    from ..protocol.prepared import PreparedMessage
    from .branch import Branch
    from .history import Found
    from .interface import Form

RLock: Any = get_original("_thread", "RLock")


class Store:
    """What a PubSub does with its history.

    Args:
        rules: see `History`.

    Attributes:
        loop: None: it belongs to no loop.
    """

    def __init__(self, rules: Mapping[str, tuple[int, float]]) -> None:
        self._history = History(rules, time.monotonic)  # what is kept
        self._lock = RLock()  # of it; the garbage collector may end a connection meanwhile, and so ask for it again
        self.loop: Any = None
        register(self)

    def forked(self) -> None:
        """Forget everything, in a forked child: what has been published is the parent's."""
        self._history.clear()
        self._lock = RLock()

    def publish(
        self,
        branches: list[Branch],
        topic: str,
        prepared: PreparedMessage,
        exclude: Outlet | None,
        key: Hashable,
    ) -> int:
        """Publish a message to the subscribers of a topic in all loops; return how many there are."""
        thread = get_thread()
        here = [branch for branch in branches if branch.poller.thread == thread]
        others = [branch for branch in branches if branch.poller.thread != thread]
        rule = self._history.find_rule(topic)
        if rule is None:
            position = None
            count = sum([branch.publish_later(topic, prepared, exclude, key) for branch in others])
        else:
            with self._lock:
                position = self._history.append(topic, rule, prepared)
                count = sum([branch.publish_later(topic, prepared, exclude, key, position) for branch in others])
        return count + sum([branch.publish(topic, prepared, exclude, key, position) for branch in here])

    def subscribe(
        self, branch: Branch, outlet: Outlet, topic: str, policy: str, form: Form | None, since: str | None
    ) -> Found | None:
        """Subscribe; return what was published after a position, or None where no history is kept."""
        rule = self._history.find_rule(topic)
        if rule is None:
            branch.subscribe(outlet, topic, policy, form)
            return None
        with self._lock:
            found = self._history.find(topic, rule, since, None if since is not None else 0)
            branch.subscribe(outlet, topic, policy, form, found.position)
        return found

    def find(self, topic: str, since: str | None, limit: int | None) -> Found | None:
        """Return what was published after a position, or None where no history is kept."""
        rule = self._history.find_rule(topic)
        if rule is None:
            return None
        with self._lock:
            return self._history.find(topic, rule, since, limit)

    def note_topic(self, topic: str, begun: bool) -> None:
        """Note that a loop has its first subscriber of a topic, or that its last has left."""
        rule = self._history.find_rule(topic)
        if rule is not None:
            with self._lock:
                (self._history.watch if begun else self._history.unwatch)(topic, rule)
