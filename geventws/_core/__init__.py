"""Picks the core: the C routines if they are built, otherwise their Python twin.

The environment variable GEVENTWS_PURE_PYTHON=1 forces the twin.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import pure

__all__ = [
    "FAST_DEFLATED",
    "FAST_SIZE",
    "FAST_UNMASKED",
    "FULL_CHUNK_LIMIT",
    "HAVE_C",
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

core: ModuleType = pure
HAVE_C = False
"""Whether the C core is in use."""

if os.environ.get("GEVENTWS_PURE_PYTHON", "0") in ("", "0"):
    try:
        from . import native

        core = native
        HAVE_C = True
    except ImportError:
        logging.getLogger("geventws").info("the C core is not installed: its twin in Python does the same, more slowly")

FAST_DEFLATED: int = core.FAST_DEFLATED
FAST_SIZE: int = core.FAST_SIZE
FAST_UNMASKED: int = core.FAST_UNMASKED
FULL_CHUNK_LIMIT: int = core.FULL_CHUNK_LIMIT
LARGEST_BUFFER: int = core.LARGEST_BUFFER
SMALL_CHUNK: int = core.SMALL_CHUNK
Fanout: Callable[[], pure.Fanout] = core.Fanout
Receiver: Callable[[Any], pure.Receiver] = core.Receiver
deflate: Callable[..., bytes] = core.deflate
mask: Callable[..., bytes] = core.mask
mask_in_place: Callable[..., None] = core.mask_in_place
new_buffer: Callable[[int], tuple[bytes | bytearray, memoryview]] = core.new_buffer
scan: Callable[..., pure.ScanResult] = core.scan
