"""partial.py: a frame whose payload comes in parts, and where its bytes may be received to (RFC 6455 5.2)."""

from __future__ import annotations

import itertools

import pytest
from kit.frames import BINARY, CLOSE, CONTINUATION, MASK_KEY, PING, PONG, TEXT, WAYS, feed, frame

from geventws.protocol.connection import WebSocketProtocol

# Where bytes may go: fast_path and receive_buffer

NEW, OPEN, LIMIT = b"", frame(BINARY, b"abc", fin=False), 1000
BIG = frame(BINARY, bytes(i % 251 for i in range(900)))
PART = frame(CONTINUATION, bytes(9))[:-1]


@pytest.mark.parametrize(
    ("data", "limit"),
    [
        (NEW, LIMIT),
        (frame(TEXT, b"whole"), LIMIT),
        (frame(PING), LIMIT),
        (OPEN + frame(CONTINUATION), LIMIT),
        (BIG, LIMIT),
        *((BIG[:cut], 0) for cut in (1, 2, 4, 7, 8, 9, 907)),
        *((frame(PING, b"abc")[:cut], 0) for cut in range(1, 9)),
        (OPEN, 0),
        (OPEN + frame(PONG), 0),
        (OPEN + frame(CONTINUATION, fin=False), 0),
        (OPEN[:-1], 0),
        (frame(CLOSE), 0),
        (b"\xff", 0),
    ],
)
def test_fast_path_says_whether_a_message_begins(data: bytes, limit: int) -> None:
    for way in WAYS.values():
        protocol = WebSocketProtocol(max_message_size=LIMIT)
        way(protocol, data)
        assert protocol.fast_path == limit


@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_the_rest_of_a_frame_is_received_into_its_buffer(opcode: int, client: bool) -> None:
    body = bytes(i % 128 for i in range(900))
    data = frame(opcode, body, key=None if client else MASK_KEY)
    start = len(data) - len(body)
    for begun, size in itertools.product((0, 1, 2, 3, 4, 5, 899), (1, 3, 4, 5, 500, 5000)):
        protocol = WebSocketProtocol(client=client)
        assert protocol.receive_buffer() is None
        feed(protocol, data[: start + begun])
        at = start + begun
        while at < len(data):
            target = protocol.receive_buffer()
            assert target is not None and len(target) == len(data) - at and not target.readonly
            piece = data[at : at + size]
            target[: len(piece)] = piece
            protocol.buffer_received(len(piece))
            at += len(piece)
        assert protocol.receive_buffer() is None
        assert list(protocol.inbox) == [body if opcode == BINARY else body.decode()]
        feed(protocol, frame(opcode, b"next", key=None if client else MASK_KEY))
        assert len(protocol.inbox) == 2


def test_the_two_ways_to_receive_take_turns() -> None:
    protocol = WebSocketProtocol()
    data = frame(TEXT, "äöü€".encode() * 50)
    feed(protocol, data[:20])
    at = 20
    for size in itertools.cycle((1, 2, 3)):
        if at >= len(data):
            break
        target = protocol.receive_buffer()
        assert target is not None
        target[:size] = data[at : at + size].ljust(size, b"?")[: len(target)]
        protocol.buffer_received(min(size, len(target)))
        at += size
        feed(protocol, data[at : at + 1])
        at += 1
    assert list(protocol.inbox) == ["äöü€" * 50]


@pytest.mark.parametrize("data", [b"", b"\x81", BIG[:4], BIG[:7], OPEN, OPEN + PART, b"\xff", BIG])
def test_there_is_no_buffer_where_none_is_due(data: bytes) -> None:
    protocol = WebSocketProtocol()
    feed(protocol, data)
    assert protocol.receive_buffer() is None
