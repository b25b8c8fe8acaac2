"""The door: its handshake, its options, and where it is mounted."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from kit.handshakes import KEY
from kit.sites.doors import Door, Peer

from geventws import PubSub, WebSocketServer
from geventws.endpoints.endpoint import ENDPOINT_DEFAULTS
from geventws.pubsub.rooms.endpoint import ROOMS_DEFAULTS, RoomsOptions
from geventws.pubsub.rooms.messages import SUBPROTOCOL


@pytest.fixture
def door(serve: Any) -> Door:
    return Door(serve)


@pytest.mark.parametrize("offer", [None, "chat", "geventws.rooms.v2, chat"])
def test_who_does_not_ask_for_the_protocol_is_refused(door: Door, offer: str | None) -> None:
    door.open()
    client = door.site.dial()
    wanted = f"Sec-WebSocket-Protocol: {offer}\r\n" if offer else ""
    client.send(
        f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{wanted}"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert client.read_head().status == "HTTP/1.1 400 Bad Request"
    assert client.rest() == b"this is for clients that speak geventws.rooms.v1\n"


def test_the_protocol_is_agreed_on(door: Door) -> None:
    door.open()
    client = door.site.dial()
    answer = client.open(sec_websocket_protocol=f"chat, {SUBPROTOCOL}")
    assert answer.get("sec-websocket-protocol") == SUBPROTOCOL


def test_options_are_those_of_the_decorator(door: Door) -> None:
    door.open(ping_interval=0.01, max_message_size=100, headers={"X-Room": "7"}, compression=None, origins=None)
    peer = door.connect(origin="https://elsewhere.example", sec_websocket_extensions="permessage-deflate")
    assert peer.raw.read_frame().opcode == 9, "a ping"
    peer.tell("publish", topic="room", data="x" * 100)
    while (frame := peer.raw.read_frame()).opcode == 9:
        pass
    assert frame.payload[:2] == (1009).to_bytes(2, "big")


@pytest.mark.parametrize("name", ["subprotocols", "decode_text", "streaming", "ping_intervall"])
def test_other_options_are_errors(name: str) -> None:
    with pytest.raises(TypeError, match=f"endpoint takes no option '{name}'"):
        PubSub().endpoint(**{name: 1})


def test_the_defaults_are_those_of_every_endpoint_but_the_size() -> None:
    assert set(ROOMS_DEFAULTS) == set(RoomsOptions.__annotations__)
    changed = {name for name, value in ROOMS_DEFAULTS.items() if value != ENDPOINT_DEFAULTS[name]}
    assert changed == {"max_message_size"} and ROOMS_DEFAULTS["max_message_size"] == 65536
    assert set(ROOMS_DEFAULTS) < set(inspect.signature(PubSub.endpoint).parameters)


def test_it_mounts_on_our_server_and_under_a_path(serve: Any) -> None:
    endpoint = PubSub().endpoint(lambda environ, action, topic: environ["SCRIPT_NAME"] == "/rooms")

    def application(environ: Any, start_response: Any) -> Any:
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = environ["PATH_INFO"], ""
        return endpoint(environ, start_response)

    site = serve(application, server_class=WebSocketServer)
    for path, kind in {"/rooms": "subscribed", "/other": "error"}.items():
        peer = Peer(site.connect(path, sec_websocket_protocol=SUBPROTOCOL))
        assert peer.ask("subscribe", topic="a")["type"] == kind
