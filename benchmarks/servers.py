"""The servers: how each is started, what it can do, and what the kernel knows about its processes."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path

HERE = Path(__file__).resolve().parent
START_SECONDS = 20.0


@dataclass(frozen=True)
class Peer:
    """One server: its script (for a Python peer with arguments) and what has to be installed for it."""

    name: str
    script: str
    package: str = ""  # the distribution whose version is reported; for a Python peer it must be installed
    module: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    tls: bool = True
    deflate: bool = True
    only_deflate: bool = False  # the others show nothing new
    fanout: bool = False  # whether it can publish
    only_fanout: bool = False  # it does nothing else

    def is_ours(self) -> bool:
        """Whether this is no peer but a part of this tree."""
        return self.module == "geventws" or self.name == "floor"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("geventws", "geventws_echo.py pywsgi", module="geventws", fanout=True),
        Peer("geventws-loop", "geventws_echo.py loop", module="geventws", fanout=True, only_fanout=True),
        Peer("geventws-server", "geventws_echo.py server", module="geventws"),
        Peer("geventws-callbacks", "geventws_echo.py pywsgi callbacks", module="geventws"),
        Peer(
            "geventws-python",
            "geventws_echo.py pywsgi",
            module="geventws",
            environment={"GEVENTWS_PURE_PYTHON": "1"},
        ),
        Peer(
            "geventws-isal",
            "geventws_echo.py pywsgi",
            package="isal",
            module="isal",
            environment={"BENCH_ISAL": "1"},
            only_deflate=True,
        ),
        Peer("bun", "bun_echo.js", fanout=True),
        Peer("picows", "picows_echo.py", package="picows", module="picows", deflate=False, fanout=True),
        Peer("websockets", "websockets_echo.py", package="websockets", module="websockets"),
        Peer("aiohttp", "aiohttp_echo.py", package="aiohttp", module="aiohttp"),
        Peer("tornado", "tornado_echo.py", package="tornado", module="tornado"),
        Peer("ws", "ws_echo.cjs"),
        Peer(
            "gevent-websocket",
            "gevent_websocket_echo.py",
            package="gevent-websocket",
            module="geventwebsocket",
            deflate=False,
        ),
        Peer("eventlet", "eventlet_echo.py", package="eventlet", module="eventlet"),
        Peer("floor", "floor", tls=False, deflate=False),
    )
}


class Missing(Exception):
    """The peer is not installed."""


class NotStarted(RuntimeError):
    """The server ended, or did not say in time on which port it listens."""


def command(peer: Peer, build: Path) -> list[str]:
    """The peer's command line; raises Missing when the peer is not installed."""
    if peer.name == "floor":
        return [str(build / "bin" / "floor")]
    if peer.name == "bun":
        found = sorted(build.glob("node_modules/@oven/bun-*/bin/bun"))
        if not found:
            raise Missing(peer.name)
        return [str(found[0]), str(HERE / "peers" / peer.script)]
    if peer.name == "ws":
        node = shutil.which("node")
        if node is None or not (build / "node_modules" / "ws").exists():
            raise Missing(peer.name)
        return [node, str(HERE / "peers" / peer.script)]
    sys.path.insert(0, str(HERE.parent))
    found_module = util.find_spec(peer.module)
    sys.path.pop(0)
    if found_module is None:
        raise Missing(peer.name)
    script, *arguments = peer.script.split()
    return [sys.executable, str(HERE / "peers" / script), *arguments]


def base(tree: Path) -> Peer:
    """geventws out of another tree, to see what a change is worth."""
    path = {"PYTHONPATH": str(tree.resolve())}
    return Peer("base", "geventws_echo.py pywsgi", module="geventws", environment=path, fanout=True)


def version(peer: Peer, build: Path) -> str:
    """What was measured, for the table."""
    if peer.package:
        return metadata.version(peer.package)
    if peer.name == "ws":
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=20).stdout.strip()
        return f"{npm_version(build / 'node_modules' / 'ws')} on Node {node}"
    if peer.name == "bun":
        return npm_version(next(build.glob("node_modules/@oven/bun-*")))
    raise ValueError(f"{peer.name} is a part of this tree")


def npm_version(package: Path) -> str:
    return json.loads((package / "package.json").read_text())["version"]


def environment(peer: Peer, build: Path, tls: bool, deflate: bool, fanout: bool) -> dict[str, str]:
    """The environment the peer runs in; see peers/common.py."""
    made = dict(os.environ, PYTHONPATH=str(HERE.parent)) | peer.environment
    made["BENCH_MODULES"] = str(build / "node_modules")
    made["BENCH_DEFLATE"] = "1" if deflate else "0"
    made["BENCH_FANOUT"] = "1" if fanout else "0"
    if tls:
        made |= {"BENCH_CERTIFICATE": str(build / "certificate.pem"), "BENCH_KEY": str(build / "key.pem")}
    return made


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int

    def pids(self) -> list[int]:
        """The server's process and all its descendants."""
        found = [self.process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
        return found

    def cpu_seconds(self) -> tuple[float, float]:
        """CPU time spent so far in user and in system mode, all processes and threads together."""
        user = system = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
        ticks = os.sysconf("SC_CLK_TCK")
        return user / ticks, system / ticks

    def memory(self) -> dict[str, int]:
        """Resident and proportional set size of all processes, in bytes."""
        sums = {"Rss": 0, "Pss": 0}
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in sums:
                    sums[name] += int(rest.split()[0]) * 1024
        return {"rss": sums["Rss"], "pss": sums["Pss"]}


def read_port(process: subprocess.Popen[bytes]) -> int:
    """Wait for the line in which the server says on which port it listens."""
    deadline = time.monotonic() + START_SECONDS
    text = b""
    while not text.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise NotStarted("the server did not start in time")
        piece = os.read(process.stdout.fileno(), 100)
        if not piece:
            raise NotStarted("the server ended at once")
        text += piece
    return int(text.split()[1])


@contextmanager
def running(peer: Peer, build: Path, core: int, *, tls: bool, deflate: bool, fanout: bool = False) -> Iterator[Server]:
    """Start the peer on one core, and stop it at the end."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command(peer, build),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=HERE / "peers",
            env=environment(peer, build, tls, deflate, fanout),
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            yield Server(process, read_port(process))
        except NotStarted as error:
            log.seek(0)
            last = log.read().decode(errors="replace").strip().splitlines()[-1:]
            raise NotStarted(": ".join([str(error), *last])) from error
        finally:
            process.kill()
            process.wait(10)
            process.stdout.close()
