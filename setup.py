"""Builds the C core where there is a compiler, and installs without it where there is none.

Everything that does not need code stands in pyproject.toml. GEVENTWS_REQUIRE_EXTENSION=1 makes a core
that cannot be built an error, as the Makefile and whoever builds wheels want it.
"""

import os
import sys

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

REQUIRED = os.environ.get("GEVENTWS_REQUIRE_EXTENSION") == "1"
WITHOUT = """\
***************************************************************************
geventws: the C core was not built:
    {}
The installation goes on, and geventws runs on its core in Python: complete,
with the same results, and slower. For the fast core install a C compiler
and Python's headers (Debian: apt-get install gcc python3-dev) and install
again: pip install --force-reinstall --no-binary geventws geventws
***************************************************************************"""
WITHOUT_ZLIB = """\
geventws: zlib.h was not found, so the C core was built without zlib. All works;
compressed messages take longer (Debian: apt-get install zlib1g-dev)."""


class BuildCore(build_ext):
    """The usual build, which tells what a missing compiler or header means instead of failing."""

    def build_extension(self, ext):
        try:
            self.build_core(ext)
        except (BaseError, CCompilerError, OSError) as error:
            if REQUIRED:
                raise
            ext.optional = True
            print(WITHOUT.format(error), file=sys.stderr, flush=True)

    def build_core(self, ext):
        try:
            super().build_extension(ext)
        except CCompilerError:
            if REQUIRED or not ext.libraries:
                raise
            ext.libraries, ext.define_macros = [], []
            super().build_extension(ext)
            print(WITHOUT_ZLIB, file=sys.stderr, flush=True)


setup(
    cffi_modules=["_frame_build.py:ffi"],
    cmdclass={"build_ext": BuildCore},
    # The stable ABI: one wheel for every CPython from 3.10.
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
