"""The lowest redis-py that the extra allows, without hiredis: the bus is the same over it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from kit.sources import PROJECT

TESTS = ["bus/test_connection.py", "bus/test_link.py", "bus/test_streams.py", "bus/wire"]


def test_the_bus_works_on_the_lowest_redis_without_hiredis(tmp_path: Path) -> None:
    (version,) = re.findall(r'^redis = \["redis>=([\d.]+)"', (PROJECT / "pyproject.toml").read_text(), re.M)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"--target={tmp_path}"]
    subprocess.run([*install, f"redis=={version}"], check=True, capture_output=True)
    (tmp_path / "hiredis.py").write_text("raise ImportError")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    paths = [f"tests/pubsub/{path}" for path in TESTS]
    done = subprocess.run([*command, *paths], env=environment, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
