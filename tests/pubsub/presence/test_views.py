"""Who is where in all processes: by itself, and in any order against a model."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from geventws.pubsub.interface import Stay
from geventws.pubsub.presence.members import Change
from geventws.pubsub.presence.views import OWN, Views

A, B = b"aaaaaaaa", b"bbbbbbbb"


def told(changes: list[Change]) -> list[tuple[str, str | None, Any]]:
    return [(change.event.kind, change.event.member, change.event.info) for change in changes]


def there(node: bytes, member: str, info: Any = None) -> Stay:
    return Stay(node, member, info)


def gone(node: bytes, member: str) -> Stay:
    return Stay(node, member, None, False)


def filled(*stays: Stay) -> Views:
    views = Views()
    views.ask("room")
    views.fill("room", list(stays))
    return views


def test_a_member_is_there_as_long_as_it_is_in_any_process() -> None:
    views = filled()
    assert told(views.apply("room", there(OWN, "ana", 1))) == [("join", "ana", 1)]
    assert views.apply("room", there(A, "ana", 1)) == views.apply("room", there(A, "ana", 1)) == []
    assert told(views.apply("room", there(A, "ana", 2))) == [("join", "ana", 2)]
    assert views.find("room") == {"ana": 2} and views.nodes == {A}
    assert told(views.apply("room", gone(A, "ana"))) == [("join", "ana", 1)]
    assert views.apply("room", gone(B, "ana")) == []
    assert views.find("room") == {"ana": 1}
    assert told(views.apply("room", gone(OWN, "ana"))) == [("leave", "ana", 1)]
    assert views.find("room") == {} and views.apply("room", gone(OWN, "ana")) == []


def test_an_answer_tells_of_the_difference() -> None:
    views = filled(there(A, "ana"), there(A, "bob"), there(B, "cleo"))
    views.apply("room", there(OWN, "own"))
    views.ask("room")
    changes = views.fill("room", [there(A, "ana", "new"), there(B, "bob"), there(B, "dan")])
    assert told(changes) == [("join", "ana", "new"), ("join", "dan", None), ("leave", "cleo", None)]
    assert views.find("room") == {"ana": "new", "bob": None, "own": None, "dan": None}


def test_what_happens_while_it_asks_is_not_lost() -> None:
    views = Views()
    views.ask("room")
    assert views.find("room") is None
    assert views.apply("room", there(A, "ana")) == views.apply("room", gone(A, "bob")) == []
    assert told(views.apply("room", there(OWN, "own"))) == [("join", "own", None)]
    assert told(views.fill("room", [there(A, "bob"), there(B, "cleo")])) == [
        ("join", "bob", None), ("join", "cleo", None), ("join", "ana", None), ("leave", "bob", None),
    ]  # fmt: skip
    assert views.find("room") == {"own": None, "cleo": None, "ana": None}


def test_an_answer_that_does_not_come_is_given_up() -> None:
    views = Views()
    views.ask("room")
    views.give_up("room")
    views.give_up("nowhere")
    assert views.fill("nowhere", [there(A, "ana")]) == []
    assert views._views["room"].asked == 0 and views.find("room") is None


def test_processes_that_are_no_more_take_their_members_along() -> None:
    views = filled(there(A, "ana"), there(A, "bob"), there(B, "bob"))
    assert told(views.drop({A})) == [("leave", "ana", None)] and views.nodes == {B}


def test_what_others_tell_no_more_is_forgotten() -> None:
    views = filled(there(A, "ana"))
    views.apply("room", there(OWN, "own", 1))
    views.forget("room")
    assert views.find("room") is None and "room" in views and views.nodes == set()
    views.apply("room", gone(OWN, "own"))
    assert "room" not in views
    views.forget("room")
    views.ask("room")
    views.clear()
    assert "room" not in views


class Model(RuleBasedStateMachine):
    """Others change, and answers come late: in the end, all that is heard makes what there is."""

    @initialize()
    def begin(self) -> None:
        self.views = Views()
        self.there: dict[tuple[bytes, str], Any] = {}
        self.news: list[Stay] = []  # published, and not heard yet
        self.answers: list[list[Stay]] = []  # read, and not come yet
        self.heard: dict[str, Any] = {}

    def hear(self, changes: list[Change]) -> None:
        for kind, member, info in told(changes):
            if kind == "join":
                self.heard[str(member)] = info
            else:
                del self.heard[str(member)]

    @rule(node=st.sampled_from([A, B, OWN]), member=st.sampled_from("xyz"), info=st.integers(0, 2))
    def come(self, node: bytes, member: str, info: int) -> None:
        self.change(Stay(node, member, info))
        self.there[node, member] = info

    @rule(node=st.sampled_from([A, B, OWN]), member=st.sampled_from("xyz"))
    def go(self, node: bytes, member: str) -> None:
        if self.there.pop((node, member), None) is not None:
            self.change(gone(node, member))

    def change(self, stay: Stay) -> None:
        if stay.node == OWN:
            self.hear(self.views.apply("room", stay))
        else:
            self.news.append(stay)

    @rule()
    def ask(self) -> None:
        self.views.ask("room")
        self.answers.append([Stay(node, name, info) for (node, name), info in self.there.items() if node != OWN])

    @rule()
    def hear_next(self) -> None:
        if self.news:
            self.hear(self.views.apply("room", self.news.pop(0)))

    @rule()
    def answer(self) -> None:
        if self.answers:
            self.hear(self.views.fill("room", self.answers.pop(0)))

    @invariant()
    def agrees(self) -> None:
        known = self.views.find("room")
        assert known is None or known == self.heard

    def teardown(self) -> None:
        self.ask()
        while self.news or self.answers:
            self.hear_next()
            self.answer()
        assert set(self.views.find("room") or ()) == {name for _node, name in self.there}


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
