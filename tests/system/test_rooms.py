"""The clients of rooms, in Python, Node and Chromium, at one server: the same cases for all."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import pywsgi
from gevent.event import Event
from kit.programs.browser import Browser
from kit.programs.rooms import Client, Failed, NodeProgram, PageProgram, PythonClient, ScriptClient
from kit.sites.doors import Door

from geventws import PubSub
from geventws.websocket import get_connection

BYTES = {"base64": "AAH+/w=="}


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProgram]:
    program = NodeProgram()
    yield program
    program.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[PageProgram]:
    with Browser() as browser:
        program = PageProgram(browser, in_thread)
        yield program
        program.close()


def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function that blocks in a thread."""
    return gevent.get_hub().threadpool.apply(function, arguments)


@pytest.fixture(params=["python", "node", pytest.param("chromium", marks=pytest.mark.browser)])
def make_client(request: pytest.FixtureRequest, warm: None) -> Callable[[], Client]:
    """Return what makes a client of each kind. Its program runs before a test begins."""
    if request.param == "python":
        return PythonClient
    program = request.getfixturevalue(request.param)
    return lambda: ScriptClient(program)


@pytest.fixture
def door(make_client: Any, serve: Any) -> Door:
    return Door(serve)


@pytest.fixture
def make(make_client: Any, door: Door) -> Iterator[Callable[..., Client]]:
    """Return a client of the door, which is opened if it is not yet: `make(member, **options)`."""
    clients: list[Client] = []

    def make(member: str = "", **options: Any) -> Client:
        if door.site is None:
            door.open(origins=None)
        clients.append(make_client())
        clients[-1].call("connect", f"ws://127.0.0.1:{door.site.port}/?{member}", options)
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def subscribe(door: Door, client: Client, topic: str, **options: Any) -> None:
    """Subscribe, and wait until the server knows."""
    before = door.pubsub.count(topic)
    client.call("subscribe", topic, options)
    door.wait_until(lambda: door.pubsub.count(topic) > before)


def cut(door: Door, topic: str) -> None:
    """Cut the connections of all subscribers, and wait until the server has noticed."""
    subscribers = door.pubsub.subscribers(topic)
    for ws in subscribers:
        get_connection(ws).stream.socket.shutdown(socket.SHUT_RDWR)
    door.wait_until(lambda: all(ws.closed for ws in subscribers))


def numbers(client: Client) -> list[int]:
    """Return the numbers of the messages that have come."""
    client.look()
    return [int(event[2].split()[0]) for event in client.events if event[0] == "message"]


def test_what_is_published_comes_back_to_all(door: Door, make: Any) -> None:
    one, other = make(), make()
    for client in (one, other):
        subscribe(door, client, "plain")
    texts = ["hello", "", "grüße, 世界 😀", 'quote " \\ \n \u2028', BYTES, {"base64": ""}]
    for number, text in enumerate(texts):
        (one, other)[number % 2].call("publish", "plain", text)
    one.call("publish", "plain", "x" * 60_000)
    door.pubsub.publish("plain", "y" * 1_000_000)
    expected = [["message", "plain", text, None] for text in [*texts, "x" * 10 + "...60000", "y" * 10 + "...1000000"]]
    one.expect(*expected)
    other.expect(*expected)


def test_a_subscription_ends(door: Door, make: Any) -> None:
    client = make()
    subscribe(door, client, "a")
    subscribe(door, client, "b")
    client.call("unsubscribe", "a")
    door.wait_until(lambda: not door.pubsub.count("a"))
    door.pubsub.publish("a", "lost")
    door.pubsub.publish("b", "here")
    client.expect(["message", "b", "here", None])


def test_what_is_refused_is_told(door: Door, make: Any) -> None:
    door.authorize = lambda environ, action, topic: topic == "mine"
    client = make()
    client.call("subscribe", "yours")
    client.expect(["refused", "yours", "forbidden"])
    client.call("subscribe", "x" * 300)
    client.expect(["refused", "x" * 300, "limit"])
    for call in (["publish", "yours", ""], ["presence", "yours"]):
        with pytest.raises(Failed, match="forbidden"):
            client.call(*call)
    subscribe(door, client, "mine")
    client.call("publish", "mine", "")
    client.expect(["message", "mine", "", None])
    door.authorize = lambda environ, action, topic: False
    cut(door, "mine")
    client.expect(["refused", "mine", "forbidden"])


def test_each_message_comes_once_and_in_order_through_lost_connections(door: Door, make: Any) -> None:
    client = make()
    subscribe(door, client, "room")
    count = 0
    for _ in range(8):
        for _ in range(20):
            door.pubsub.publish("room", str(count))
            count += 1
        cut(door, "room")
        for _ in range(20):
            door.pubsub.publish("room", str(count))
            count += 1
        door.wait_until(lambda: door.pubsub.count("room"))
    client.wait_for(lambda events: len([event for event in events if event[0] == "message"]) >= count)
    assert numbers(client) == list(range(count))
    assert [event for event in client.events if event[0] == "gap"] == []


def test_a_gap_is_told(door: Door, make: Any) -> None:
    door.pubsub = PubSub(history={"room": (5, 300)})
    client = make()
    subscribe(door, client, "room")
    door.pubsub.publish("room", "0")
    client.wait_for(lambda events: [event for event in events if event[0] == "message"])
    cut(door, "room")
    for number in range(1, 20):
        door.pubsub.publish("room", str(number))
    client.wait_for(lambda events: [event for event in events if event[:1] == ["message"] and event[2] == "19"])
    events = [event for event in client.events if event[0] in ("message", "gap")]
    found = [event[2] if event[0] == "message" else event[0] for event in events]
    assert found == ["0", "gap", "15", "16", "17", "18", "19"]


