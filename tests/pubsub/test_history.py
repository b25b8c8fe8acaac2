"""What is kept of a topic: positions, rings, and how they are forgotten; without sockets, on a clock of the test's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventws import PreparedMessage
from geventws.pubsub.history import COST, Found, History, Position, parse_position


class Kept:
    """A history whose clock stands still until it is told."""

    def __init__(self, **rules: tuple[int, float]) -> None:
        self.now = 1000.0
        self.watched: set[str] = set()
        self.history = History(rules or {"room*": (3, 60.0)}, lambda: self.now, self.watched)

    def append(self, topic: str, message: str | bytes) -> str:
        rule = self.history.find_rule(topic)
        assert rule is not None
        return str(self.history.append(topic, rule, PreparedMessage(message)))

    def find(self, topic: str, since: str | None = None, limit: int | None = None) -> tuple[list[Any], str, bool]:
        rule = self.history.find_rule(topic)
        assert rule is not None
        found: Found = self.history.use(topic, rule).find(since, limit)
        return [kept.message for kept in found.kept], str(found.position), found.gap

    def watch(self, topic: str, begun: bool = True) -> None:
        rule = self.history.find_rule(topic)
        assert rule is not None
        (self.watched.add if begun else self.watched.remove)(topic)
        self.history.use(topic, rule)

    @property
    def names(self) -> set[str]:
        return {name for rings in self.history._rings.values() for name in rings}


def test_the_first_reader_gets_a_position_before_any_message() -> None:
    kept = Kept()
    messages, begin, gap = kept.find("room")
    assert (messages, gap) == ([], False) and begin.endswith(":0")
    assert kept.find("room", begin) == ([], begin, False)
    first, second = kept.append("room", "text"), kept.append("room", b"binary")
    assert first.endswith(":1") and second.endswith(":2") and first.split(":")[0] == begin.split(":")[0]
    assert kept.find("room", begin) == (["text", b"binary"], second, False)
    assert kept.find("room", first) == ([b"binary"], second, False)
    assert kept.find("room", second) == ([], second, False)


def test_what_is_trimmed_is_told() -> None:
    kept = Kept()
    positions = [kept.append("room", str(number)) for number in range(5)]
    assert kept.find("room", positions[0]) == (["2", "3", "4"], positions[4], True)
    assert kept.find("room", positions[1]) == (["2", "3", "4"], positions[4], False)
    assert kept.find("room") == (["2", "3", "4"], positions[4], False)


def test_a_limit_takes_the_next_ones_or_without_a_position_the_last() -> None:
    kept = Kept()
    positions = [kept.append("room", str(number)) for number in range(3)]
    assert kept.find("room", None, 2) == (["1", "2"], positions[2], False)
    assert kept.find("room", None, 0) == ([], positions[2], False)
    assert kept.find("room", positions[0], 1) == (["1"], positions[1], False)
    assert kept.find("room", positions[1], 1) == (["2"], positions[2], False)
    assert kept.find("room", "other:1", 1) == (["0"], positions[0], True)
    assert kept.find("room", "", 2) == (["0", "1"], positions[1], False)
    assert kept.find("room", "") == (["0", "1", "2"], positions[2], False)


@pytest.mark.parametrize("since", [":", "5", ":5", "x:", "x:-1", "x:1.5", "x:٣", "x:²", "x:" + "9" * 5000])
def test_what_is_no_position_of_ours_is_a_gap(since: str) -> None:
    kept = Kept()
    end = kept.append("room", "1")
    assert parse_position(since) is None
    assert kept.find("room", since) == (["1"], end, True)
    epoch = end.split(":")[0]
    assert kept.find("room", f"{epoch}:2") == kept.find("room", "other:1") == (["1"], end, True)


@given(st.text(min_size=1), st.integers(0, 10**19 - 1))
def test_a_position_is_read_as_it_was_written(epoch: str, offset: int) -> None:
    assert parse_position(str(Position(epoch, offset))) == (epoch, offset)


def test_messages_are_kept_for_so_many_seconds() -> None:
    kept = Kept()
    begin = kept.append("room", "1")
    kept.now += 30
    end = kept.append("room", "2")
    kept.now += 29
    assert kept.find("room") == (["1", "2"], end, False)
    kept.now += 1
    assert kept.find("room", begin) == (["2"], end, False)
    kept.now += 30
    assert kept.find("room", begin) == ([], end, True) and kept.find("room", end) == ([], end, False)


def test_a_topic_is_forgotten_when_it_has_expired_and_nobody_is_subscribed() -> None:
    kept = Kept()
    before = kept.append("room:1", "1")
    kept.watch("room:2")
    kept.now += 60
    kept.find("room:3")
    assert kept.names == {"room:2", "room:3"}
    assert kept.find("room:1", before)[2] is True  # another epoch
    kept.now += 60
    kept.watch("room:2", False)
    kept.now += 59
    kept.find("room:4")
    assert kept.names >= {"room:2", "room:4"}
    kept.now += 1
    kept.find("room:4")
    assert kept.names == {"room:4"}


def test_names_that_come_and_go_do_not_pile_up() -> None:
    kept = Kept()
    for number in range(1000):
        kept.find(f"room:{number}")
        kept.now += 1
    assert len(kept.names) == 60


def test_what_is_kept_is_bounded_in_bytes(monkeypatch: Any) -> None:
    monkeypatch.setattr("geventws.pubsub.history.MOST_BYTES", 1000)
    kept = Kept(room=(100, 60.0))
    positions = [kept.append("room", b"x" * (300 - COST)) for _ in range(5)]
    assert len(kept.find("room")[0]) == 3
    assert kept.find("room", positions[0])[2] is True and kept.find("room", positions[1])[2] is False
    kept.append("room", b"x" * 5000)  # the last one always is
    assert kept.find("room")[0] == [b"x" * 5000]


def test_all_topics_together_are_bounded_in_bytes(monkeypatch: Any) -> None:
    monkeypatch.setattr("geventws.pubsub.history.MOST_BYTES_IN_ALL", 1000)
    kept = Kept(**{"room*": (100, 60.0)})
    kept.watch("room:watched")
    for number in range(20):
        kept.append(f"room:{number}", b"x" * (300 - COST))
        kept.append("room:watched", b"x" * (300 - COST))
    held = sum(ring.size for rings in kept.history._rings.values() for ring in rings.values())
    assert held == kept.history._size <= 1000
    assert len(kept.find("room:watched")[0]) >= 1
    kept.history.clear()
    assert kept.history._size == 0 and kept.names == set()


def test_the_first_rule_that_matches_holds() -> None:
    history = History({"room:1": (1, 1.0), "room:*": (2, 2.0), "*": (3, 3.0)}, float, ())
    assert [history.find_rule(name) for name in ("room:1", "room:12", "room:", "other")] == [
        (1, 1.0), (2, 2.0), (2, 2.0), (3, 3.0),
    ]  # fmt: skip
    assert History({"room": (1, 1.0)}, float, ()).find_rule("rooms") is None


@pytest.mark.parametrize("rule", [(0, 10), (10, 0), (10, float("nan"))])
def test_a_rule_that_keeps_nothing_is_refused(rule: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="'room' has"):
        History({"room": rule}, float, ())


def test_a_star_stands_at_the_end() -> None:
    with pytest.raises(ValueError, match="only at its end: 'a\\*b'"):
        History({"a*b": (1, 1.0)}, float, ())
