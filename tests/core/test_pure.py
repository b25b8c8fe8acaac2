"""The twin by itself, against the reference in frames.py: what test_native.py compares the C core with."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.core.strategies import keys, limits, streams
from kit.frames import BINARY, CLOSE, PING, TEXT, apply_mask, frame, scan

from geventws._core import pure

STATUSES = {
    getattr(pure, name): name
    for name in (
        "MORE PAYLOAD FULL RESERVED_BITS RESERVED_OPCODE CONTROL_FRAGMENTED CONTROL_TOO_LONG MASK_MISSING "
        "MASK_UNEXPECTED LENGTH_NOT_MINIMAL LENGTH_TOO_LARGE TOO_BIG"
    ).split()
}


@settings(max_examples=200, deadline=None)
@given(st.data(), limits, st.sampled_from([0, 0x40, 0x70]), st.booleans(), st.sampled_from([1, 2, pure.MAX_FRAMES]))
def test_scan(data: Any, limit: int, reserved: int, masked: bool, most: int) -> None:
    stream = data.draw(streams(masked))
    buffer = bytearray(stream)
    status, consumed, frames, following = pure.scan(buffer, limit, reserved, masked, most)
    name, expected_consumed, expected, expected_following, clear = scan(stream, limit, reserved, masked, most)
    assert (STATUSES[status], consumed, bytes(buffer)) == (name, expected_consumed, clear)
    assert [plain(one, masked) for one in frames] == expected
    assert (following and plain(following, masked)) == expected_following


def plain(one: pure.RawFrame, masked: bool) -> tuple[int, int, bytes, int]:
    start, length, mask_key, head = one
    return start, length, mask_key.to_bytes(4, sys.byteorder)[: 4 * masked], head


@pytest.mark.parametrize(
    ("data", "masked", "status"),
    [
        (b"", True, pure.MORE),
        (b"\x81", True, pure.MORE),
        (frame(TEXT, b"abc")[:-1], True, pure.PAYLOAD),
        (b"\xc1\x80", True, pure.RESERVED_BITS),
        (b"\x83\x80", True, pure.RESERVED_OPCODE),
        (b"\x09\x80", True, pure.CONTROL_FRAGMENTED),
        (b"\x89\xfe", True, pure.CONTROL_TOO_LONG),
        (frame(TEXT, b"abc", key=None), True, pure.MASK_MISSING),
        (frame(TEXT, b"abc"), False, pure.MASK_UNEXPECTED),
        (b"\x82\xfe\x00\x7d", True, pure.LENGTH_NOT_MINIMAL),
        (b"\x82\xff" + b"\xff" * 8, True, pure.LENGTH_TOO_LARGE),
        (frame(BINARY, bytes(1001)), True, pure.TOO_BIG),
        (frame(PING, b"a") + frame(CLOSE), True, pure.MORE),
    ],
)
def test_why_a_scan_ends(data: bytes, masked: bool, status: int) -> None:
    assert pure.scan(bytearray(data), 1000, 0, masked)[0] == status


@given(st.binary(max_size=3000), keys, st.integers(0, 2**40))
def test_mask(data: bytes, key: bytes, offset: int) -> None:
    assert pure.mask(data, key, offset) == apply_mask(data, key, offset)
    buffer = bytearray(b"<" + data + b">")
    pure.mask_in_place(buffer, 1, 1 + len(data), int.from_bytes(key, sys.byteorder), offset)
    assert buffer == b"<" + apply_mask(data, key, offset) + b">"


def test_a_mask_key_has_four_bytes() -> None:
    with pytest.raises(ValueError, match="four bytes"):
        pure.mask(b"abc", b"key")


def test_a_new_buffer_is_written_through_its_view() -> None:
    buffer, view = pure.new_buffer(3)
    view[:] = b"abc"
    assert bytes(buffer) == b"abc"


def test_compressing_is_left_to_zlib() -> None:
    assert pure.deflate(b"compressed " * 100, 1 << 15) == b""
