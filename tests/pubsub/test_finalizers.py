"""What finalizers publish: the garbage collector may call them in the midst of a flush."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from kit.sites.rooms import Room, read_messages

from geventws import broadcast
from geventws.engine.loop.poller import get_poller
from geventws.pubsub.finalizers import is_finalizer


@pytest.fixture
def collected() -> Iterator[None]:
    """The collector runs when a test says so, and finds nothing of others."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Garbage:
    """Calls a function once the collector has found it."""

    def __init__(self, function: Any) -> None:
        self.function, self.cycle = function, self

    def __del__(self) -> None:
        self.function()


def test_a_finalizer_of_garbage_is_told_from_others(collected: None) -> None:
    seen: list[bool] = []
    Garbage(lambda: seen.append(is_finalizer()))
    gc.collect()
    alone = Garbage(lambda: seen.append(is_finalizer()))
    alone.cycle = None  # type: ignore[assignment]
    del alone
    assert seen == [True, False] and not is_finalizer()


def test_a_finalizer_is_told_from_what_other_threads_do_meanwhile(collected: None, in_thread: Any) -> None:
    seen: list[bool] = []
    Garbage(lambda: seen.extend((in_thread(is_finalizer), is_finalizer())))
    gc.collect()
    assert seen == [False, True] and not is_finalizer() and not in_thread(is_finalizer)


def test_an_interrupt_is_not_lost_in_the_collector() -> None:
    """As in a function of Python that the collector calls."""
    written_in_python = [one for one in gc.callbacks if hasattr(one, "__code__")]
    assert not [one for one in written_in_python if one.__module__.startswith("geventws")]


@pytest.mark.parametrize("over", ["tcp", "tls"])
def test_what_is_published_in_a_flush_leaves_after_it(
    serve: Any, secure: Any, monkeypatch: pytest.MonkeyPatch, collected: None, over: str
) -> None:
    """And counts once it does."""
    room, counts = Room(serve), []
    room.open("tls" if over == "tls" else "blocking", secure)
    clients = [room.connect() for _ in range(3)]

    def publish() -> None:
        counts.extend(room.pubsub.publish("room", f"last {number}") for number in range(300))
        counts.append(room.pubsub.stats.published)

    fanout = get_poller().outbox._fanout
    send = fanout.send
    monkeypatch.setattr(fanout, "send", lambda *arguments: (gc.collect(), send(*arguments))[1])
    Garbage(publish)
    assert room.pubsub.publish("room", "first") == 3
    gevent.sleep(0)
    expected = ["first", *(f"last {number}" for number in range(300))]
    assert [read_messages(client, 301) for client in clients] == [expected] * 3
    assert counts == [3] * 300 + [3] and room.pubsub.stats.sent == 903


def test_where_nobody_is_subscribed_it_publishes_at_once(serve: Any, collected: None) -> None:
    room, counts = Room(serve), []
    Garbage(lambda: counts.append(room.pubsub.publish("room", "to nobody")))
    gc.collect()
    assert counts == [0]


def test_what_is_broadcast_in_a_flush_leaves_after_it(
    serve: Any, monkeypatch: pytest.MonkeyPatch, collected: None
) -> None:
    room, counts = Room(serve), []
    room.open()
    clients = [room.connect() for _ in range(3)]
    fanout = get_poller().outbox._fanout
    send = fanout.send
    monkeypatch.setattr(fanout, "send", lambda *arguments: (gc.collect(), send(*arguments))[1])
    Garbage(lambda: counts.extend(broadcast(room.members * 2, f"last {number}") for number in range(300)))
    assert broadcast(room.members, "first") == 3
    gevent.sleep(0)
    expected = ["first", *(f"last {number}" for number in range(300))]
    assert [read_messages(client, 301) for client in clients] == [expected] * 3
    assert counts == [3] * 300


def test_a_finalizer_hears_of_its_own_errors(serve: Any, collected: None) -> None:
    room, errors = Room(serve), []
    room.open()
    client = room.connect()
    room.pubsub._store.bus = object()  # type: ignore[assignment]  # it is not reached

    def attempt(function: Any, *arguments: Any) -> None:
        with pytest.raises(TypeError) as raised:
            function(*arguments)
        errors.append(str(raised.value))

    Garbage(lambda: attempt(room.pubsub.publish, "room", "message", None, 5))
    Garbage(lambda: attempt(broadcast, [client], "message"))
    gc.collect()
    room.pubsub._store.bus = None
    assert sorted(errors) == ["a connection is a WebSocket, not RawClient", "over a bus, a key is str, not int"]