def test_a_topic_without_history_has_a_gap_after_a_lost_connection(door: Door, make: Any) -> None:
    client = make()
    subscribe(door, client, "plain")
    cut(door, "plain")
    client.expect(["gap", "plain"])
    door.pubsub.publish("plain", "on")
    client.expect(["message", "plain", "on", None])


def test_what_is_kept_and_what_came_after_a_position(door: Door, make: Any) -> None:
    for number in range(10):
        door.pubsub.publish("room", str(number))
    client, other = make(), make()
    subscribe(door, client, "room", history=True)
    client.wait_for(lambda events: len([event for event in events if event[0] == "message"]) == 10)
    assert numbers(client) == list(range(10))
    position = [event[3] for event in client.events if event[0] == "message"][6]
    subscribe(door, other, "room", since=position)
    other.wait_for(lambda events: len([event for event in events if event[0] == "message"]) == 3)
    assert numbers(other) == [7, 8, 9]


def test_a_large_history_comes_whole(door: Door, make: Any) -> None:
    """It is many times what may wait for a subscriber, and more comes meanwhile."""
    for number in range(30):
        door.pubsub.publish("room", f"{number} " + "x" * 100_000)
    client = make()
    subscribe(door, client, "room", history=True)
    for number in range(30, 60):
        door.pubsub.publish("room", str(number))
    client.wait_for(lambda events: len([event for event in events if event[0] == "message"]) == 60)
    assert numbers(client) == list(range(60))


def test_subscribing_anew_begins_anew(door: Door, make: Any) -> None:
    client = make()
    subscribe(door, client, "room", history=True)
    door.pubsub.publish("room", "0")
    client.wait_for(lambda events: ["message", "room", "0"] in [event[:3] for event in events])
    client.call("unsubscribe", "room")
    client.call("subscribe", "room", {"history": True})
    client.wait_for(lambda events: len([event for event in events if event[0] == "message"]) == 2)
    door.pubsub.publish("room", "1")
    client.wait_for(lambda events: len([event for event in events if event[0] == "message"]) == 3)
    assert numbers(client) == [0, 0, 1]


def test_who_is_there(door: Door, make: Any) -> None:
    ana, ben = make("ana"), make("ben")
    subscribe(door, ana, "plain", presence=True)
    subscribe(door, ben, "plain", presence=True)
    ana.expect(["join", "plain", "ben", None])
    assert ana.call("presence", "plain") == {"ana": None, "ben": None}
    ben.call("unsubscribe", "plain")
    ana.expect(["leave", "plain", "ben"])
    ben.call("subscribe", "plain", {"presence": True})
    ana.expect(["join", "plain", "ben", None])
    ben.look()
    assert [event for event in ben.events if event[0] in ("join", "leave")] == []


def test_who_came_and_went_during_a_lost_connection(door: Door, make: Any) -> None:
    door.pubsub = PubSub(presence_grace=0)
    ana, ben = make("ana"), make("ben")
    subscribe(door, ben, "plain", presence=True)
    subscribe(door, ana, "plain", presence=True)
    door.authorize = lambda environ, action, topic: environ["QUERY_STRING"] == "ana"
    cut(door, "plain")
    ana.expect(["leave", "plain", "ben"])
    ben.expect(["refused", "plain", "forbidden"])
    assert ana.call("presence", "plain") == {"ana": None}


def test_a_client_goes_when_the_server_wants_it(door: Door, make: Any) -> None:
    client = make()
    subscribe(door, client, "room")
    (ws,) = door.pubsub.subscribers("room")
    ws.close(1012, "restart")
    door.wait_until(lambda: door.pubsub.count("room"))
    (ws,) = door.pubsub.subscribers("room")
    ws.close(4403, "go")
    client.wait_for(lambda events: ["state", "closed", "closed"] in events)
    with pytest.raises(Failed, match="closed"):
        client.call("publish", "room", "")


def test_a_request_whose_answer_is_lost(door: Door, make: Any) -> None:
    client = make()
    subscribe(door, client, "room")
    asked, answered = Event(), Event()
    door.authorize = lambda environ, action, topic: action != "publish" or (asked.set() or answered.wait())

    def lose() -> None:
        asked.wait()
        cut(door, "room")
        answered.set()

    losing = gevent.spawn(lose)
    with pytest.raises(Failed, match="lost"):
        client.call("publish", "room", "perhaps")
    losing.get()


def test_a_client_waits_for_its_server(door: Door, make: Any) -> None:
    client = make()
    subscribe(door, client, "room")
    port = door.site.port
    position = door.pubsub.history("room").position
    door.site.server.stop()
    cut(door, "room")
    client.look()
    door.pubsub.publish("room", "0")
    again = pywsgi.WSGIServer(("127.0.0.1", port), door.site.server.application, log=None, spawn=door.site.pool)
    again.start()
    try:
        client.wait_for(lambda events: ["message", "room", "0"] in [event[:3] for event in events])
        client.call("publish", "room", "1")
        client.wait_for(lambda events: ["message", "room", "1"] in [event[:3] for event in events])
        assert position is not None
    finally:
        again.close()
