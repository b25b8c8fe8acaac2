"""Log lines from code that may not block: they are queued, and a greenlet writes them.

A log handler is foreign code: it may wait for a lock, a disk or a network, and it may raise. So may the code that
formats a line, as an exception's `__str__` does. The queue is bounded; if lines were dropped, a line says how many.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from typing import Any, NamedTuple

import gevent

logger: logging.Logger = logging.getLogger("geventws")

MAX_SIZE = 256 * 1024
"""The most bytes of lines that may wait, as estimated with the two numbers below."""

LINE_SIZE = 256
"""Bytes that a line takes, without its arguments."""

ERROR_SIZE = 16 * 1024
"""Bytes that an exception counts as: its traceback keeps everything that its frames refer to."""


class _Line(NamedTuple):
    """The arguments for `Logger.log`."""

    level: int
    message: str
    arguments: tuple[Any, ...]
    error: BaseException | None
    size: int


class LogQueue:
    """The lines of one loop that are still to be written.

    Attributes:
        dropped: how many lines were dropped since the log last said so.
    """

    def __init__(self) -> None:
        self.dropped: int = 0
        self._lines: deque[_Line] = deque()  # the oldest first
        self._size = 0  # their bytes, as counted
        self._writer: Any = None  # the greenlet, while there is something to write

    def tell(self, level: int, message: str, *arguments: Any, error: BaseException | None = None) -> None:
        """Queue a line, for `logging.Logger.log` to write. Never blocks, never raises."""
        try:
            texts = sum(len(argument) for argument in arguments if isinstance(argument, str))
            size = LINE_SIZE + texts + (0 if error is None else ERROR_SIZE)
            if self._size + size > MAX_SIZE:
                self.dropped += 1
                return
            self._tell_dropped()
            self._add(_Line(level, message, arguments, error, size))
        except Exception:  # out of memory, say
            self.dropped += 1

    def clear(self) -> None:
        """Forget what waits."""
        self._lines.clear()
        self._size = self.dropped = 0

    def _tell_dropped(self) -> None:
        dropped, self.dropped = self.dropped, 0
        if dropped:
            message = "%d log lines are missing here: a log handler was too slow"
            self._add(_Line(logging.WARNING, message, (dropped,), None, LINE_SIZE))

    def _add(self, line: _Line) -> None:
        self._lines.append(line)
        self._size += line.size
        if self._writer is None:
            self._writer = gevent.spawn(self._write)

    def _write(self) -> None:
        try:
            while self._lines:
                line = self._lines.popleft()
                self._size -= line.size
                _write_line(line)
                if not self._lines:
                    self._tell_dropped()
        finally:
            self._writer = None


def _write_line(line: _Line) -> None:
    try:
        logger.log(line.level, line.message, *line.arguments, exc_info=line.error)
    except Exception:  # such as a filter's: logging catches only what its own handlers raise
        gevent.get_hub().handle_error(logger, *sys.exc_info())
