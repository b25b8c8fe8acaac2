"""One PubSub in several loops."""

from __future__ import annotations

import threading
from typing import Any

import gevent
import pytest
from kit.sites.rooms import Room

from geventws import PreparedMessage, PubSub, connect


@pytest.fixture
def room(serve: Any) -> Room:
    return Room(serve)


def test_subscribers_of_two_loops_get_what_is_published_in_either(room: Room, in_thread: Any) -> None:
    room.open()
    here = room.connect()
    done, ready, heard = threading.Event(), threading.Event(), []

    def serve_there() -> None:
        """A client of the same server, that subscribes in the loop of its own thread."""
        with connect(f"ws://127.0.0.1:{room.site.port}/?none") as ws:
            room.pubsub.subscribe(ws, "room")
            ready.set()
            while not done.is_set():
                gevent.sleep(0.01)
            heard.append(room.pubsub.publish("room", "from there"))
            gevent.sleep(0.01)
        gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=serve_there)
    thread.start()
    in_thread(ready.wait)
    assert room.pubsub.count("room") == 2 and room.pubsub.publish("room", "from here") == 2
    assert here.read_message() == "from here"
    there = room.clients_without_topic()
    assert there.wait() == "from here"
    done.set()
    assert here.read_message() == "from there" and there.wait() == "from there"
    in_thread(thread.join)
    assert heard == [2] and room.pubsub.count("room") == 1
    assert room.pubsub.stats.published == room.pubsub.stats.sent == 4


def test_a_loop_that_is_destroyed_has_no_subscribers(room: Room, in_thread: Any) -> None:
    room.pubsub = PubSub(history={"room*": (10, 60)})
    room.open()
    kept: list[Any] = []

    def serve_there() -> None:
        kept.append(connect(f"ws://127.0.0.1:{room.site.port}/?none"))
        room.pubsub.subscribe(kept[0], "room")
        room.pubsub.publish("room", "1")
        gevent.sleep(0)
        gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=serve_there)
    thread.start()
    in_thread(thread.join)
    room.pubsub.publish("room", "2")
    assert room.pubsub.count("room") == 0 and room.pubsub._store._watchers == {}
    assert room.pubsub.stats.published == 1 and room.pubsub.history("room").messages == ["1", "2"]
    kept.clear()
    room.clients_without_topic().close()


def test_loops_that_have_ended_leave_only_their_counts(room: Room, in_thread: Any, monkeypatch: Any) -> None:
    """Where nobody publishes, or asks, in any other."""
    monkeypatch.setattr("geventws.pubsub.branches.loops.MOST_PAST", 3)
    room.open()

    def serve_there() -> None:
        with connect(f"ws://127.0.0.1:{room.site.port}/?none") as ws:
            room.pubsub.subscribe(ws, "room")
            room.pubsub._branches.get().publish("room", PreparedMessage("message"), None, None)
        gevent.get_hub().destroy(destroy_loop=True)

    for _ in range(10):
        thread = threading.Thread(target=serve_there)
        thread.start()
        there = room.clients_without_topic()
        assert there.wait() == "message" and there.wait() is None
        in_thread(thread.join)
        assert len(room.pubsub._branches._branches) == 1 and len(room.pubsub._branches._past) <= 3
    assert room.pubsub.stats.published == room.pubsub.stats.sent == 10
