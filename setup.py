"""Builds the C core where there is a compiler, and installs without it where there is none.

Everything that does not need code stands in pyproject.toml. GEVENTWS_REQUIRE_EXTENSION=1 makes a core
that cannot be built an error, as the Makefile and whoever builds wheels want it.
"""

import os
import re
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from setuptools.compat.py310 import tomllib

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
            ext.libraries = []
            ext.define_macros.remove(("WS_ZLIB", None))
            super().build_extension(ext)
            print(WITHOUT_ZLIB, file=sys.stderr, flush=True)

    def has_built_all(self):
        """Return whether each extension has become a file."""
        return all(map(os.path.exists, self.get_outputs()))


class Wheel(bdist_wheel):
    """A wheel whose tag is true: of one platform with the C core, of any (py3-none-any) without it."""

    def run(self):
        self.run_command("build")
        build = self.get_finalized_command("build_ext")
        if not build.has_built_all():
            self.distribution.ext_modules = []
            self.root_is_pure, self.py_limited_api = True, False
        super().run()


def read_long_description():
    """Return README.rst for an index, where relative links lead nowhere: they become links to the project's pages.

    Without an address of the project they become plain text, and pictures are left out.
    """
    here = Path(__file__).parent
    urls = tomllib.loads((here / "pyproject.toml").read_text())["project"]["urls"]
    base = urls.get("Source", "").rstrip("/")
    text = (here / "README.rst").read_text()
    if base:
        text = re.sub(r"<(?!https?:|mailto:)([^<>\s]+)>`__", rf"<{base}/blob/main/\1>`__", text)
        return re.sub(r"(?m)^(\.\. image:: )(?!https?:)", rf"\1{base}/raw/main/", text)
    text = re.sub(r"`([^`<]+?)\s+<(?!https?:|mailto:)[^<>]+>`__", r"\1", text)
    return re.sub(r"(?m)^\.\. image:: (?!https?:).*\n(?:[ \t]+.*\n)*", "", text)


setup(
    long_description=read_long_description(),
    long_description_content_type="text/x-rst",
    cffi_modules=["_frame_build.py:ffi"],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": Wheel},
    # The stable ABI: one wheel for every CPython from 3.10.
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
