"""Masking and scanning alone, in GB/s, against memcpy.

    python benchmarks/kernels.py           a table
    python benchmarks/kernels.py --json    the same for run.py

Every figure is the best of several short turns, the kernels taking turns, and the price of the same call with
nothing to do is taken off (for the Python twin, whose call is part of the matter, that of an empty function).
Masking works in place, so a buffer that has been unmasked is simply masked again by the next call.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from geventws._core import pure as twin  # noqa: E402
from geventws._core._frame import ffi, lib  # noqa: E402

KEY = b"\x37\xfa\x21\x3d"
KEY_NUMBER = int.from_bytes(KEY, sys.byteorder)
TURNS = 9
TURN_SECONDS = 0.02
MOST_FRAMES = 4096

Kernel = Callable[[], object]


def masked_frame(size: int) -> bytes:
    """A masked binary frame."""
    if size < 126:
        head = bytes([0x82, 0x80 | size])
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x82, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x82, 0x80 | 127, size)
    return head + KEY + bytes(size)


def copy_kernel(size: int) -> Kernel:
    target, source = ffi.new("uint8_t[]", max(size, 1)), ffi.new("uint8_t[]", max(size, 1))
    return lambda: ffi.memmove(target, source, size)


def mask_kernel(size: int) -> Kernel:
    data = ffi.new("uint8_t[]", max(size, 1))
    return lambda: lib.ws_mask(data, data, size, KEY_NUMBER, 0)


def mask_copy_kernel(size: int) -> Kernel:
    target, source = ffi.new("uint8_t[]", max(size, 1)), ffi.new("uint8_t[]", max(size, 1))
    return lambda: lib.ws_mask(target, source, size, KEY_NUMBER, 0)


def scan_kernel(payload: int, frames: int) -> Kernel:
    """Scan a buffer of equal frames; fails when the scan does not find them all."""
    data = bytearray(masked_frame(payload) * frames)
    held = ffi.from_buffer("uint8_t[]", data)
    result = ffi.new("struct ws_scan *", {"max_payload": 1 << 20, "masked": 1})
    found = ffi.new("struct ws_frame[]", MOST_FRAMES)
    size = len(data)

    def scan() -> None:
        lib.ws_scan(held, size, result, found, MOST_FRAMES)

    scan()
    if result.count != frames or result.consumed != size:
        raise RuntimeError(f"the scan found {result.count} of {frames} frames")
    return scan


def twin_mask_kernel(size: int) -> Kernel:
    data = bytearray(size)
    return lambda: twin.mask(data, KEY)


def twin_scan_kernel(payload: int, frames: int) -> Kernel:
    data = bytearray(masked_frame(payload) * frames)
    return lambda: twin.scan(data, 1 << 20, 0, True)


def turn(kernel: Kernel) -> float:
    """CPU seconds per call over one short turn."""
    clock, calls, spent = time.process_time, 1, 0.0
    while spent < TURN_SECONDS:
        began = clock()
        for _ in range(calls):
            kernel()
        spent = clock() - began
        if spent < TURN_SECONDS:
            calls = max(calls * 2, int(calls * TURN_SECONDS / max(spent, 1e-9)))
    return spent / calls


def table() -> dict[str, tuple[Kernel, Kernel, int]]:
    """Name -> the kernel, the same call with nothing to do, and the payload bytes that one call handles."""
    kernels: dict[str, tuple[Kernel, Kernel, int]] = {}
    for size, title in ((64 << 10, "64 KB"), (1 << 20, "1 MB")):
        kernels[f"memcpy {title}"] = copy_kernel(size), copy_kernel(0), size
        kernels[f"mask {title} in place"] = mask_kernel(size), mask_kernel(0), size
        kernels[f"mask {title} while copying"] = mask_copy_kernel(size), mask_copy_kernel(0), size
        kernels[f"scan and unmask {title}"] = scan_kernel(size, 1), scan_kernel(0, 0), size
    kernels["scan and unmask 1,000 frames of 32 B"] = scan_kernel(32, 1000), scan_kernel(0, 0), 32_000
    kernels["Python twin: mask 64 KB"] = twin_mask_kernel(64 << 10), nothing, 64 << 10
    kernels["Python twin: scan and unmask 64 KB"] = twin_scan_kernel(64 << 10, 1), nothing, 64 << 10
    kernels["Python twin: scan and unmask 200 frames of 32 B"] = twin_scan_kernel(32, 200), nothing, 6400
    return kernels


def nothing() -> None:
    """Costs what calling a function costs."""


def measure() -> dict[str, float]:
    """GB (10^9 bytes) of payload per second, by kernel."""
    kernels = table()
    best = dict.fromkeys(kernels, float("inf"))
    empty = dict.fromkeys(kernels, float("inf"))
    for _ in range(TURNS):
        for name, (kernel, idle, _size) in kernels.items():
            best[name] = min(best[name], turn(kernel))
            empty[name] = min(empty[name], turn(idle))
    return {name: size / max(best[name] - empty[name], 1e-9) / 1e9 for name, (_, _, size) in kernels.items()}


def main() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures = measure()
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<50} {value:9.3f} GB/s")


if __name__ == "__main__":
    main()
