"""connection.py: pongs that answer pings, and frames as they are sent (RFC 6455 5.1, 5.3, 5.5, 5.6)."""

from __future__ import annotations

from typing import Any

import pytest
from kit.frames import BINARY, CONTINUATION, PING, PONG, TEXT, WAYS, Frame, frame, read_frames, sent

from geventws.frames import Opcode
from geventws.protocol.connection import WebSocketProtocol

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


# Pings and pongs (RFC 6455 5.5.2, 5.5.3)


@every_way
@pytest.mark.parametrize("size", [0, 1, 125])
def test_a_ping_is_answered_with_its_payload(way: Any, size: int) -> None:
    payload = bytes(range(255, 255 - size, -1))
    protocol = WebSocketProtocol()
    way(protocol, frame(PING, payload))
    assert protocol.output == [frame(PONG, payload, key=None)]
    assert protocol.controls == [(Opcode.PING, payload)]
    assert protocol.failure is None and not protocol.inbox


@every_way
def test_pings_are_answered_in_order(way: Any) -> None:
    protocol = WebSocketProtocol()
    way(protocol, b"".join(frame(PING, str(i).encode()) for i in range(300)))
    assert sent(protocol) == [(PONG, str(i).encode()) for i in range(300)]


@every_way
def test_a_ping_in_a_message_is_answered_before_its_end(way: Any) -> None:
    protocol = WebSocketProtocol()
    way(protocol, frame(TEXT, b"a", fin=False) + frame(PING, b"\xff"))
    assert sent(protocol) == [(PONG, b"\xff")]
    way(protocol, frame(CONTINUATION, b"b"))
    assert list(protocol.inbox) == ["ab"]


@every_way
def test_a_client_masks_its_pongs(way: Any) -> None:
    protocol = WebSocketProtocol(client=True)
    way(protocol, frame(PING, b"abc", key=None))
    assert sent(protocol) == [(PONG, b"abc")]
    assert protocol.output[0][1] == 0x83


@every_way
def test_a_pong_is_told_and_not_answered(way: Any) -> None:
    protocol = WebSocketProtocol()
    way(protocol, frame(PONG, b"unasked") + frame(TEXT, b"on"))
    assert protocol.controls == [(Opcode.PONG, b"unasked")]
    assert not protocol.output and list(protocol.inbox) == ["on"]


# Sending (RFC 6455 5.3, 5.6)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_a_server_sends_the_payload_as_it_is(size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    header, payload = WebSocketProtocol().encode(0x82, body)
    assert payload is body
    assert header + body == frame(BINARY, body, key=None)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_a_client_masks_with_a_fresh_key(size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    client = WebSocketProtocol(client=True)
    header, payload = client.encode(0x81, memoryview(body))
    assert header + bytes(payload) == frame(TEXT, body, key=header[-4:])
    assert len({client.encode(0x81, b"")[0] for _ in range(64)}) > 60


def test_control_frames_hold_125_bytes() -> None:
    protocol = WebSocketProtocol()
    assert protocol.encode_control(Opcode.PING, bytes(125)) == b"\x89\x7d" + bytes(125)
    with pytest.raises(ValueError):
        protocol.encode_control(Opcode.PING, bytes(126))
    client = WebSocketProtocol(client=True)
    assert read_frames(client.encode_control(Opcode.PONG, b"abc")) == [Frame(PONG, b"abc")]
