"""Picks the core: the C routines where they are built, else their Python twin.

The environment variable GEVENTWS_PURE_PYTHON=1 forces the twin.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType

from . import pure

__all__ = ["HAVE_C", "LARGEST_BUFFER", "deflate", "mask", "mask_in_place", "new_buffer", "scan"]

core: ModuleType = pure
HAVE_C = False
"""Whether the C core is in use."""

if os.environ.get("GEVENTWS_PURE_PYTHON", "0") in ("", "0"):
    try:
        from . import native

        core = native
        HAVE_C = True
    except ImportError:
        pass

LARGEST_BUFFER: int = core.LARGEST_BUFFER
deflate: Callable[..., bytes] = core.deflate
mask: Callable[..., bytes] = core.mask
mask_in_place: Callable[..., None] = core.mask_in_place
new_buffer: Callable[[int], tuple[bytes | bytearray, memoryview]] = core.new_buffer
scan: Callable[..., pure.ScanResult] = core.scan
