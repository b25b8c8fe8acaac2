"""Installs the peers into build/interop, and tells how to start them and which versions they are."""

from __future__ import annotations

import pathlib
import platform
import re
import shutil
import subprocess
import sys

from table import PEERS, Peer

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PLACE = ROOT / "build" / "interop"
PYTHON = PLACE / "venv" / "bin" / "python"
MODULES = PLACE / "node_modules"
TIMEOUT = 300  # seconds for one installer


def install() -> None:
    """Install the newest of each peer."""
    PLACE.mkdir(parents=True, exist_ok=True)
    if not PYTHON.exists():
        call(sys.executable, "-m", "venv", str(PLACE / "venv"))
    call(str(PYTHON), "-m", "pip", "install", "--quiet", "--upgrade", "-r", str(HERE / "requirements.txt"))
    shutil.copy(HERE / "package.json", PLACE)
    call("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", str(PLACE))


def call(*command: str) -> None:
    subprocess.run(command, check=True, timeout=TIMEOUT)


def interpreter(runtime: str) -> str:
    """What runs a peer's scripts; Chromium is driven by the environment of our tests."""
    if runtime == "bun":
        return str(next(MODULES.glob("@oven/bun-linux-*/bin/bun")))
    return {"python": str(PYTHON), "node": "node", "chromium": sys.executable}[runtime]


def read_versions() -> dict[str, str]:
    """The version of each peer, and of what runs it."""
    return {peer.name: read_version(peer) for peer in PEERS}


def read_version(peer: Peer) -> str:
    if peer.runtime == "python":
        code = f"from importlib.metadata import version; print(version('{peer.name.lower()}'))"
        return read(str(PYTHON), "-c", code)
    if peer.runtime == "node":
        code = f"console.log(require('{MODULES / peer.name.lower() / 'package.json'}').version)"
        return f"{read('node', '-e', code)} on Node {read('node', '--version').lstrip('v')}"
    command = interpreter("bun") if peer.runtime == "bun" else "chromium"
    return re.search(r"\d[\d.]*", read(command, "--version"))[0]


def read(*command: str) -> str:
    return subprocess.run(command, check=True, timeout=30, capture_output=True, text=True).stdout.strip()


def describe_machine() -> str:
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
