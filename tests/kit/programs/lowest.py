"""The lowest version of a package that pyproject.toml allows, for a process of its own."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest
from kit.sources import PROJECT


def install_lowest(package: str, folder: pathlib.Path) -> dict[str, str]:
    """Install it alone into a folder; return what is in the environment of a process that uses it.

    Skip the test if this Python is too new for it.
    """
    found = re.search(rf'"{package}(?:\[\w+\])?>=([\d.]+)', (PROJECT / "pyproject.toml").read_text())
    assert found is not None
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, f"--target={folder}", f"{package}=={found[1]}.*"], capture_output=True, text=True)
    if done.returncode and sys.version_info >= (3, 13):
        pytest.skip(f"{package} {found[1]} has no wheel for this Python: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{PROJECT / 'tests'}"}


def run_module(environment: dict[str, str], *arguments: str) -> str:
    """Run `python -m` in the project's folder, and return what it prints; it must succeed."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
