"""A process that forks: a child's PubSub is its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]


def run(app: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    command = [sys.executable, "-m", f"kit.apps.{app}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_is_on_its_way_is_the_parents_to_send() -> None:
    assert run("forked_rooms") == [
        "child 0 0 (0, 0, 0, 0, 0, 0)",
        "parent 2 2 (4, 4, 0, 0, 0, 2)",
        "[['before', 'parent'], ['before', 'parent']]",
    ]


def test_what_is_kept_and_who_is_there_is_the_parents() -> None:
    """The child has another epoch, and a lock of its own."""
    assert run("forked_history") == [
        "child ['child'] True []",
        "parent ['before', 'parent'] False ['ana']",
        "['before', 'parent']",
    ]
