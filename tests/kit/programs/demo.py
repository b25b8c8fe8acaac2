"""Starts examples/demo.py for tests."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"


@contextlib.contextmanager
def demo(port: int = 0, redis: str = "") -> Iterator[str]:
    """The demo as a person starts it, over a Redis if one is named; its first line says where it listens."""
    command = [sys.executable, str(EXAMPLES / "demo.py"), "--port", str(port), "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "REDIS_URL": redis}  # installed or not
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            match = re.search(r"http://(\S+)", process.stdout.readline())
            assert match is not None
            yield match.group(1)
        finally:
            process.terminate()
            process.wait(10)
