"""Builds geventws._core._frame, the C core, through cffi.

setup.py calls it (`cffi_modules`); run by itself it builds in place. The declarations come from the headers
that the compiler reads too. The extension uses Python's stable ABI, so one build serves every CPython from 3.10.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent
CORE = "geventws/_core"
HEADERS = ["frame.h", "mask.h", "deflate/deflate.h", "deflate/inflate.h", "receive/receive.h", "fanout/fanout.h"]
PRIVATE = ["header.h", "receive/records.h", "deflate/huffman.h"]
MODULES = ["frame", "mask", "deflate/huffman", "deflate/deflate", "deflate/inflate"]
MODULES += ["receive/records", "receive/receive", "fanout/fanout"]

# What inflates after epoll; setup.py does without it where its header is missing.
LIBRARIES = ["z"] if sys.platform == "linux" else []
ZLIB = [("WS_ZLIB", None)] if sys.platform == "linux" else []

# Sanitizers and other trials: GEVENTWS_CFLAGS="-UNDEBUG -fsanitize=address,undefined -g"
EXTRA = os.environ.get("GEVENTWS_CFLAGS", "").split()
REQUIRED = os.environ.get("GEVENTWS_REQUIRE_EXTENSION") == "1"
OPTIMISE = [] if os.name == "nt" else ["-O3"]

ffi = cffi.FFI()
for header in HEADERS:
    ffi.cdef((HERE / CORE / header).read_text())
ffi.set_source(
    "geventws._core._frame",
    "".join(f'#include "{header}"\n' for header in HEADERS),
    sources=[f"{CORE}/{name}.c" for name in MODULES],
    depends=[f"{CORE}/{header}" for header in HEADERS + PRIVATE],
    include_dirs=[CORE],
    libraries=LIBRARIES,
    define_macros=[("NDEBUG", None), *ZLIB],
    extra_compile_args=[*OPTIMISE, *EXTRA],
    extra_link_args=EXTRA,
    optional=not REQUIRED,
)

if __name__ == "__main__":
    ffi.compile(verbose=True, tmpdir=str(HERE))
