"""State: whether the bus is up. Changes go to the log, and to the application, in a greenlet."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import gevent

from ...text import one_line
from .connection import UnsupportedServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...engine.loop.poller import Poller
    from .link import Link


class State:
    """Whether Redis can be reached.

    Args:
        poller: the loop's.
        name: where Redis is, for log lines.
        tell: called in a greenlet with whether the bus is up, whenever that changes. It may block.

    Attributes:
        links: the connections of the bus.
        is_up: whether all are connected; None until the first attempt has ended.
        error: the error because of which the bus has given up for good; None if it has not.
    """

    def __init__(self, poller: Poller, name: str, tell: Callable[[bool], object]) -> None:
        self.links: list[Link] = []
        self.is_up: bool | None = None
        self.error: UnsupportedServer | None = None
        self._log = poller.log  # does not block, even if the application's handlers do
        self._name = name
        self._tell = tell
        self._news: deque[bool] = deque()  # changes that the application has not been told yet
        self._teller: Any = None  # the greenlet that tells them

    def note_up(self) -> None:
        """Note that a link is connected."""
        if self.is_up is not True and all(link.up for link in self.links):
            if self.is_up is False:
                self._log.tell(logging.INFO, "the bus is up again: %s", self._name)
            self._change(True)

    def note_down(self, error: Exception) -> None:
        """Note that a link is lost, or that an attempt to connect has failed."""
        if isinstance(error, UnsupportedServer):
            self.error = error
        if self.is_up is not False:
            self._log.tell(logging.ERROR, "the bus is down: %s: %s", self._name, one_line(str(error)))
            self._change(False)

    def _change(self, is_up: bool) -> None:
        self.is_up = is_up
        self._news.append(is_up)
        if self._teller is None:
            self._teller = gevent.spawn(self._tell_all)

    def _tell_all(self) -> None:
        try:
            while self._news:
                try:
                    self._tell(self._news.popleft())
                except Exception as error:
                    self._log.tell(logging.ERROR, "on_bus has failed", error=error)
        finally:
            self._teller = None
