"""An honest peer beside an attack, in a process of its own: how long it waits for its answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from .hosts import HERE, Victim


class Honest:
    """An honest peer: connected when the block begins, and answered once.

    Args:
        victim: whom it asks.
        seconds: how long it asks.
        handshakes: whether it asks by opening connections, instead of by messages on one.
    """

    def __init__(self, victim: Victim, seconds: float, *, handshakes: bool = False) -> None:
        about = {"port": victim.port, "pid": victim.pid, "tls": victim.tls}
        about |= {"seconds": seconds, "handshakes": handshakes}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hostile.asking", json.dumps(about)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        if victim.is_client:
            victim.command(f"connect {self._read()['port']} /echo")
        self._read()

    def _read(self) -> Any:
        line = self._output.readline()
        if not line:
            raise RuntimeError("the honest peer could not connect")
        return json.loads(line)

    def waits(self) -> list[float]:
        """Let it ask, and return its waits in milliseconds."""
        self._input.write("begin\n")
        self._input.flush()
        waits: list[float] = self._read()
        return waits

    def __enter__(self) -> Honest:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()
