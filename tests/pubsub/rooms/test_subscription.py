"""subscription.py: what a client of rooms keeps from one connection to the next."""

from __future__ import annotations

import gevent
import pytest

from geventws import RoomsError
from geventws.pubsub.rooms.messages import Gap, Join, Leave, Member, RoomMessage, Subscribe, Subscribed
from geventws.pubsub.rooms.subscription import COST, ENOUGH, TOO_MUCH, Inbox, Subscription


def test_a_subscription_goes_on_from_its_position() -> None:
    subscription = Subscription("a", None, True)
    assert subscription.request(1) == Subscribe(1, "a", None, True)
    assert subscription.confirm(Subscribed(1, "a", "e:0")) == []
    assert subscription.request(2).since == "e:0"
    subscription.note(RoomMessage("a", "", "e:1"))
    assert subscription.request(3).since == "e:1"
    subscription.note(Gap("a"))
    assert subscription.request(4).since == "e:1"
    subscription.note(Gap("a", "e:5"))
    assert subscription.request(5).since == "e:5"
    assert subscription.confirm(Subscribed(5, "a", "e:6")) == []
    assert subscription.request(6).since == "e:6"


def test_a_topic_without_history_has_a_gap_after_each_new_connection() -> None:
    subscription = Subscription("a", "", False)
    assert subscription.request(1).since == ""
    assert subscription.confirm(Subscribed(1, "a")) == []
    assert subscription.request(2).since is None
    assert subscription.confirm(Subscribed(2, "a")) == [Gap("a")]


def test_members_after_a_new_connection_are_compared_with_those_before() -> None:
    subscription = Subscription("a", None, True)
    before = (Member("ana"), Member("ben", 1), Member("cleo", {"x": []}))
    assert subscription.confirm(Subscribed(1, "a", "e:0", before)) == []
    assert subscription.members == {"ana": None, "ben": 1, "cleo": {"x": []}}
    subscription.note(Join("a", "dan"))
    subscription.note(Leave("a", "ana"))
    subscription.note(Leave("a", "nobody"))
    now = (Member("ben", 2), Member("cleo", {"x": []}), Member("eve"))
    events = subscription.confirm(Subscribed(2, "a", "e:0", now))
    assert events == [Leave("a", "dan"), Join("a", "ben", 2), Join("a", "eve", None)]
    assert subscription.members == {"ben": 2, "cleo": {"x": []}, "eve": None}


def test_what_is_put_in_is_taken_in_order() -> None:
    inbox, subscription = Inbox(), Subscription("a", None, False)
    error = RoomsError("forbidden", "no", "b")
    inbox.put(subscription, Gap("a"))
    inbox.put(None, error)
    assert inbox.take(None) == (subscription, Gap("a")) and inbox.take(0) == (None, error)
    with pytest.raises(TimeoutError):
        inbox.take(0)
    waiter = gevent.spawn(inbox.take, None)
    gevent.idle()
    inbox.put(subscription, Gap("late"))
    assert waiter.get() == (subscription, Gap("late"))
    waiters = [gevent.spawn(inbox.take, None) for _ in range(2)]
    gevent.idle()
    inbox.put(subscription, Gap("last"))
    inbox.end()
    assert [waiter.get() for waiter in waiters] == [(subscription, Gap("last")), None]
    assert inbox.take(None) is None


def test_the_inbox_is_bounded() -> None:
    inbox = Inbox()
    message = RoomMessage("a", b"x" * (ENOUGH // 4), None)
    for _ in range(4):
        assert inbox.has_room()
        inbox.put(None, message)
    waiter = gevent.spawn(inbox.wait_for_room)
    gevent.idle()
    assert not waiter.ready(), "enough waits"
    inbox.take(None)
    waiter.get()
    inbox.put(None, message)
    waiter = gevent.spawn(inbox.has_room)
    gevent.idle()
    assert not waiter.ready()
    with inbox.hurry():
        assert waiter.get() is True, "somebody waits for an answer"
        for _ in range((TOO_MUCH - ENOUGH) // (len(message.data) + COST)):
            inbox.put(None, message)
            assert inbox.has_room() is True
        inbox.put(None, message)
        assert inbox.has_room() is False
