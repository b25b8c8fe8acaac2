"""Greenlets that wait for something of a connection, each with its own question; threads that wait for an answer."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from kit.sites.buses import wait_until

from geventws.engine.loop.poller import get_poller
from geventws.engine.loop.waiters import Answer, Waiters


@pytest.fixture
def waiters(warm: None) -> Waiters:
    return Waiters(get_poller())


def test_each_goes_on_when_its_own_question_is_answered(waiters: Waiters) -> None:
    happened: set[str] = set()
    greenlets = {name: gevent.spawn(waiters.wait_until, lambda name=name: name in happened, None) for name in "ab"}
    gevent.sleep(0)
    for name in "ba":
        happened.add(name)
        waiters.wake_soon()
        assert not greenlets[name].ready()  # in the loop's next turn
        greenlets[name].get(timeout=5)
    assert all(one.ready() for one in greenlets.values())


def test_the_time_is_up(waiters: Waiters) -> None:
    waiters.wait_until(lambda: False, 0.001)
    waiters.wake_soon()  # nobody is left
    gevent.sleep(0)


def test_one_that_is_killed_waits_no_more(waiters: Waiters) -> None:
    asked: list[int] = []
    waiting = gevent.spawn(waiters.wait_until, lambda: bool(asked.append(1)), None)
    gevent.sleep(0)
    waiting.kill()
    asked.clear()
    waiters.wake_soon()
    gevent.sleep(0)
    assert asked == []


def test_who_is_woken_may_end_the_wait_of_the_next(waiters: Waiters) -> None:
    """It is asked again: what it waits for may be gone by then."""
    free, order = [True], []

    def use(name: str) -> None:
        waiters.wait_until(lambda: bool(free), None)
        free.pop()
        order.append(name)

    free.clear()
    greenlets = [gevent.spawn(use, name) for name in "ab"]
    gevent.sleep(0)
    for count in (1, 2):
        free.append(True)
        waiters.wake_soon()
        gevent.sleep(0)
        gevent.sleep(0)
        assert order == ["a", "b"][:count]
    gevent.joinall(greenlets, raise_error=True)


def test_an_answer_is_waited_for(serve: Any, in_thread: Any) -> None:
    answer = Answer()
    gevent.spawn(answer.set, True)
    assert answer.wait(10) and answer.wait(10)
    assert not Answer().wait(0.01)
    answers: list[Answer] = []

    def wait() -> bool:
        answers.append(Answer())
        return answers[0].wait(10)

    waiting = gevent.get_hub().threadpool.spawn(wait)
    wait_until(lambda: answers)
    answers[0].set(True)
    assert waiting.get()
    assert not in_thread(lambda: Answer().wait(0.01))


def test_a_callback_does_not_wait_for_an_answer(warm: None) -> None:
    seen: list[bool] = []

    def call_back() -> None:
        answer = Answer()
        seen.extend((answer.may_wait, answer.wait(10)))

    assert Answer().may_wait
    gevent.get_hub().loop.run_callback(call_back)
    gevent.sleep(0)
    assert seen == [False, False]
