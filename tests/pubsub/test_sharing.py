"""What each connection gets of a message: shared bytes where it can, its own where it must, and in its turn."""

from __future__ import annotations

import gc
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit import frames
from kit.core.deflates import inflate, inflater
from kit.sites.rooms import Room, read_messages

from geventws import (
    PerMessageDeflate,
    PreparedMessage,
    PubSub,
    WebSocketMiddleware,
    connect,
)
from geventws.compat import eventlet
from geventws.compat.geventwebsocket.handler import WebSocketHandler
from geventws.engine.loop.poller import get_poller
from geventws.engine.tls import TLSCalls
from geventws.protocol.permessage_deflate import Deflate

DEFLATE = "permessage-deflate"
JSON = '{"price": 1, "size": 2, "side": "buy"} ' * 30


@pytest.fixture
def room(serve: Any) -> Room:
    return Room(serve)


def test_a_message_is_compressed_once_for_all_who_agreed_on_the_same(room: Room, monkeypatch: Any) -> None:
    made = []
    encode = Deflate.encode
    monkeypatch.setattr(Deflate, "encode", lambda self, payload: made.append(self) or encode(self, payload))
    room.open(compression=PerMessageDeflate())
    window = f"{DEFLATE}; server_max_window_bits=10"
    clients = [room.connect(sec_websocket_extensions=offer) for offer in (None, DEFLATE, DEFLATE, window, window)]
    assert room.pubsub.publish("room", JSON) == 5
    assert room.pubsub.publish("room", "short") == 5
    received = [client.read_frame() for client in clients]
    assert [frame.rsv for frame in received] == [0, frames.RSV1, frames.RSV1, frames.RSV1, frames.RSV1]
    assert received[0].payload.decode() == JSON
    assert {inflate(inflater(), frame.payload, True, 1 << 20).decode() for frame in received[1:]} == {JSON}
    assert [client.read_message() for client in clients] == ["short"] * 5
    assert len(made) == 2


def test_who_keeps_a_context_gets_messages_of_its_own(room: Room) -> None:
    room.open(compression=PerMessageDeflate(server_no_context_takeover=False))
    client, plain = room.connect(sec_websocket_extensions=DEFLATE), room.connect()
    (ws, _), reader = room.members, inflater(keep=True)
    for number in range(3):
        room.pubsub.publish("room", f"{number}" + JSON)
        ws.send(f"{number}!" + JSON)
    received = [client.read_frame() for _ in range(6)]
    assert {frame.rsv for frame in received} == {frames.RSV1}
    found = [inflate(reader, frame.payload, True, 1 << 20).decode() for frame in received]
    assert found == [f"{number}{mark}{JSON}" for number in range(3) for mark in ("", "!")]
    assert len(received[3].payload) < len(received[0].payload)
    assert read_messages(plain, 3) == [f"{number}" + JSON for number in range(3)]


def test_a_client_may_subscribe(room: Room) -> None:
    room.open()
    server_side = room.connect()
    with connect(f"ws://127.0.0.1:{room.site.port}/?none") as ws:
        room.pubsub.subscribe(ws, "room")
        assert room.pubsub.publish("room", "masked") == 2
        assert server_side.read_message() == "masked"
        assert room.clients_without_topic().wait() == "masked"
        assert room.pubsub.subscribers("room")[1] is ws
    room.wait_until(lambda: room.pubsub.count("room") == 1)


def test_a_client_that_nobody_holds_leaves(room: Room) -> None:
    room.open()
    ws = connect(f"ws://127.0.0.1:{room.site.port}/?none")
    room.pubsub.subscribe(ws, "room")
    with pytest.warns(ResourceWarning):
        del ws
        gc.collect()
    room.wait_until(lambda: room.pubsub.count("room") == 0)


