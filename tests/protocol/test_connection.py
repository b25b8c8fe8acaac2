"""connection.py: messages out of literal bytes, and every rule about them (RFC 6455 sections 5 and 8.1).

Every case is fed whole, byte by byte and by sevens, through receive_data and through receive_buffer, alone and with
bytes behind it. Control frames and closing are in test_closing.py.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from kit.frames import (
    BINARY,
    CONTINUATION,
    MASK_KEY,
    PING,
    PONG,
    RSV1,
    TEXT,
    WAYS,
    Frame,
    feed,
    frame,
    lengths,
    receive,
)

from geventws.exceptions import InvalidData, PayloadTooBig
from geventws.protocol.connection import WebSocketProtocol
from geventws.protocol.permessage_deflate import PerMessageDeflate

MIB = 1 << 20


def check(
    data: bytes,
    messages: Sequence[str | bytes] = (),
    *,
    failure: int | None = None,
    output: bytes = b"",
    trail: bool = True,
    **options: Any,
) -> None:
    """Feed the bytes in every way, and compare what comes of them.

    Without a failure a message behind them is taken (unless they end in the middle: `trail`); with one, it is not.
    """
    key = None if options.get("client") else MASK_KEY
    trails = [(b"", []), (frame(TEXT, b"trail", key=key), ["trail"])] if trail else [(b"", [])]
    for name, way in WAYS.items():
        for behind, last in trails:
            protocol = WebSocketProtocol(**options)
            way(protocol, data + behind)
            assert list(protocol.inbox) == [*messages, *(last if failure is None else [])], name
            assert (protocol.failure and protocol.failure.close_code) == failure, name
            assert b"".join(protocol.output) == output, name
            assert not protocol.close_received, name


# Messages

SIZES = [0, 1, 2, 7, 124, 125, 126, 127, 1000, 65535, 65536, 70001]


@pytest.mark.parametrize("size", SIZES)
def test_a_message_of_one_frame(size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    check(frame(BINARY, body), [body])
    check(frame(TEXT, b"x" * size), ["x" * size])
    check(frame(BINARY, body, key=None), [body], client=True)
    check(frame(TEXT, b"x" * size, key=None), ["x" * size], client=True)


def test_the_types_are_str_and_bytes() -> None:
    protocol = WebSocketProtocol()
    feed(protocol, frame(TEXT) + frame(BINARY) + frame(BINARY, b"a"))
    feed(protocol, frame(BINARY, b"a", fin=False) + frame(CONTINUATION))
    receive(protocol, frame(BINARY, b"abc"), 7)
    assert list(protocol.inbox) == ["", b"", b"a", b"a", b"abc"]
    assert [type(message) for message in protocol.inbox] == [str, bytes, bytes, bytes, bytes]


def test_more_messages_than_one_scan_returns() -> None:
    check(b"".join(frame(TEXT, str(i).encode()) for i in range(600)), [str(i) for i in range(600)])


def test_the_next_message_begins_anywhere_in_the_bytes_at_hand() -> None:
    data = frame(TEXT, b"one") + frame(BINARY, b"x" * 200) + frame(TEXT, "zwölf".encode())
    for cut in range(len(data) + 1):
        protocol = WebSocketProtocol()
        feed(protocol, data[:cut])
        feed(protocol, data[cut:])
        assert list(protocol.inbox) == ["one", b"x" * 200, "zwölf"], cut


def first(payload: bytes) -> Frame:
    return Frame(TEXT, payload, fin=False)


def middle(payload: bytes) -> Frame:
    return Frame(CONTINUATION, payload, fin=False)


def last(payload: bytes) -> Frame:
    return Frame(CONTINUATION, payload)


FRAGMENTED = {
    "two": [first(b"Hel"), last(b"lo")],
    "three": [first(b"H"), middle(b"el"), last(b"lo")],
    "empty first": [first(b""), last(b"Hello")],
    "empty last": [first(b"Hello"), last(b"")],
    "empty middle": [first(b"He"), middle(b""), middle(b""), last(b"llo")],
    "a ping between": [first(b"Hel"), Frame(PING), last(b"lo")],
    "a pong between": [first(b"Hel"), Frame(PONG, b"\xff\xfe\xfd"), last(b"lo")],
    "pongs everywhere": [Frame(PONG), first(b"H"), Frame(PONG, b"\xc3"), middle(b"ello"), Frame(PONG, b"x" * 125),
                         last(b""), Frame(PONG, b"late")],
}  # fmt: skip


@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("frames", FRAGMENTED.values(), ids=FRAGMENTED)
def test_a_message_in_fragments(frames: list[Frame], client: bool) -> None:
    pongs = WebSocketProtocol()
    output = b"".join(pongs.encode_control(10, one.payload) for one in frames if one.opcode == PING)
    data = b"".join(one.encode(None if client else MASK_KEY) for one in frames)
    if client:  # whose pongs have a random mask
        data, output = data.replace(frame(PING, key=None), b""), b""
    check(data, ["Hello"], output=output, client=client)


def test_nothing_is_delivered_before_the_last_fragment() -> None:
    data = frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"b" * 70000, fin=False)
    data += frame(CONTINUATION, fin=False)
    check(data, trail=False)
    check(data + frame(CONTINUATION, b"c"), [b"a" + b"b" * 70000 + b"c"])


ORDER = {
    "a continuation of nothing": frame(CONTINUATION, b"x"),
    "a first continuation of nothing": frame(CONTINUATION, fin=False),
    "a text inside of a message": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "an empty binary inside of a message": frame(BINARY, fin=False) + frame(BINARY),
    "a fragment inside of a message": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b", fin=False),
}


@pytest.mark.parametrize("data", ORDER.values(), ids=ORDER)
def test_the_order_of_fragments(data: bytes) -> None:
    check(frame(TEXT, b"before") + data, ["before"], failure=1002)


def test_a_continuation_after_the_last_fragment() -> None:
    check(frame(TEXT, b"a", fin=False) + frame(CONTINUATION) + frame(CONTINUATION), ["a"], failure=1002)


# Headers (RFC 6455 5.1, 5.2, 5.5): the bytes up to the one that breaks the rule

VIOLATIONS = {
    **{f"RSV {bits:03b}": bytes([0x80 | bits << 4 | 1]) for bits in range(1, 8)},
    "RSV1 on a ping": b"\xc9",
    "RSV1 on a continuation": b"\xc0",
    **{f"opcode {opcode}": bytes([0x80 | opcode]) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"opcode {opcode}, no FIN": bytes([opcode]) for opcode in (3, 7, 11, 15)},
    "a fragmented close": b"\x08",
    "a fragmented ping": b"\x09",
    "a fragmented pong": b"\x0a",
    "an unmasked text": b"\x81\x01",
    "an unmasked empty text": b"\x81\x00",
    "an unmasked long text": b"\x81\x7f",
    "an unmasked ping": b"\x89\x00",
    "an unmasked close": b"\x88\x02",
    "a ping of 126 bytes": b"\x89\xfe",
    "a pong with a 64-bit length": b"\x8a\xff",
    "a close of 126 bytes": b"\x88\xfe",
    **{f"{n} in 16 bits": b"\x82" + lengths(n, True, 2) for n in (0, 1, 125)},
    **{f"{n} in 64 bits": b"\x82" + lengths(n, True, 8) for n in (0, 125, 126, 65535)},
    **{name: b"\x82" + lengths(n, True) for name, n in
       {"2^63": 2**63, "2^64-4": 2**64 - 4, "2^64-1": 2**64 - 1}.items()},
}  # fmt: skip


@pytest.mark.parametrize("data", VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_header_that_breaks_a_rule_fails_with_the_byte_that_does(data: bytes) -> None:
    check(data, failure=1002)
    check(frame(TEXT, b"before") + data, ["before"], failure=1002)
    check(data[:-1], trail=False)


@pytest.mark.parametrize("data", [b"\x81\x80", b"\x89\x80", b"\x88\x82", b"\x82\xff"])
def test_a_servers_frame_is_not_masked(data: bytes) -> None:
    check(frame(TEXT, b"before", key=None) + data, ["before"], failure=1002, client=True)
    check(data[:-1], trail=False, client=True)


@pytest.mark.parametrize("head", [0xC8, 0xC9, 0xCA, 0xC0, 0xA1, 0x91])
def test_what_rsv1_may_not_stand_on_when_compression_is_negotiated(head: int) -> None:
    """RFC 7692 6: only the first frame of a message."""
    accepted = PerMessageDeflate().accept([[]])
    assert accepted is not None
    for way in WAYS.values():
        for start in (b"", frame(TEXT, b"a", fin=False)):
            protocol = WebSocketProtocol(extension=accepted[1])
            way(protocol, start + frame(head & 0x0F, fin=head >= 0x80, rsv=head >> 4 & 7))
            assert protocol.failure is not None and protocol.failure.close_code == 1002
            assert not protocol.controls and not protocol.close_received and not protocol.output


# Lengths and limits (RFC 6455 10.4)

HUGE = {"2^20+1": 2**20 + 1, "2^31-1": 2**31 - 1, "2^31": 2**31, "2^32-1": 2**32 - 1, "2^32": 2**32,
        "2^32+1": 2**32 + 1, "2^63-1": 2**63 - 1}  # fmt: skip


@pytest.mark.parametrize("head", [0x81, 0x82, 0x01, 0x02])
@pytest.mark.parametrize("length", HUGE.values(), ids=HUGE)
def test_a_huge_length_is_refused_with_its_last_byte_and_costs_nothing(length: int, head: int) -> None:
    data = bytes([head]) + lengths(length, True)
    check(data, failure=1009)
    check(data[:-1], trail=False)
    tracemalloc.start()
    try:
        feed(WebSocketProtocol(), data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_huge_continuation_is_refused() -> None:
    check(frame(TEXT, b"a", fin=False) + b"\x80" + lengths(2**63 - 1, True), failure=1009)


@pytest.mark.parametrize("limit", [1, 100, 125, 126, 1000, 65535, 65536])
@pytest.mark.parametrize("client", [False, True])
def test_the_limit_is_the_largest_that_passes(limit: int, client: bool) -> None:
    key = None if client else MASK_KEY
    options: dict[str, Any] = {"max_message_size": limit, "client": client, "trail": limit >= 5}
    for size in (limit - 1, limit):
        check(frame(BINARY, bytes(size), key=key), [bytes(size)], **options)
    check(frame(BINARY, bytes(limit + 1), key=key), failure=1009, **options)
    check(frame(TEXT, b"x", key=key) + frame(TEXT, b"x" * (limit + 1), key=key), ["x"], failure=1009, **options)


@pytest.mark.parametrize("first", [0, 1, 99, 100])
@pytest.mark.parametrize("limit", [100])
def test_the_limit_is_for_the_sum_of_the_fragments(first: int, limit: int) -> None:
    for size in (limit - 1, limit):
        data = frame(BINARY, bytes(first), fin=False) + frame(CONTINUATION, fin=False)
        data += frame(CONTINUATION, bytes(max(size - first, 0)))
        check(data, [bytes(max(size, first))], max_message_size=limit)
    over = frame(BINARY, bytes(first), fin=False) + frame(CONTINUATION, bytes(limit + 1 - first), fin=False)
    check(over, failure=1009, max_message_size=limit)
    check(over[: -(limit + 1 - first)], failure=1009, max_message_size=limit)  # at its header
    check(frame(BINARY, bytes(limit)) + over, [bytes(limit)], failure=1009, max_message_size=limit)


def test_the_limit_is_in_bytes() -> None:
    check(frame(TEXT, "€€".encode()), ["€€"], max_message_size=6)
    check(frame(TEXT, "€€".encode()), failure=1009, max_message_size=5)


def test_the_limit_is_not_for_control_frames() -> None:
    check(frame(PONG, bytes(125)), max_message_size=5)
    data = frame(TEXT, b"abcde", fin=False) + frame(PONG, bytes(125)) + frame(CONTINUATION)
    check(data, ["abcde"], max_message_size=5)


def test_the_error_names_the_limit_and_the_size() -> None:
    fragments = frame(BINARY, bytes(77), fin=False) + frame(CONTINUATION, b"x")
    for data in (frame(BINARY, bytes(78)), frame(BINARY, bytes(77)) + frame(BINARY, bytes(78)), fragments):
        protocol = WebSocketProtocol(max_message_size=77)
        feed(protocol, data)
        assert isinstance(protocol.failure, PayloadTooBig) and "77 bytes" in str(protocol.failure)
        assert (protocol.failure.size, protocol.failure.limit) == (78, 77)


def test_the_size_of_what_inflates_is_not_known() -> None:
    accepted = PerMessageDeflate().accept([[]])
    assert accepted is not None
    deflate = accepted[1]
    protocol = WebSocketProtocol(max_message_size=77, extension=deflate)
    feed(protocol, frame(BINARY, deflate.encode(bytes(78)), rsv=RSV1))
    assert isinstance(protocol.failure, PayloadTooBig)
    assert (protocol.failure.size, protocol.failure.limit) == (None, 77)


# Text (RFC 6455 8.1)

UTF_8 = "aé€\U0001f600\0\ufffe\uffff\U0010ffff\ud7ff\ue000\x7f\x80߿ࠀz"


def test_utf_8_split_at_every_boundary() -> None:
    text = UTF_8.encode()
    for cut in range(len(text) + 1):
        data = frame(TEXT, text[:cut], fin=False) + frame(CONTINUATION, fin=False)
        check(data + frame(CONTINUATION, text[cut:]), [UTF_8])
        protocol = WebSocketProtocol()
        whole = frame(TEXT, text)
        feed(protocol, whole[: 6 + cut])
        feed(protocol, whole[6 + cut :])
        assert list(protocol.inbox) == [UTF_8]


def test_control_frames_are_no_part_of_the_text_around_them() -> None:
    """Neither checked with it, nor forgetting what has come of it, wherever the bytes are cut."""
    pong = frame(PONG, b"x\xff")
    check(frame(TEXT, b"\xc3", fin=False) + pong + frame(CONTINUATION, b"\xa9"), ["é"])
    check(frame(TEXT, b"a", fin=False) + pong + frame(CONTINUATION, b"\xff", fin=False), failure=1007)
    check(frame(TEXT, b"\xc3", fin=False) + pong + frame(CONTINUATION, b"\x28", fin=False), failure=1007)


def test_utf_8_in_fragments_of_one_byte() -> None:
    text = UTF_8.encode()
    middle = b"".join(frame(CONTINUATION, bytes([byte]), fin=False) for byte in text)
    check(frame(TEXT, fin=False) + middle + frame(CONTINUATION), [UTF_8])


# Up to the byte that no text can go on with
NOT_UTF_8 = [
    b"\x80", b"\xbf", b"\xc0", b"\xc1", b"\xf5", b"\xf8", b"\xfe", b"\xff", b"\xc3\x28", b"\xc3\xc3", b"\xe0\x80",
    b"\xe0\x9f", b"\xed\xa0", b"\xed\xbf", b"\xe2\x28", b"\xe2\x82\x28", b"\xf0\x80", b"\xf0\x8f", b"\xf4\x90",
    b"\xf4\xbf", b"\xf0\x9f\x28", b"\xf0\x9f\x98\x28", b"\xc3\xa9\x80", b"\xe2\x82\xac\xac",
]  # fmt: skip


@pytest.mark.parametrize("before", [b"", "κόσμε".encode()], ids=["at once", "behind good text"])
@pytest.mark.parametrize("bad", NOT_UTF_8, ids=bytes.hex)
def test_text_fails_as_early_as_the_bytes_allow(bad: bytes, before: bytes) -> None:
    text = before + bad
    begun = {
        "one frame": frame(TEXT, text + b"x" * 50),
        "one long frame": frame(TEXT, text + b"x" * 500),
        "a first fragment": frame(TEXT, text + b"x" * 50, fin=False),
        "a continuation": frame(TEXT, b"ok", fin=False) + frame(CONTINUATION, text + b"x" * 50, fin=False),
        "a last fragment": frame(TEXT, b"ok", fin=False) + frame(CONTINUATION, text + b"x" * 50),
    }
    for name, data in begun.items():
        early = data[: len(data) - (500 if "long" in name else 50)]
        check(data, failure=1007)
        check(early, failure=1007)
        check(early[:-1], trail=False)


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_text_that_ends_inside_of_a_character(cut: int) -> None:
    bad = "\U0001f600".encode()[:cut]
    check(frame(TEXT, b"ok" + bad), failure=1007)
    check(frame(TEXT, b"ok" + bad, fin=False), trail=False)
    check(frame(TEXT, b"ok", fin=False) + frame(CONTINUATION, bad), failure=1007)
    check(frame(TEXT, b"ok" + bad, fin=False) + frame(CONTINUATION), failure=1007)
    check(frame(TEXT, b"before") + frame(TEXT, bad), ["before"], failure=1007)


def test_bad_text_is_invalid_data() -> None:
    protocol = WebSocketProtocol()
    feed(protocol, frame(TEXT, b"\xff"))
    assert isinstance(protocol.failure, InvalidData)


def test_binary_is_not_checked() -> None:
    check(frame(BINARY, b"\xff\xc0") + frame(BINARY, b"\xff", fin=False) + frame(CONTINUATION, b"\xc3"),
          [b"\xff\xc0", b"\xff\xc3"])  # fmt: skip
