"""A process that forks: a child's PubSub is its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]


def test_what_is_on_its_way_is_the_parents_to_send() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    command = [sys.executable, "-m", "kit.apps.forked_rooms"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "child 0 0 (0, 0, 0, 0, 0, 0)",
        "parent 2 2 (4, 4, 0, 0, 0, 2)",
        "[['before', 'parent'], ['before', 'parent']]",
    ]
