"""frames.py: the public codec, on literal bytes (RFC 6455 section 5)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from kit.frames import BINARY, MASK_KEY, PING, TEXT, apply_mask, frame, lengths

from geventws import frames
from geventws.exceptions import PayloadTooBig, ProtocolError
from geventws.frames import CloseCode, Frame, FrameParser, Opcode, encode_close, encode_header, mask, parse_close

HELLO = b"Hello"

# RFC 6455 5.7, as it is printed there.
EXAMPLES = {
    "text": (Frame(Opcode.TEXT, HELLO), None, bytes.fromhex("810548656c6c6f")),
    "masked text": (Frame(Opcode.TEXT, HELLO), MASK_KEY, bytes.fromhex("818537fa213d7f9f4d5158")),
    "first fragment": (Frame(Opcode.TEXT, b"Hel", fin=False), None, bytes.fromhex("010348656c")),
    "last fragment": (Frame(Opcode.CONTINUATION, b"lo"), None, bytes.fromhex("80026c6f")),
    "ping": (Frame(Opcode.PING, HELLO), None, bytes.fromhex("890548656c6c6f")),
    "masked pong": (Frame(Opcode.PONG, HELLO), MASK_KEY, bytes.fromhex("8a8537fa213d7f9f4d5158")),
    "256 bytes": (Frame(Opcode.BINARY, b"x" * 256), None, bytes.fromhex("827e0100") + b"x" * 256),
    "64 KiB": (Frame(Opcode.BINARY, b"x" * 65536), None, bytes.fromhex("827f0000000000010000") + b"x" * 65536),
}


def feed_whole(parser: FrameParser, data: bytes) -> list[Frame]:
    return parser.feed(data)


def feed_bytes(parser: FrameParser, data: bytes) -> list[Frame]:
    return [frame for byte in data for frame in parser.feed(bytes([byte]))]


def feed_views(parser: FrameParser, data: bytes) -> list[Frame]:
    view = memoryview(bytearray(data))
    return [frame for at in range(0, len(data), 7) for frame in parser.feed(view[at : at + 7])]


Feed = Callable[[FrameParser, bytes], "list[Frame]"]
every_way = pytest.mark.parametrize("feed", [feed_whole, feed_bytes, feed_views])


@pytest.mark.parametrize(("value", "key", "data"), EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_of_the_rfc_encode(value: Frame, key: bytes | None, data: bytes) -> None:
    assert value.encode(key) == data


@every_way
@pytest.mark.parametrize(("value", "key", "data"), EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_of_the_rfc_parse(value: Frame, key: bytes | None, data: bytes, feed: Feed) -> None:
    parser = FrameParser(masked_in=key is not None)
    assert feed(parser, data) == [value]
    trail = frame(TEXT, HELLO, key=key)
    for cut in range(len(trail)):
        assert feed(parser, data + trail[:cut]) == [value]
        assert feed(parser, trail[cut:]) == [Frame(Opcode.TEXT, HELLO)]


@pytest.mark.parametrize("bits", range(16))
@pytest.mark.parametrize("opcode", Opcode)
def test_every_first_byte_goes_there_and_back(bits: int, opcode: Opcode) -> None:
    head = bits << 4 | opcode
    value = Frame.from_head(head, b"")
    assert value.head == head
    assert (value.fin, value.rsv1, value.rsv2, value.rsv3) == tuple(bool(bits & bit) for bit in (8, 4, 2, 1))
    assert value.opcode is opcode


@every_way
def test_more_frames_than_one_scan_returns(feed: Feed) -> None:
    data = b"".join(frame(BINARY, bytes([i % 256])) for i in range(1000))
    assert [value.payload[0] for value in feed(FrameParser(), data)] == [i % 256 for i in range(1000)]


SIDES = [(True, False), (False, True), (True, True), (False, False)]


@pytest.mark.parametrize(("masked_in", "masked_out"), SIDES)
def test_a_server_a_client_and_both_masked_or_not(masked_in: bool, masked_out: bool) -> None:
    here, there = FrameParser(masked_in, masked_out), FrameParser(masked_out, masked_in)
    values = [Frame(Opcode.TEXT, b"caf\xc3\xa9"), Frame(Opcode.PING), Frame(Opcode.BINARY, bytes(70000))]
    assert there.feed(b"".join(map(here.encode, values))) == values
    assert here.encode(values[0])[1] >> 7 == masked_out


def test_a_fresh_mask_key_for_every_frame() -> None:
    client = FrameParser(masked_in=False, masked_out=True)
    assert len({client.encode(Frame(Opcode.BINARY, bytes(8)))[2:6] for _ in range(64)}) > 60


VIOLATIONS = {
    "RSV1": (b"\xc1", 1),
    "RSV2": (b"\xa1", 1),
    "RSV3": (b"\x91", 1),
    **{f"opcode {opcode}": (bytes([0x80 | opcode]), 1) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "fragmented close": (b"\x08", 1),
    "fragmented ping": (b"\x09", 1),
    "fragmented pong": (b"\x0a", 1),
    "unmasked": (b"\x81\x05", 2),
    "control of 126 bytes": (b"\x89\xfe", 2),
    "control of 65536 bytes": (b"\x88\xff", 2),
    "0 in 16 bits": (b"\x82\xfe\x00\x00", 4),
    "125 in 16 bits": (b"\x82\xfe\x00\x7d", 4),
    "0 in 64 bits": (b"\x82" + lengths(0, True, 8), 10),
    "125 in 64 bits": (b"\x82" + lengths(125, True, 8), 10),
    "65535 in 64 bits": (b"\x82" + lengths(65535, True, 8), 10),
    "2^63": (b"\x82" + lengths(2**63, True), 10),
    "2^64-4": (b"\x82" + lengths(2**64 - 4, True), 10),
    "2^64-1": (b"\x82" + lengths(2**64 - 1, True), 10),
}


@every_way
@pytest.mark.parametrize("trail", [b"", b"\x00" * 20], ids=["alone", "with trailing bytes"])
@pytest.mark.parametrize(("data", "size"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_breach_is_found_with_its_last_byte(data: bytes, size: int, trail: bytes, feed: Feed) -> None:
    assert len(data) == size
    assert feed(FrameParser(), data[:-1]) == []
    with pytest.raises(ProtocolError) as caught:
        feed(FrameParser(), data + trail)
    assert caught.value.close_code == 1002


@every_way
def test_a_servers_frames_are_not_masked(feed: Feed) -> None:
    with pytest.raises(ProtocolError, match="masked"):
        feed(FrameParser(masked_in=False), b"\x81\x80")


@every_way
@pytest.mark.parametrize("length", [2**31, 2**32, 2**32 + 1, 2**63 - 1])
@pytest.mark.parametrize("limit", [0, 1 << 20, 2**31 - 1])
def test_a_length_over_the_limit_is_refused_before_its_payload(length: int, limit: int, feed: Feed) -> None:
    with pytest.raises(PayloadTooBig) as caught:
        feed(FrameParser(max_length=limit), b"\x82" + lengths(length, True))
    assert (caught.value.close_code, caught.value.limit, caught.value.size) == (1009, limit, length)


@every_way
@pytest.mark.parametrize("length", [2**31, 2**32, 2**63 - 1])
def test_a_length_within_the_limit_waits_for_its_payload(length: int, feed: Feed) -> None:
    assert feed(FrameParser(max_length=frames.NO_LIMIT), b"\x82" + lengths(length, True) + MASK_KEY + b"abc") == []


@every_way
@pytest.mark.parametrize("limit", [1, 125, 126, 300, 65535, 65536])
def test_the_limit_is_the_largest_that_passes(limit: int, feed: Feed) -> None:
    for length in (limit - 1, limit):
        parser = FrameParser(max_length=limit)
        assert [len(value.payload) for value in feed(parser, frame(BINARY, bytes(length)))] == [length]
    with pytest.raises(PayloadTooBig) as caught:
        feed(FrameParser(max_length=limit), frame(BINARY, bytes(limit + 1)))
    assert caught.value.size == limit + 1


@every_way
def test_a_limit_is_for_data_frames(feed: Feed) -> None:
    assert len(feed(FrameParser(max_length=0), frame(PING, bytes(125)))) == 1


@pytest.mark.parametrize("claimed", [0x40, 0x20, 0x10, 0x60, 0x70])
def test_claimed_reserved_bits_pass_and_no_others(claimed: int) -> None:
    for bit in (0x40, 0x20, 0x10):
        parser = FrameParser(reserved_bits=claimed)
        if bit & claimed:
            assert parser.feed(frame(BINARY, rsv=bit >> 4))[0].head == 0x82 | bit
        else:
            with pytest.raises(ProtocolError):
                parser.feed(frame(BINARY, rsv=bit >> 4))


HEADERS = [
    (0, b"\x00"), (1, b"\x01"), (125, b"\x7d"), (126, b"\x7e\x00\x7e"), (65535, b"\x7e\xff\xff"),
    (65536, b"\x7f\x00\x00\x00\x00\x00\x01\x00\x00"), (2**32, b"\x7f\x00\x00\x00\x01\x00\x00\x00\x00"),
    (2**63 - 1, b"\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
]  # fmt: skip


@pytest.mark.parametrize(("length", "encoded"), HEADERS)
def test_encode_header(length: int, encoded: bytes) -> None:
    assert encode_header(0x82, length) == b"\x82" + encoded
    masked = encode_header(0xC1, length, MASK_KEY)
    assert masked == b"\xc1" + bytes([encoded[0] | 0x80]) + encoded[1:] + MASK_KEY


@pytest.mark.parametrize("size", [*range(34), 1023, 1024, 1025, 4097])
@pytest.mark.parametrize("offset", range(8))
def test_mask(size: int, offset: int) -> None:
    data = bytes(i * 31 % 256 for i in range(size))
    for given in (data, bytearray(data), memoryview(data)):
        assert mask(given, MASK_KEY, offset) == apply_mask(data, MASK_KEY, offset)
    assert mask(mask(data, MASK_KEY, offset), MASK_KEY, offset) == data


@pytest.mark.parametrize("key", [b"", b"\x01", b"\x01\x02\x03", b"\x01\x02\x03\x04\x05"])
def test_a_mask_key_is_four_bytes(key: bytes) -> None:
    """The C core would read past a shorter one."""
    with pytest.raises(ValueError):
        mask(b"abcdef", key)
    with pytest.raises(ValueError):
        Frame(Opcode.TEXT, b"abcdef").encode(key)


ON_THE_WIRE = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
NOT_ON_THE_WIRE = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", ON_THE_WIRE)
@pytest.mark.parametrize("reason", ["", "bye", "schöne Grüße", "x" * 123])
def test_a_close_payload_goes_there_and_back(code: int, reason: str) -> None:
    payload = code.to_bytes(2, "big") + reason.encode()
    assert encode_close(code, reason) == payload
    for given in (payload, bytearray(payload), memoryview(payload)):
        assert parse_close(given) == (code, reason)


@pytest.mark.parametrize("code", NOT_ON_THE_WIRE)
def test_a_close_code_that_may_not_be_sent(code: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_close(code.to_bytes(2, "big") + b"why")
    assert caught.value.close_code == 1002
    if code != CloseCode.NO_STATUS_RCVD:  # which asks for a close frame without a code
        with pytest.raises(ValueError):
            encode_close(code)


def test_a_close_payload_without_a_code() -> None:
    assert parse_close(b"") == (1005, "")
    assert encode_close(None) == encode_close(1005) == b""


def test_a_close_payload_of_one_byte() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_close(b"\x03")
    assert caught.value.close_code == 1002


@pytest.mark.parametrize("reason", [b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_a_close_reason_is_utf_8(reason: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_close(b"\x03\xe8" + reason)
    assert caught.value.close_code == 1007


@pytest.mark.parametrize("reason", ["x" * 124, "ä" * 62, "€" * 42, "\ud800"])
def test_a_close_reason_that_does_not_fit(reason: str) -> None:
    with pytest.raises(ValueError):
        encode_close(1000, reason)


def test_close_codes_and_opcodes_have_the_rfcs_numbers() -> None:
    assert [int(opcode) for opcode in Opcode] == [0, 1, 2, 8, 9, 10]
    assert [int(code) for code in CloseCode] == [1000, 1001, 1002, 1003, *range(1005, 1016)]


def test_the_codec_tells_which_core_is_in_use() -> None:
    assert frames.HAVE_C is (frames.scan.__module__ == "geventws._core.native")


@pytest.mark.parametrize("value", ["1", "yes"])
def test_the_environment_forces_the_twin(value: str) -> None:
    program = "import geventws.frames as f; print(f.HAVE_C, f.scan.__module__, f.mask.__module__)"
    environment = {**os.environ, "GEVENTWS_PURE_PYTHON": value, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "geventws._core.pure", "geventws._core.pure"]
