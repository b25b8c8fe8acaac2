"""logs.py: lines from where nothing may block."""

from __future__ import annotations

import logging

import gevent
import pytest
from gevent.event import Event

from geventws.engine.loop import logs
from geventws.engine.loop.logs import LogQueue, logger
from geventws.engine.loop.poller import get_poller

INFO = logging.INFO


class Slow(logging.Handler):
    """A handler that waits for `go` before each line, as for a lock, a disk or a network."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.lines = Event(), []

    def emit(self, record: logging.LogRecord) -> None:
        self.go.wait()
        self.lines.append(record.getMessage())


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """The only handler of our logger. It gets no line of an earlier test."""
    drain(get_poller().log)
    handler = Slow()
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", INFO)
    logger._cache.clear()
    return handler


def drain(queue: LogQueue) -> None:
    while queue._writer is not None:
        queue._writer.join()


def test_lines_are_written_in_order_and_nobody_waits_for_them(slow: Slow) -> None:
    queue = LogQueue()
    for number in range(5):
        queue.tell(INFO, "line %d of %s", number, "five")
    gevent.sleep(0)
    assert slow.lines == []
    slow.go.set()
    drain(queue)
    assert slow.lines == [f"line {number} of five" for number in range(5)]


@pytest.mark.parametrize("text", ["", "x" * 5000], ids=["short", "long"])
def test_what_waits_is_bounded_and_what_is_missing_is_told(slow: Slow, text: str) -> None:
    queue, most = LogQueue(), logs.MAX_SIZE // (logs.LINE_SIZE + len(text))
    for _ in range(most + 10):
        queue.tell(INFO, "line%s", text)
    assert queue.dropped == 10
    slow.go.set()
    drain(queue)
    assert slow.lines == [f"line{text}"] * most + ["10 log lines are missing here: a log handler was too slow"]
    assert (queue.dropped, queue._size) == (0, 0)


def test_lines_after_a_gap_stand_after_the_line_that_tells_of_it(slow: Slow) -> None:
    queue, most = LogQueue(), logs.MAX_SIZE // logs.LINE_SIZE
    for _ in range(most + 1):
        queue.tell(INFO, "line")
    gevent.sleep(0)
    slow.go.set()
    while len(slow.lines) < 3:
        gevent.sleep(0)
        slow.go.clear()
        slow.go.set()
    drain(queue)
    queue.tell(INFO, "later")
    drain(queue)
    assert slow.lines[most:] == ["1 log lines are missing here: a log handler was too slow", "later"]


def test_an_exception_is_put_into_words_by_the_greenlet(slow: Slow) -> None:
    """Its text is its own affair: it may block, and raise."""
    queue, where = LogQueue(), []

    class Odd(Exception):
        def __str__(self) -> str:
            where.append(gevent.getcurrent())
            return "odd"

    class Formatting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            slow.lines.append(logging.Formatter("%(message)s").format(record))

    logger.handlers[:] = [Formatting()]
    queue.tell(logging.ERROR, "failed", error=Odd())
    writer = queue._writer
    assert where == []
    drain(queue)
    assert "Odd: odd" in slow.lines[0] and set(where) == {writer}


def test_few_exceptions_wait_for_they_keep_what_their_frames_had(slow: Slow) -> None:
    queue = LogQueue()
    for _ in range(100):
        queue.tell(logging.ERROR, "failed", error=ValueError())
    assert len(queue._lines) == logs.MAX_SIZE // (logs.LINE_SIZE + logs.ERROR_SIZE) and queue.dropped
    slow.go.set()
    drain(queue)


def test_a_filter_that_raises_costs_its_line_alone(slow: Slow, hub_errors: list, monkeypatch) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        if record.getMessage() == "bad":
            raise ValueError("no such line")
        return True

    monkeypatch.setattr(logger, "filters", [refuse])
    queue = LogQueue()
    slow.go.set()
    for line in ("one", "bad", "two"):
        queue.tell(INFO, line)
    drain(queue)
    assert slow.lines == ["one", "two"]
    assert [type(error) for error in hub_errors] == [ValueError]


def test_a_killed_writer_is_followed_by_another(slow: Slow) -> None:
    queue = LogQueue()
    queue.tell(INFO, "lost")
    gevent.sleep(0)
    queue._writer.kill()
    slow.go.set()
    queue.tell(INFO, "next")
    drain(queue)
    assert slow.lines == ["next"]
