"""setup.py where something is missing: the installation goes on, with what there is, and says what that costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__test__ = os.environ.get("GEVENTWS_PURE_PYTHON", "0") in ("", "0")  # whether pytest collects this module

ROOT = Path(__file__).parents[2]

ECHO = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder)]  # of what is installed
import gevent, geventws, geventws._core
from geventws import WebSocketServer, WebSocketWSGI, connect

@WebSocketWSGI
def echo(ws):
    for message in ws:
        ws.send(message)

server = WebSocketServer(("127.0.0.1", 0), echo, log=None)
server.start()
with gevent.Timeout(20), connect(f"ws://127.0.0.1:{server.server_port}") as ws:
    for message in ("compressed " * 100, b"compressed " * 9000):
        ws.send(message)
        assert ws.wait() == message
server.stop()
print("the C core" if geventws._core.HAVE_C else "the twin", "echoes")
if geventws._core.HAVE_C:
    from geventws._core._frame import ffi, lib
    print("an inflater" if lib.ws_inflater_new() else "no inflater")
"""


class Tree:
    """A copy of what is built, and the environment that it is built in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "geventws", folder / "geventws", ignore=shutil.ignore_patterns("_frame.*", "*.o"))
        for name in ("setup.py", "_frame_build.py", "pyproject.toml", "README.rst"):
            shutil.copy(ROOT / name, folder)
        self.environment = {**os.environ, "PYTHONPATH": str(folder)}
        self.environment.pop("GEVENTWS_REQUIRE_EXTENSION", None)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )

    def build(self) -> subprocess.CompletedProcess[str]:
        return self.run("setup.py", "build_ext", "--inplace")

    def echo(self) -> list[str]:
        return self.run("-c", ECHO).stdout.splitlines()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def hide_zlib(tree: Tree) -> None:
    headers = tree.folder / "headers"
    headers.mkdir()
    (headers / "zlib.h").write_text("#error hidden\n")
    tree.environment["CFLAGS"] = f"-I{headers}"


def test_a_build_where_nothing_is_missing(tree: Tree) -> None:
    built = tree.build()
    assert built.returncode == 0 and "not built" not in built.stdout and "zlib.h" not in built.stdout, built.stdout
    inflates = "an inflater" if sys.platform == "linux" else "no inflater"
    assert tree.echo() == ["the C core echoes", inflates]


def test_the_build_that_is_shipped_asserts_nothing(tree: Tree) -> None:
    for flags, asserts in (("", False), ("-UNDEBUG", True)):
        tree.environment["GEVENTWS_CFLAGS"] = flags
        built = tree.run("setup.py", "build_ext", "--inplace", "--force")
        (core,) = tree.folder.glob("geventws/_core/_frame.*.so")
        assert built.returncode == 0 and (b"__assert" in core.read_bytes()) is asserts, built.stdout


def test_a_build_without_zlib(tree: Tree) -> None:
    hide_zlib(tree)
    built = tree.build()
    assert built.returncode == 0 and "built without zlib" in built.stdout, built.stdout
    assert tree.echo() == ["the C core echoes", "no inflater"]


def test_a_build_without_a_compiler(tree: Tree) -> None:
    tree.environment["CC"] = str(tree.folder / "none")
    built = tree.build()
    assert built.returncode == 0 and "the C core was not built" in built.stdout, built.stdout
    assert tree.echo() == ["the twin echoes"]


@pytest.mark.parametrize("missing", ["zlib", "compiler"])
def test_a_build_that_must_have_everything(tree: Tree, missing: str) -> None:
    tree.environment["GEVENTWS_REQUIRE_EXTENSION"] = "1"
    if missing == "zlib":
        hide_zlib(tree)
    else:
        tree.environment["CC"] = str(tree.folder / "none")
    assert tree.build().returncode != 0
