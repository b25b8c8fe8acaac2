"""The process of an honest peer; see honest.py.

    python -m hostile.asking '{"port": 8000, "pid": 1234, "handshakes": false, "tls": false, "seconds": 2}'

It prints, each as a line of JSON: the port to be connected to, where it is to be (a client is under attack); then that
it was answered; and, a line of input later, its waits in milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from . import dial
from .peers import PATIENCE, Peer

PAUSE = 0.004
"""Seconds between an answer and the next question."""


def say(value: Any) -> None:
    """Print a line."""
    print(json.dumps(value), flush=True)


def connect(about: dict[str, Any]) -> Peer:
    """Return a peer that has shaken hands."""
    if about["port"]:
        return dial.shake(about["port"], "/echo", tls=about["tls"])
    with dial.listen() as listener:
        say({"port": listener.getsockname()[1]})
        return dial.take(listener, tls=about["tls"])


def delay(pid: int) -> float:
    """Return the seconds that a process has been ready to run and had no core, since others used the machine."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def ask_undisturbed(about: dict[str, Any], peer: Peer, number: int) -> float:
    """Return the seconds that one question took, less those that one side, the worse off, was kept from its core."""
    processes = about["pid"], os.getpid()
    before = [delay(pid) for pid in processes]
    took = ask(about, peer, number)
    kept = max(delay(pid) - was for pid, was in zip(processes, before, strict=True))
    return took if took == PATIENCE else max(0.0, took - kept)


def ask(about: dict[str, Any], peer: Peer, number: int) -> float:
    """Return the seconds that one question took; what never comes counts as `PATIENCE`."""
    began = time.perf_counter()
    with contextlib.suppress(OSError):
        if not about["handshakes"]:
            return peer.ask(b"honest %d" % number)
        dial.shake(about["port"], "/echo", tls=about["tls"]).close()
        return time.perf_counter() - began
    return PATIENCE


def main(about: dict[str, Any]) -> None:
    """Ask until the time is over, or an answer does not come."""
    with contextlib.suppress(PermissionError):
        os.nice(-10)  # what it waits for is to be the program under attack, not a turn beside the attackers
    peer = connect(about)
    peer.ask(b"honest")
    say({"answered": True})
    sys.stdin.readline()
    waits: list[float] = []
    end = time.monotonic() + about["seconds"]
    while time.monotonic() < end and PATIENCE not in waits:
        waits.append(ask_undisturbed(about, peer, len(waits)))
        time.sleep(PAUSE)
    say([round(1000 * wait, 3) for wait in waits])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