def test_a_prepared_message_can_be_sent_one_by_one(room: Room) -> None:
    room.open(compression=PerMessageDeflate())
    plain, compressed = room.connect(), room.connect(sec_websocket_extensions=DEFLATE)
    prepared = PreparedMessage(JSON)
    for ws in room.members:
        ws.send(prepared)
        ws.send(PreparedMessage("short"))
        ws.send(PreparedMessage(b"x" * 100_000, compress=False))
    assert plain.read_message() == JSON
    assert inflate(inflater(), compressed.read_frame().payload, True, 1 << 20).decode() == JSON
    for client in (plain, compressed):
        assert read_messages(client, 2) == ["short", b"x" * 100_000]
    with connect(f"ws://127.0.0.1:{room.site.port}/?none") as ws:
        ws.send(prepared)
        assert room.clients_without_topic().wait() == JSON


def test_a_view_behind_the_middleware_may_subscribe(serve: Any) -> None:
    pubsub, joined = PubSub(), Event()

    def application(environ: Any, start_response: Any) -> Any:
        ws = environ["wsgi.websocket"]
        pubsub.subscribe(ws, "room")
        joined.set()
        ws.wait()
        return []

    client = serve(WebSocketMiddleware(application)).connect()
    joined.wait()
    assert pubsub.publish("room", "to a view") == 1 and client.read_message() == "to a view"
    client.leave()


def until_closed(ws: Any) -> None:
    while ws.wait() is not None:
        pass


def serve_eventlet(pubsub: PubSub) -> tuple[Any, dict[str, Any]]:
    return eventlet.WebSocketWSGI(lambda ws: (pubsub.subscribe(ws, "room"), until_closed(ws))[1]), {}


def serve_geventwebsocket(pubsub: PubSub) -> tuple[Any, dict[str, Any]]:
    def application(environ: Any, start_response: Any) -> Any:
        pubsub.subscribe(environ["wsgi.websocket"], "room")
        environ["wsgi.websocket"].receive()
        return []

    return application, {"handler_class": WebSocketHandler}


@pytest.mark.parametrize("face", [serve_eventlet, serve_geventwebsocket])
def test_the_connections_of_other_systems_names_may_subscribe(room: Room, serve: Any, face: Any) -> None:
    application, options = face(room.pubsub)
    client = serve(application, **options).connect()
    room.wait_until(lambda: room.pubsub.count("room") == 1)
    assert room.pubsub.publish("room", "to a face") == 1 and client.read_message() == "to a face"
    client.close()
    room.wait_until(lambda: room.pubsub.count("room") == 0)


def test_what_is_published_in_a_turn_is_one_write_over_tls(room: Room, secure: Any, monkeypatch: Any) -> None:
    writes: list[int] = []
    send = TLSCalls.send
    monkeypatch.setattr(TLSCalls, "send", lambda *arguments: writes.append(len(arguments[1])) or send(*arguments))
    room.open("tls", secure)
    clients = [room.connect() for _ in range(3)]
    writes.clear()
    for number in range(100):
        room.pubsub.publish("room", f"{number:02}")
    gevent.sleep(0)
    assert [read_messages(client, 100) for client in clients] == [[f"{number:02}" for number in range(100)]] * 3
    assert writes == [400] * 3


def test_fewer_messages_are_gathered_where_python_sends_them(room: Room, monkeypatch: Any) -> None:
    """With contexts of their own each frame for each subscriber is a call: 128 for many would be one long turn."""
    monkeypatch.setattr("geventws.engine.loop.outbox.MOST_REFUSED", 20)
    calls: list[int] = []
    fanout = get_poller().outbox._fanout
    send = fanout.send
    monkeypatch.setattr(fanout, "send", lambda sent, *arguments: calls.append(len(sent)) or send(sent, *arguments))
    room.open(compression=PerMessageDeflate(server_no_context_takeover=False))
    clients = [room.connect(sec_websocket_extensions=DEFLATE) for _ in range(4)]
    for number in range(300):
        room.pubsub.publish("room", str(number))
    gevent.sleep(0)
    assert [read_messages(client, 300) for client in clients] == [[str(number) for number in range(300)]] * 4
    calls = [count for count in calls if count]
    assert calls[:6] == [128, 64, 32, 16, 8, 4] and max(calls[6:]) <= 8
    for _ in range(6):
        room.pubsub.publish("room", "alone")
        gevent.sleep(0)
    assert get_poller().outbox._most_frames == 128
