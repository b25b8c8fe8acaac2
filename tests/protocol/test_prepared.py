"""prepared.py: what `send` would send, made once for each distinct set of parameters."""

from __future__ import annotations

from typing import Any

import pytest
from kit.core.deflates import KEEP, LIMIT, inflate, pair

from geventws.frames import FrameParser, Opcode
from geventws.protocol.connection import WebSocketProtocol
from geventws.protocol.permessage_deflate import PerMessageDeflate
from geventws.protocol.prepared import PreparedMessage, prepare

TEXT = "the same again and again " * 40
FIN_TEXT, FIN_BINARY = 0x81, 0x82


@pytest.mark.parametrize("message", ["", "text", "\u20ac" * 50, b"\x00\xff" * 40, b"x" * 70_000, TEXT])
@pytest.mark.parametrize("compress", [None, True, False])
@pytest.mark.parametrize("config", [None, PerMessageDeflate(), PerMessageDeflate(server_max_window_bits=9)])
def test_the_frame_is_the_one_that_the_protocol_encodes(message: Any, compress: Any, config: Any) -> None:
    extension = None if config is None else pair(config)[0]
    protocol = WebSocketProtocol(extension=extension)
    head = FIN_TEXT if isinstance(message, str) else FIN_BINARY
    payload = message.encode() if isinstance(message, str) else message
    prepared = PreparedMessage(message, compress)
    assert prepared.encode(extension) == b"".join(protocol.encode_message(head, payload, compress))


def test_it_is_made_once_for_all_that_compress_alike() -> None:
    prepared = PreparedMessage(TEXT)
    one, same = pair(PerMessageDeflate())[0], pair(PerMessageDeflate())[0]
    narrow, other = pair(PerMessageDeflate(server_max_window_bits=9))[0], pair(PerMessageDeflate(threshold=100_000))[0]
    assert one.sharing == same.sharing != narrow.sharing
    frame = prepared.encode(one)
    assert prepared.encode(same) is frame
    assert prepared.encode(narrow) is not frame and prepared.encode(narrow) is prepared.encode(narrow)
    plain = prepared.encode(None)
    assert prepared.encode(other) is plain is prepared.encode(None)
    for compressed in (frame, prepared.encode(narrow)):
        (parsed,) = FrameParser(masked_in=False, reserved_bits=0x40).feed(compressed)
        assert parsed.rsv1 and inflate(pair(PerMessageDeflate())[1], parsed.payload, True, LIMIT) == TEXT.encode()


def test_what_keeps_context_shares_nothing() -> None:
    assert pair(KEEP)[0].sharing is None


def test_a_buffer_is_copied() -> None:
    buffer = bytearray(b"before")
    prepared = PreparedMessage(buffer)
    buffer[:] = b"behind"
    assert prepared.encode(None) == b"\x82\x06before"
    assert PreparedMessage(memoryview(b"view")).payload == b"view"
    assert prepared.opcode is Opcode.BINARY and repr(prepared) == "<PreparedMessage BINARY of 6 bytes>"


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(TypeError, match="str or bytes-like, not int"):
        PreparedMessage(5)  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        PreparedMessage("\ud800")


def test_preparing_twice_is_nothing() -> None:
    prepared = prepare("text")
    assert prepare(prepared) is prepared and prepared.encode(None) == b"\x81\x04text"
