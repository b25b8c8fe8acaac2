"""The C core against its Python twin, and both against the reference in frames.py, over what hypothesis thinks of.

The core is imported directly, so these tests fail where it is not built. Under GEVENTWS_PURE_PYTHON=1, which says that
it is not wanted, there are none. What receive.c receives: receive/test_native.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit.core.strategies import keys, limits, sizes, streams
from kit.frames import BINARY, MASK_KEY, PING, TEXT, apply_mask, frame, scan

import geventws
from geventws._core import pure
from geventws._core.receive.pure import MAX_EVENTS
from geventws.frames import Opcode

__test__ = os.environ.get("GEVENTWS_PURE_PYTHON", "0") in ("", "0")  # whether pytest collects this module

if __test__:
    from geventws._core import native
    from geventws._core._frame import ffi, lib
    from geventws._core.fanout.native import refusal_struct
    from geventws._core.receive import native as receiving

MAX_FRAMES = pure.MAX_FRAMES
NAMES = dict(enumerate(
    "MORE PAYLOAD FULL RESERVED_BITS RESERVED_OPCODE CONTROL_FRAGMENTED CONTROL_TOO_LONG MASK_MISSING "
    "MASK_UNEXPECTED LENGTH_NOT_MINIMAL LENGTH_TOO_LARGE TOO_BIG".split()
))  # fmt: skip

examples = settings(max_examples=300, deadline=None)


def test_the_core_is_in_use() -> None:
    program = "import geventws._core as f; print(f.HAVE_C, f.scan.__module__)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["True", "geventws._core.native"]


# Numbers: Python reads them from the core, and its twin has its own


def read_enum(header: str, name: str) -> list[str]:
    """Return the names of an enumeration, as the header lists them."""
    text = (Path(geventws.__file__).parent / "_core" / header).read_text()
    body = re.search(rf"enum {name} \{{(.*?)\}};", text, re.DOTALL)
    assert body is not None
    return re.findall(r"^\s*WS_(\w+)", body[1], re.MULTILINE)


def test_the_twin_has_the_statuses_of_the_header() -> None:
    assert dict(enumerate(read_enum("frame.h", "ws_status"))) == NAMES
    for number, name in NAMES.items():
        assert getattr(pure, name) == getattr(lib, f"WS_{name}") == number


@pytest.mark.parametrize("name", ["FAST_SIZE", "FAST_DEFLATED", "FAST_UNMASKED", "FULL_CHUNK_LIMIT"])
def test_both_have_the_numbers_of_the_header(name: str) -> None:
    assert getattr(pure, name) == getattr(native, name) == getattr(lib, f"WS_{name}") > 0


def test_the_twin_asks_for_as_many_events() -> None:
    assert lib.WS_MAX_EVENTS == MAX_EVENTS


def test_the_bits_of_the_fast_path_are_a_word() -> None:
    bits = [lib.WS_FAST_SIZE, lib.WS_FAST_DEFLATED, lib.WS_FAST_UNMASKED]
    assert sum(bits) == bits[0] | bits[1] | bits[2] == (1 << 32) - 1


def test_the_kinds_of_records_begin_with_the_opcodes() -> None:
    names = read_enum("receive/receive.h", "ws_kind")
    assert [getattr(lib, f"WS_{name}") for name in names] == [*range(1, len(names) + 1)]
    assert (lib.WS_TEXT, lib.WS_BINARY) == (Opcode.TEXT, Opcode.BINARY)
    for name in set(names) & set(vars(receiving)):
        assert getattr(receiving, name) == getattr(lib, f"WS_{name}")


def test_structs_are_unpacked_as_they_are() -> None:
    """All fields in their order, each as wide as in the header."""
    codes = {"uint64_t": "Q", "uint32_t": "I", "int32_t": "i", "int64_t": "q"}
    structs = {"ws_frame": native.frame_struct, "ws_record": receiving.record_struct, "ws_refusal": refusal_struct}
    for name, unpacked in structs.items():
        fields = [codes[field.type.cname] for _, field in ffi.typeof(f"struct {name}").fields]
        assert unpacked.format.replace("4x", "i") == "=" + "".join(fields)
        assert unpacked.size == ffi.sizeof(f"struct {name}")


# Scanning


def scan_with(core: Any, data: bytes, shift: int, *rules: Any) -> tuple[Any, bytes]:
    """Return what a core makes of the data at some alignment; the bytes around it must stay as they were."""
    around = bytes(range(65, 65 + 16))
    buffer = bytearray(around[:shift] + data + around)
    result = core.scan(memoryview(buffer)[shift : shift + len(data)], *rules)
    assert buffer[:shift] == around[:shift] and buffer[shift + len(data) :] == around
    return result, bytes(buffer[shift : shift + len(data)])


def compare_scans(data: bytes, limit: int, reserved: int, masked: bool, count: int, shift: int) -> None:
    rules = (limit, reserved, masked, count)
    in_c, in_python = scan_with(native, data, shift, *rules), scan_with(pure, data, shift, *rules)
    assert in_c == in_python
    (status, consumed, frames, following), clear = in_c
    name, *expected, expected_clear = scan(data, *rules)
    if following is not None:
        frames = [*frames, following]
        expected[1:] = [[*expected[1], expected[2]]]
    else:
        expected.pop()
    named = [(at, size, key.to_bytes(4, sys.byteorder)[: 4 * masked], head) for at, size, key, head in frames]
    assert (NAMES[status], consumed, named) == (name, *expected)
    assert clear == expected_clear


@examples
@given(st.data(), limits, st.sampled_from([0, 0x40, 0x20, 0x70]), st.booleans(), st.data())
def test_scan(data: Any, limit: int, reserved: int, masked: bool, more: Any) -> None:
    count = more.draw(st.sampled_from([1, 2, 3, MAX_FRAMES]))
    compare_scans(data.draw(streams(masked)), limit, reserved, masked, count, more.draw(st.integers(0, 8)))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 7, 125, 126, 300])
def test_scan_at_every_cut(size: int, masked: bool) -> None:
    key = MASK_KEY if masked else None
    middle = frame(BINARY, bytes(range(100)) * 3, key=key)[: size + 20]
    data = frame(PING, b"abc", key=key) + middle + frame(TEXT, b"z", key=key)
    for cut in range(len(data) + 1):
        compare_scans(data[:cut], 1 << 20, 0, masked, MAX_FRAMES, cut % 8)


@pytest.mark.parametrize("first", range(256))
def test_scan_every_first_byte(first: int) -> None:
    for second in (*range(0, 256, 16), 125, 126, 127, 128, 253, 254, 255):
        for masked in (False, True):
            for reserved in (0, 0x40):
                compare_scans(bytes([first, second]) + b"\0\x80" * 7, 1 << 20, reserved, masked, 3, 1)


@pytest.mark.parametrize("count", [255, 256, 257, 600])
def test_scan_more_frames_than_it_returns(count: int) -> None:
    compare_scans(frame(PING, b"x") * count, 0, 0, True, MAX_FRAMES, 0)


# Masking


@examples
@given(st.binary(max_size=200), sizes, keys, st.integers(0, 2**40), st.integers(0, 8))
@example(b"", 0, MASK_KEY, 3, 1)
def test_mask(part: bytes, size: int, key: bytes, offset: int, shift: int) -> None:
    data = (part * (size // max(len(part), 1) + 1) + bytes(size))[: size or len(part)]
    expected = apply_mask(data, key, offset)
    for core in (native, pure):
        for given_data in (data, memoryview(bytearray(shift) + data)[shift:]):
            assert core.mask(given_data, key, offset) == expected
        buffer = bytearray(b"[" * shift + data + b"]")
        core.mask_in_place(buffer, shift, shift + len(data), int.from_bytes(key, sys.byteorder), offset)
        assert buffer == b"[" * shift + expected + b"]"


@pytest.mark.parametrize("size", [0, 1, native.SMALL_BUFFER, native.SMALL_BUFFER + 1, 1 << 20] if __test__ else [])
def test_a_new_buffer_is_written_through_its_view(size: int) -> None:
    """A large one is a `bytes` object that nobody else has, so that writing to it changes nothing else."""
    (buffer, view), (other, _view) = native.new_buffer(size), native.new_buffer(size)
    assert type(buffer) is (bytes if size > native.SMALL_BUFFER else bytearray)
    assert len(buffer) == len(view) == size and other is not buffer
    view[:] = bytes(i % 251 for i in range(size))
    assert bytes(buffer) == bytes(i % 251 for i in range(size))
