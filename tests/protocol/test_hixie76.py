"""hixie76.py: drafts 75 and 76 after the handshake, on literal bytes; numbers of sections are those of draft 76."""

from __future__ import annotations

from typing import Any

import pytest
from kit.frames import WAYS, feed

from geventws.exceptions import PayloadTooBig, ProtocolError
from geventws.protocol.hixie76 import HixieProtocol
from geventws.protocol.messages import END_OF_TEXT

every_way = pytest.mark.parametrize("feed", WAYS.values(), ids=WAYS)

# Receiving (5.3)


def take(protocol: HixieProtocol) -> list[Any]:
    messages = list(protocol.inbox)
    protocol.inbox.clear()
    return messages


@every_way
def test_messages(feed):
    protocol = HixieProtocol()
    feed(protocol, b"\x00hello\xff\x00\xff\x00\xc3\xa9\x00\xff")
    assert take(protocol) == ["hello", "", "\xe9\0"]
    feed(protocol, b"\x00later\xff")
    assert take(protocol) == ["later"]
    assert not protocol.output and protocol.failure is None and protocol.fast_path == 0


@every_way
def test_what_is_not_utf8_is_replaced(feed):
    protocol = HixieProtocol()
    feed(protocol, b"\x00a\x80b\xc3\xff")
    assert take(protocol) == ["a\ufffdb\ufffd"]


@every_way
@pytest.mark.parametrize(
    "ignored",
    [
        b"\x01text of another type\xff",
        b"\x7f\xff",
        b"\x80\x00",
        b"\x80\x05\x00\xff\x00\xff\x00",
        b"\x80\x82\x00" + bytes(256),
        b"\xfe\x80\x80\x01\xff",
        b"\xff\x02\xff\x00",
    ],
)
def test_frames_of_other_types_are_ignored(feed, ignored):
    protocol = HixieProtocol()
    feed(protocol, b"\x00a\xff" + ignored + b"\x00b\xff")
    assert take(protocol) == ["a", "b"]
    assert protocol.failure is None and not protocol.close_received


@every_way
@pytest.mark.parametrize("data", [b"\x01", b"\x7f\xff", b"\x80\x00", b"\xef\x00", b"\xff\x01\x00", b"\xff\x80\x01x"])
def test_strict_takes_no_other_types(feed, data):
    protocol = HixieProtocol(strict=True)
    feed(protocol, b"\x00a\xff" + data + b"\x00b\xff")
    assert take(protocol) == ["a"]
    assert type(protocol.failure) is ProtocolError
    protocol.reply_to_close()
    assert (protocol.output, protocol.close_code) == ([b"\xff\x00"], 1002)


@every_way
def test_message_limit(feed):
    protocol = HixieProtocol(max_message_size=5)
    feed(protocol, b"\x00exact\xff\x05other\xff\x80\x05other\x00longer\xff\x00a\xff")
    assert take(protocol) == ["exact"]
    assert isinstance(protocol.failure, PayloadTooBig) and protocol.failure.close_code == 1009
    assert protocol._frame.body == b""


@every_way
@pytest.mark.parametrize("data", [b"\x80\x06", b"\x80\x81\x00", b"\x80" + b"\xff" * 9, b"\xff\x81\x80", b"\x01longer"])
def test_limit_of_ignored_frames(feed, data):
    protocol = HixieProtocol(max_message_size=5)
    feed(protocol, data)
    assert isinstance(protocol.failure, PayloadTooBig)


@every_way
def test_length_that_never_ends(feed):
    protocol = HixieProtocol(max_message_size=1 << 70)
    feed(protocol, b"\x80" + b"\x80" * 10)
    assert isinstance(protocol.failure, PayloadTooBig)


@every_way
def test_length_of_63_bits_is_the_longest(feed):
    protocol = HixieProtocol(max_message_size=1 << 70)
    feed(protocol, b"\x80" + b"\xff" * 8 + b"\x7f" + b"skipped")
    assert protocol.failure is None
    assert protocol._frame.left == (1 << 63) - 1 - len(b"skipped")


@every_way
def test_closing_frame_is_answered_once(feed):
    protocol = HixieProtocol()
    feed(protocol, b"\x00a\xff\xff\x00\x00b\xff\xff\x00")
    assert take(protocol) == ["a"]
    assert protocol.close_received and protocol.close_sent
    assert protocol.output == [b"\xff\x00"]
    assert (protocol.close_code, protocol.close_reason) == (1005, "")
    protocol.send_close()
    assert protocol.output == [b"\xff\x00"]


def test_answer_to_our_closing_frame():
    protocol = HixieProtocol()
    protocol.send_close(1001, "going away")
    assert protocol.output == [b"\xff\x00"] and not protocol.close_received
    feed(protocol, b"\x00a\xff\xff\x00")
    assert take(protocol) == ["a"] and protocol.close_received
    assert protocol.output == [b"\xff\x00"]


def test_draft_75_sends_no_closing_frame():
    ours, theirs = HixieProtocol(75), HixieProtocol(75)
    ours.send_close()
    feed(theirs, b"\xff\x00")
    for protocol in (ours, theirs):
        assert protocol.close_sent and protocol.close_received and not protocol.output
        assert protocol.close_code == 1005


def test_text_as_bytes_and_in_pieces():
    protocol = HixieProtocol(decode_text=False)
    feed(protocol, b"\x00\xc3\xa9\xff")
    assert take(protocol) == [b"\xc3\xa9"]
    protocol = HixieProtocol(streaming=True)
    feed(protocol, b"\x00a\xff\x00\xff")
    assert take(protocol) == ["a", END_OF_TEXT, END_OF_TEXT]


# Sending


def test_encode():
    protocol = HixieProtocol()
    assert b"".join(protocol.encode(0x81, "\xe9".encode())) == b"\x00\xc3\xa9\xff"
    assert b"".join(protocol.encode_message(0x82, memoryview(b"bytes"), True)) == b"\x00bytes\xff"
    pieces = protocol.encode_parts(["a", b"", "\xe9"], None)
    assert b"".join(header + payload for header, payload in pieces) == b"\x00a\xc3\xa9\xff"
    assert not list(protocol.encode_parts([], None))


def test_what_cannot_be_sent():
    protocol = HixieProtocol()
    with pytest.raises(ValueError, match="text only"):
        protocol.encode(0x82, b"a\xffb")
    with pytest.raises(ValueError, match="text only"):
        list(protocol.encode_parts([b"\xff"], None))
    for opcode in (8, 9, 10):
        with pytest.raises(ValueError, match="no control frames"):
            protocol.encode_control(opcode, b"")
