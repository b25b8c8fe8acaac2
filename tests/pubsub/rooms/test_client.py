"""RoomsClient by itself: what blocks, what is raised, and how much waits. What all clients do: system/test_rooms.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit.servers.scripted import echo
from kit.sites.doors import Door

from geventws import ConnectionClosed, InvalidStatus, PubSub, RoomsClient, RoomsError, WebSocketWSGI
from geventws.client import reconnection
from geventws.pubsub.rooms.messages import SUBPROTOCOL


@pytest.fixture
def door(serve: Any) -> Door:
    return Door(serve)


@pytest.fixture
def make(door: Door) -> Iterator[Callable[..., RoomsClient]]:
    """Return a client of the door, or of a port."""
    clients: list[RoomsClient] = []

    def make(port: int = 0, query: str = "", **options: Any) -> RoomsClient:
        if not port and door.site is None:
            door.open()
        options = {"initial_delay": 0.01, "max_delay": 0.02, **options}
        clients.append(RoomsClient(f"ws://127.0.0.1:{port or door.site.port}/?{query}", **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def scripted(serve: Any, *replies: Any, subprotocol: str = SUBPROTOCOL) -> int:
    """Serve connections that answer each request with the next of these replies; return the port."""

    def answer(ws: Any) -> None:
        for _request in ws:
            ws.send(replies[0] if isinstance(replies[0], str) else json.dumps(replies[0]))

    return int(serve(WebSocketWSGI(answer, subprotocols=[subprotocol])).port)


@pytest.mark.parametrize("name", ["subprotocols", "decode_text", "streaming", "ping_intervall"])
def test_there_is_no_such_option(name: str) -> None:
    with pytest.raises(TypeError, match=f"RoomsClient takes no option '{name}'"):
        RoomsClient("ws://127.0.0.1:1/", **{name: True})


def test_messages_in_a_loop_until_it_is_closed(door: Door, make: Any) -> None:
    client, found = make(), []
    client.subscribe("room")
    reader = gevent.spawn(lambda: found.extend(client))
    door.wait_until(lambda: door.pubsub.count("room"))
    client.publish("room", bytearray(b"\x00"))
    client.publish("room", "text")
    assert [(message.topic, message.data) for message in found] == [("room", b"\x00"), ("room", "text")]
    client.close()
    client.close()
    reader.get()
    assert client.wait() is None and door.wait_until(lambda: not door.pubsub.count("room")) is None
    with pytest.raises(RoomsError, match="closed"):
        client.publish("room", "")


def test_waiting_has_a_timeout(door: Door, make: Any) -> None:
    client = make()
    client.subscribe("room")
    with pytest.raises(TimeoutError):
        client.wait(0)
    with pytest.raises(TimeoutError):
        client.wait(0.01)
    door.wait_until(lambda: door.pubsub.count("room"))
    door.pubsub.publish("room", "a")
    assert client.wait(timeout=5).data == "a"


def test_a_request_has_a_timeout_and_its_late_answer_is_ignored(door: Door, make: Any) -> None:
    client, answered = make(request_timeout=0.05), Event()
    door.authorize = lambda environ, action, topic: answered.wait()
    with pytest.raises(TimeoutError, match="option: request_timeout"):
        client.publish("room", "")
    answered.set()
    assert client.publish("room", "") is None


def test_a_request_without_a_server_has_the_same_timeout(serve: Any, make: Any, hub_errors: list[Any]) -> None:
    site = serve(echo)
    site.server.stop()
    client = make(site.port, request_timeout=0.05)
    with pytest.raises(TimeoutError):
        client.publish("room", "")
    assert client.unsubscribe("room") is False
    waiting = gevent.spawn(client.publish, "room", "")
    gevent.idle()
    client.close()
    with pytest.raises(RoomsError) as caught:
        waiting.get()
    assert caught.value.code == "closed" and hub_errors == [caught.value]
    hub_errors.clear()


def test_an_application_s_timeout_stays_its_own(door: Door, make: Any) -> None:
    client, answered = make(), Event()
    door.authorize = lambda environ, action, topic: answered.wait()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        client.publish("room", "")
    answered.set()


def test_what_cannot_be_sent_is_an_error_at_once(make: Any) -> None:
    client = make()
    with pytest.raises(UnicodeEncodeError):
        client.subscribe("\ud800")
    with pytest.raises(UnicodeEncodeError):
        client.publish("room", "\ud800")
    with pytest.raises(TypeError, match="str or bytes-like, not int"):
        client.publish("room", 1)
    client.subscribe("room")
    with pytest.raises(ValueError, match="already"):
        client.subscribe("room")
    assert client.publish("room", "x") is None


def test_what_waits_of_a_topic_is_gone_once_it_is_unsubscribed(door: Door, make: Any) -> None:
    client = make()
    client.subscribe("a")
    client.subscribe("b")
    door.wait_until(lambda: door.pubsub.count("b"))
    door.pubsub.publish("a", "1")
    door.pubsub.publish("b", "2")
    client.publish("c", "")  # by now both have come
    assert client.unsubscribe("a") is True
    assert client.wait().data == "2"


def test_a_refusal_is_raised_once_and_the_rest_goes_on(door: Door, make: Any) -> None:
    door.authorize = lambda environ, action, topic: topic != "secret"
    client = make()
    client.subscribe("secret")
    client.subscribe("room")
    with pytest.raises(RoomsError) as caught:
        client.wait()
    assert (caught.value.code, caught.value.topic) == ("forbidden", "secret")
    client.publish("room", "x")
    assert client.wait().data == "x"


@pytest.mark.parametrize("reply", ["no JSON", "[]", {"type": "message", "topic": "a"}], ids=str)
def test_a_server_that_does_not_speak_the_protocol(serve: Any, make: Any, reply: Any) -> None:
    client = make(scripted(serve, reply))
    client.subscribe("a")
    for _ in range(2):
        with pytest.raises(RoomsError) as caught:
            client.wait()
        assert caught.value.code == "unsupported"
    with pytest.raises(RoomsError):
        client.publish("a", "")


def test_a_server_of_another_protocol(serve: Any, make: Any) -> None:
    client = make(scripted(serve, "", subprotocol="chat"))
    with pytest.raises(RoomsError, match="does not speak geventws.rooms.v1"):
        client.wait()


def test_what_reconnect_raises_ends_the_client(serve: Any, make: Any) -> None:
    site = serve(lambda environ, start_response: start_response("403 Forbidden", [("Content-Length", "0")]) and [])
    client = make(site.port)
    for _ in range(2):
        with pytest.raises(InvalidStatus):
            client.wait()


def test_replies_that_are_not_known_are_ignored(serve: Any, make: Any) -> None:
    client = make(scripted(serve, {"type": "later", "topic": "a"}))
    client.subscribe("a")
    with pytest.raises(TimeoutError):
        client.wait(0.05)


def test_a_message_that_is_too_large_for_us_ends_the_client(door: Door, make: Any) -> None:
    client = make(max_message_size=1000)
    client.subscribe("room")
    door.wait_until(lambda: door.pubsub.count("room"))
    door.pubsub.publish("room", "x" * 2000)
    with pytest.raises(ConnectionClosed) as caught:
        client.wait()
    assert caught.value.code == 1009


def test_a_request_that_is_too_large_for_the_server_is_lost_and_the_client_goes_on(door: Door, make: Any) -> None:
    client = make()
    with pytest.raises(RoomsError) as caught:
        client.publish("room", "x" * 70_000)
    assert caught.value.code == "lost" and "1009" in str(caught.value)
    assert client.publish("room", "x") is None


def test_a_client_that_is_slow_reads_no_further_than_it_may(door: Door, make: Any) -> None:
    """What it does not take waits in the server's history, and comes after a lost connection or without one."""
    door.pubsub = PubSub(history={"room": (1000, 300)})
    client = make()
    client.subscribe("room")
    door.wait_until(lambda: door.pubsub.count("room"))
    count = 300
    for number in range(count):
        door.pubsub.publish("room", f"{number} " + "x" * 10_000)
        gevent.sleep(0)
    gaps: list[str] = []
    client._callbacks = {kind: gaps.append for kind in client._callbacks}
    assert [int(client.wait().data.split()[0]) for _ in range(count)] == list(range(count))
    assert gaps == []


def test_the_delays_are_those_of_reconnect(serve: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    enough = Event()

    def sleep(_name: str, _why: str, delay: float) -> None:
        slept.append(delay)
        if len(slept) > 4:
            enough.set()
            gevent.sleep(60)

    monkeypatch.setattr(reconnection, "_sleep", sleep)
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    site = serve(echo)
    site.server.stop()
    make(site.port, initial_delay=1.0, max_delay=5.0)
    enough.wait()
    assert slept == [1, 2, 4, 5, 5]
