"""messages.py with `streaming` and with `decode_text=False`: the same bytes, delivered in pieces or undecoded."""

from __future__ import annotations

from typing import Any

import pytest
from kit.frames import BINARY, CLOSE, CONTINUATION, PONG, TEXT, WAYS, feed, frame

from geventws.protocol.connection import WebSocketProtocol
from geventws.protocol.messages import END_OF_BINARY, END_OF_TEXT

WORD = "añ€\U0001f600".encode()

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)

MESSAGES = {
    "empty text": (frame(TEXT), ""),
    "empty binary": (frame(BINARY), b""),
    "text": (frame(TEXT, WORD), WORD.decode()),
    "binary": (frame(BINARY, b"\xff" * 300), b"\xff" * 300),
    "large text": (frame(TEXT, WORD * 7000), WORD.decode() * 7000),
    "fragments": (
        frame(TEXT, WORD[:2], fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION, WORD[2:]), WORD.decode()
    ),
    "empty fragments": (frame(BINARY, fin=False) + frame(CONTINUATION, fin=False) * 3 + frame(CONTINUATION), b""),
    "a pong between": (frame(TEXT, b"\xc3", fin=False) + frame(PONG, b"x\xff") + frame(CONTINUATION, b"\xa9"), "é"),
}


def collect(protocol: WebSocketProtocol) -> list[str | bytes]:
    """Return the messages that the pieces make; every piece of a message is of its type, and none is empty."""
    whole: list[str | bytes] = []
    pieces: list[Any] = []
    for piece in protocol.inbox:
        if piece is END_OF_TEXT or piece is END_OF_BINARY:
            whole.append(piece.empty.join(pieces))
            pieces = []
        else:
            assert isinstance(piece, (str, bytes)) and piece
            pieces.append(piece)
    assert not pieces
    return whole


@every_way
@pytest.mark.parametrize(("data", "message"), MESSAGES.values(), ids=MESSAGES)
def test_the_pieces_make_the_message(data: bytes, message: str | bytes, way: Any) -> None:
    protocol = WebSocketProtocol(streaming=True, max_message_size=10)
    way(protocol, data + frame(BINARY, b"trail"))
    assert collect(protocol) == [message, b"trail"]
    assert protocol.failure is None and protocol.fast_path == 0


@every_way
@pytest.mark.parametrize(("data", "message"), MESSAGES.values(), ids=MESSAGES)
@pytest.mark.parametrize("streaming", [False, True])
def test_text_that_is_not_decoded(data: bytes, message: str | bytes, streaming: bool, way: Any) -> None:
    protocol = WebSocketProtocol(streaming=streaming, decode_text=False)
    way(protocol, data + frame(TEXT, b"trail"))
    found = collect(protocol) if streaming else list(protocol.inbox)
    assert found == [message.encode() if isinstance(message, str) else message, b"trail"]
    assert protocol.failure is None and protocol.fast_path == 0


def test_pieces_come_at_once_and_are_not_kept() -> None:
    protocol = WebSocketProtocol(streaming=True)
    data = frame(BINARY, bytes(1000))
    feed(protocol, data[:108])
    assert list(protocol.inbox) == [bytes(100)]
    protocol.inbox.clear()
    feed(protocol, data[108:])
    assert list(protocol.inbox) == [bytes(900), END_OF_BINARY]


def test_a_character_comes_whole() -> None:
    protocol = WebSocketProtocol(streaming=True)
    feed(protocol, frame(TEXT, fin=False))
    for byte in WORD:
        feed(protocol, frame(CONTINUATION, bytes([byte]), fin=False))
    assert list(protocol.inbox) == list(WORD.decode())


@every_way
@pytest.mark.parametrize("decode_text", [False, True])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc3\x28", b"\xf4\x90", b"\xed\xa0"], ids=bytes.hex)
def test_bad_text_fails_as_early_as_the_bytes_allow(bad: bytes, decode_text: bool, way: Any) -> None:
    begun = frame(TEXT, b"ok" + bad + bytes(50))[:-50]
    for data, failure in ((begun[:-1], None), (begun, 1007)):
        protocol = WebSocketProtocol(streaming=True, decode_text=decode_text)
        way(protocol, data)
        assert (protocol.failure and protocol.failure.close_code) == failure
        assert END_OF_TEXT not in protocol.inbox and END_OF_BINARY not in protocol.inbox


@every_way
def test_a_text_that_ends_inside_of_a_character(way: Any) -> None:
    protocol = WebSocketProtocol(streaming=True)
    way(protocol, frame(TEXT, b"ok\xe2\x82", fin=False) + frame(CONTINUATION) + frame(TEXT, b"late"))
    assert protocol.failure is not None and protocol.failure.close_code == 1007
    assert "".join(protocol.inbox) == "ok"


@every_way
def test_a_close_in_the_middle_of_a_message(way: Any) -> None:
    protocol = WebSocketProtocol(streaming=True)
    way(protocol, frame(TEXT, b"half", fin=False) + frame(CLOSE, b"\x03\xe8\xc3\xa9") + frame(CONTINUATION))
    assert "".join(protocol.inbox) == "half"
    assert (protocol.close_code, protocol.close_reason, protocol.failure) == (1000, "é", None)
