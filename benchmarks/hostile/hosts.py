"""The programs under attack, each in a process on a core of its own, and what the kernel knows about them.

A host's name says it all: `server-callbacks-tls-twin` is `WebSocketServer`, in callbacks, over TLS, without the C core.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import dial
from .peers import PATIENCE, Peer

HERE = Path(__file__).resolve().parent
TRAITS = ("callbacks", "tls", "twin", "libuv", "patched")
PAGE = os.sysconf("SC_PAGE_SIZE")
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072"}
"""Has glibc give large blocks back at once, of which it keeps some otherwise: what is resident is what is held."""

QUIET = 0.15
"""Seconds without any CPU time after which a program has done what it was sent."""


@dataclass(frozen=True)
class Place:
    """Where the attacked run: on which core, and out of which built tree of geventws."""

    core: int
    tree: Path


@dataclass(frozen=True)
class Host:
    """One kind of program.

    Args:
        name: `pywsgi`, `server` or `client`, and traits.
    """

    name: str

    def __post_init__(self) -> None:
        if self.kind not in ("pywsgi", "server", "client") or self.traits - set(TRAITS):
            raise SystemExit(f"unknown host {self.name}: pywsgi, server or client, and of {', '.join(TRAITS)}")

    @property
    def kind(self) -> str:
        """The server, or `client`."""
        return self.name.split("-")[0]

    @property
    def traits(self) -> set[str]:
        """What follows it."""
        return set(self.name.split("-")[1:])


class Victim:
    """One program under attack.

    Args:
        host: its kind.
        place: where it runs.
        about: what it has to be for this attack; see victim/.
    """

    def __init__(self, host: Host, place: Place, **about: Any) -> None:
        self.host = host
        self.tls = "tls" in host.traits
        self.is_client = host.kind == "client"
        self._listener: socket.socket | None = dial.listen() if self.is_client else None
        self._log = tempfile.TemporaryFile()
        self._text = b""
        self._process = self._start(place, about)
        try:
            self.port = int(self.wait_for("PORT"))
        except BaseException:
            self.close()
            raise

    def _start(self, place: Place, about: dict[str, Any]) -> subprocess.Popen[bytes]:
        traits = self.host.traits
        described = {"server": self.host.kind, "callbacks": "callbacks" in traits, "tls": self.tls}
        described |= {"patched": "patched" in traits, "log": False, "held_log": False, "memory": 0, "options": {}}
        described |= about
        environment = {**os.environ, "PYTHONPATH": f"{place.tree}{os.pathsep}{HERE.parent}"}
        environment["HOSTILE_CERTIFICATE"] = str(dial.CERTIFICATE.resolve())
        environment |= GIVE_BACK if described.pop("give_back", False) else {}
        environment |= {"GEVENTWS_PURE_PYTHON": "1"} if "twin" in traits else {}
        environment |= {"GEVENT_LOOP": "libuv"} if "libuv" in traits else {}
        return subprocess.Popen(
            [sys.executable, "-m", "hostile.victim", json.dumps(described)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            cwd=HERE.parent,  # the interpreter looks there first, and the tree comes next
            preexec_fn=lambda: os.sched_setaffinity(0, {place.core}),
        )

    # Connections

    def meet(self, path: str = "/echo", *, deflate: bool = False, protocol: str = "", receive_buffer: int = 0) -> Peer:
        """Return a peer that is connected: to the server, or from the client."""
        if self._listener is None:
            options: dict[str, Any] = {"deflate": deflate, "protocol": protocol, "receive_buffer": receive_buffer}
            return dial.shake(self.port, path, tls=self.tls, **options)
        self.command(f"connect {self._listener.getsockname()[1]} {path}")
        return dial.take(self._listener, tls=self.tls, deflate=deflate, receive_buffer=receive_buffer)

    def command(self, line: str) -> None:
        """Tell the program to do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    # What it tells

    def wait_for(self, word: str, timeout: float = PATIENCE) -> str:
        """Return the rest of the next line that begins with a word; raises TimeoutError."""
        end = time.monotonic() + timeout
        while True:
            for line in self.told():
                if line.startswith(word):
                    self._text = self._text.replace(line.encode() + b"\n", b"", 1)
                    return line[len(word) :].strip()
            self._read(max(0.0, end - time.monotonic()), f"it did not say {word}")

    def told(self) -> list[str]:
        """Return the lines that were read and not waited for."""
        return self._text.decode().split("\n")[:-1]

    def _read(self, timeout: float, complaint: str) -> None:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            raise TimeoutError(complaint)
        if not (data := os.read(self._process.stdout.fileno(), 1 << 16)):
            raise RuntimeError(f"{complaint}, and ended; its log ends with {self.log()[-300:]!r}")
        self._text += data

    def read_all(self) -> list[str]:
        """Return all that it has told so far and that was not waited for."""
        with contextlib.suppress(TimeoutError):
            while True:
                self._read(0, "nothing more")
        return self.told()

    def log(self) -> str:
        """Return what it has logged."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    # What the kernel knows

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        fields = self._stat("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Return the bytes that are resident."""
        return int(self._stat("statm").split()[1]) * PAGE

    def peak(self) -> int:
        """Return the most bytes that were resident since `forget_peak`."""
        line = next(line for line in self._stat("status").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10

    def forget_peak(self) -> None:
        """Let the peak be what is resident now."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def _stat(self, name: str) -> str:
        return Path(f"/proc/{self._process.pid}/{name}").read_text()

    def settle(self, limit: float = PATIENCE) -> bool:
        """Wait until it uses no CPU; return whether it came to that in time."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            used = self.cpu()
            time.sleep(QUIET)
            if self.cpu() == used:
                return True
        return False

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log, self._listener):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
