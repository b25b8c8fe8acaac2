"""What native threads leave for a loop: bounded, and counted."""

from __future__ import annotations

import threading
from typing import Any

from geventws import PreparedMessage
from geventws.pubsub.branches.waiting import Item, Waiting
from geventws.pubsub.history import Position


def item(number: int, topic: str = "room", size: int = 1) -> Item:
    return Item(topic, PreparedMessage(b"x" * size), None, None, Position("e", number) if number else None)


def test_what_waits_comes_out_in_order() -> None:
    waiting = Waiting()
    assert [waiting.put(item(number), 2) for number in (1, 2, 3)] == [True, False, False]
    assert len(waiting) == 3 and [waiting.take() == item(number) for number in (1, 2, 3)]
    assert len(waiting) == 0 and waiting.put(item(4), 2) is True


def test_what_finds_no_room_is_counted_and_its_position_noted(monkeypatch: Any) -> None:
    monkeypatch.setattr("geventws.pubsub.branches.waiting.MOST_WAITING", 2)
    waiting = Waiting()
    assert [waiting.put(item(number), 5) for number in (1, 2, 3, 4, 0)] == [True, False, None, None, None]
    assert waiting.overflow.published == waiting.overflow.dropped == 15
    assert waiting.take_gaps() == {"room": ("e", 4)} and waiting.take_gaps() == {}


def test_it_is_bounded_in_bytes(monkeypatch: Any) -> None:
    monkeypatch.setattr("geventws.pubsub.branches.waiting.MOST_WAITING_BYTES", 10)
    waiting = Waiting()
    assert [waiting.put(item(1, size=8), 1) for _ in range(3)] == [True, False, None]
    waiting.take()
    assert waiting.put(item(1, size=8), 1) is False


def test_what_waits_of_one_topic_is_taken_out() -> None:
    waiting = Waiting()
    for one in (item(1), item(1, "other"), item(2), item(3), item(0), item(4)):
        waiting.put(one, 1)

    def places(items: list[Item]) -> list[tuple[str, Position | None]]:
        return [(one.topic, one.position) for one in items]

    taken = waiting.take_of("room", Position("e", 3))
    assert places(taken) == [("room", Position("e", number)) for number in (1, 2, 3)]
    assert waiting.take_of("room", Position("other", 3)) == waiting.take_of("third") == [] and len(waiting) == 3
    assert places(waiting.take_of("room")) == [("room", Position("e", 4))]
    assert places([waiting.take(), waiting.take()]) == [("other", Position("e", 1)), ("room", None)]
    assert waiting._size == 0


def test_a_child_begins_anew() -> None:
    waiting = Waiting()
    holder = threading.Thread(target=waiting._lock.acquire)  # it is not there any more
    holder.start()
    holder.join()
    waiting._items.append(item(1))
    waiting.clear()
    assert len(waiting) == 0 and waiting.overflow.published == 0 and waiting.put(item(1), 1) is True


def test_a_finalizer_may_call_while_it_is_locked() -> None:
    """The garbage collector calls it wherever it likes, in the thread that holds the lock."""
    waiting, later = Waiting(), item(2)

    class Place(Position):
        def is_after(self, other: Position) -> bool:
            assert waiting.put(later, 1) is False and waiting.overflow.published == 0
            return super().is_after(other)

    waiting.put(item(1)._replace(position=Place("e", 1)), 1)
    assert [one.position for one in waiting.take_of("room", Position("e", 3))] == [Position("e", 1)]
    assert waiting.take() is later and len(waiting) == 0 and waiting._size == 0
