"""The C core, with the names of pure.py and the same results.

Importing this module fails if the extension was not built. It has a side effect: see `_keep_large_blocks`.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any

from ._frame import ffi, lib
from .fanout.native import Fanout
from .pure import MAX_FRAMES, Buffer, RawFrame, ScanResult
from .receive.native import FAST_DEFLATED, FAST_SIZE, FAST_UNMASKED, FULL_CHUNK_LIMIT, SMALL_CHUNK, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "FAST_DEFLATED",
    "FAST_SIZE",
    "FAST_UNMASKED",
    "FULL_CHUNK_LIMIT",
    "LARGEST_BUFFER",
    "SMALL_CHUNK",
    "Fanout",
    "Receiver",
    "deflate",
    "mask",
    "mask_in_place",
    "new_buffer",
    "scan",
]

PAYLOAD: int = lib.WS_PAYLOAD

LARGEST_BUFFER = (1 << 63) - 1
"""The longest payload that gets a buffer of its full size at once. There is no limit: see `new_buffer`."""

SMALL_BUFFER = 4096
"""The buffer of a payload of up to this many bytes is a bytearray."""

_KEPT_BLOCK = 4 << 20

_uninitialized_bytes = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)

frame_struct = struct.Struct("=QQII")
"""struct ws_frame."""

# Buffers that `scan` and `deflate` write to. Each call pops one, and appends it at its end: threads never share one.
_scratch: list[tuple[Any, Any, Any]] = []
_targets: list[tuple[Any, Any]] = []


def _new_scratch() -> tuple[Any, Any, Any]:
    frames = ffi.new("struct ws_frame[]", MAX_FRAMES)
    return ffi.new("struct ws_scan *"), frames, memoryview(ffi.buffer(frames))


def _new_target() -> tuple[Any, Any]:
    target = ffi.new("uint8_t[]", lib.WS_DEFLATE_MOST + lib.WS_STORED)
    return target, ffi.buffer(target)


def scan(
    buffer: memoryview | bytearray, max_payload: int, reserved: int, masked: bool, max_frames: int = MAX_FRAMES
) -> ScanResult:
    """Scan the buffer for complete frames, and unmask their payloads in place."""
    scratch = _scratch.pop() if _scratch else _new_scratch()
    result, array, view = scratch
    result.max_payload = max_payload
    result.reserved = reserved
    result.masked = masked
    data = ffi.from_buffer("uint8_t[]", buffer)
    status: int = lib.ws_scan(data, len(buffer), result, array, min(max_frames, MAX_FRAMES))
    unpacked: Iterator[Any] = frame_struct.iter_unpack(view[: 24 * result.count])
    frames: list[RawFrame] = list(unpacked)
    upcoming = result.next
    following = (
        (upcoming.start, upcoming.length, upcoming.mask_key, upcoming.head) if status == PAYLOAD else None
    )
    consumed: int = result.consumed
    _scratch.append(scratch)
    return status, consumed, frames, following


def mask(data: Buffer, mask_key: bytes, offset: int = 0) -> bytes:
    """Return `data` XORed with the key, where data[0] is byte number `offset` of the payload (5.3)."""
    if len(mask_key) != 4:
        raise ValueError("a mask key is four bytes")
    size = len(data)
    masked, view = new_buffer(size)
    key = ffi.cast("uint32_t *", ffi.from_buffer(mask_key))[0]
    lib.ws_mask(ffi.from_buffer("uint8_t[]", view), ffi.from_buffer("uint8_t[]", data), size, key, offset)
    return bytes(masked)


def mask_in_place(buffer: bytearray | memoryview, start: int, end: int, mask_key: int, offset: int = 0) -> None:
    """XOR buffer[start:end] with the key, given as the number that its four bytes are in memory."""
    data = ffi.from_buffer("uint8_t[]", buffer) + start
    lib.ws_mask(data, data, end - start, mask_key, offset)


def deflate(data: Buffer, window: int) -> bytes:
    """Compress a whole small message (deflate.h), looking back `window` bytes; b"" if its size is not for deflate.h."""
    if type(data) is not bytes:
        data = bytes(memoryview(data))
    taken = target, view = _targets.pop() if _targets else _new_target()
    compressed: bytes = view[: max(lib.ws_deflate(data, len(data), window, target), 0)]
    _targets.append(taken)
    return compressed


def new_buffer(length: int) -> tuple[bytes | bytearray, memoryview]:
    """Return a buffer for a payload, and the view through which it is written.

    A large buffer is the very `bytes` object that the message will be: nobody else has it before it is complete. It is
    not zeroed, and the system provides each of its pages only when something is written there. So a header that
    announces a large payload takes little memory.
    """
    if length <= SMALL_BUFFER:
        small = bytearray(length)
        return small, memoryview(small)
    buffer: bytes = _uninitialized_bytes(None, length)
    return buffer, memoryview(ffi.buffer(ffi.from_buffer(buffer), length))


def _keep_large_blocks() -> None:
    """Let glibc's allocator keep up to 8 MiB of the memory of large messages, for the next ones.

    It keeps blocks that are smaller than the largest block ever freed (M_MMAP_THRESHOLD in mallopt(3)), so a large one
    is freed here. Otherwise each message of a megabyte would return its pages to the system, and take new ones.
    """
    block = bytes(_KEPT_BLOCK)
    del block


_keep_large_blocks()
