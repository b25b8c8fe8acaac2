"""Talk with other implementations: our server with their clients, and our client with their servers.

    make interop                              every peer: two to three minutes
    make interop ARGS='Tornado ws --keep'     some peers, as installed; no page is written

table.py says who they are; each is a small script in peers/ with the contract of peers/common.py. They are installed
into build/interop. What came out is written into docs/interoperability.rst; the status is 1 where a pair failed that
table.py does not know to fail, or a pair that it knows to fail did not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

from install import HERE, MODULES, PLACE, ROOT, install, interpreter
from messages import write_messages
from page import write_page
from table import OURS, PEERS, Peer, why
from tap import Tap

START = 20  # seconds for a server to tell its port
DEADLINE = 40  # seconds for a client to be through
MESSAGES = PLACE / "messages.json"
ENVIRONMENT = os.environ | {
    "INTEROP_MESSAGES": str(MESSAGES),
    "NODE_PATH": str(MODULES),
    "PYTHONPATH": str(ROOT),
    "PYTHONWARNINGS": "ignore",
}


class Outcome(NamedTuple):
    """How one pair did: "server" or "client" is what we were."""

    role: str
    peer: Peer
    setting: str
    ours: str
    agreed: str  # the extension, as the server answered
    verdict: str  # "ok", or the first difference

    @property
    def reason(self) -> str | None:
        return why(self.role, self.peer.name, self.setting, self.ours)

    @property
    def surprising(self) -> bool:
        return (self.verdict == "ok") is (self.reason is not None)


def command_of(peer: Peer | None, role: str) -> list[str]:
    """What starts a peer's script, or ours where it is None."""
    if peer is None:
        return [sys.executable, str(HERE / "peers" / f"geventws_{role}.py")]
    return [interpreter(peer.runtime), str(HERE / "peers" / peer.script(role))]


@contextlib.contextmanager
def serving(command: list[str]) -> Iterator[int]:
    """A server, ended afterwards, and its port."""
    with (PLACE / "server.log").open("a") as log, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, env=ENVIRONMENT
    ) as process:
        try:
            yield int(read_line(process))
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    """The first line that a process prints, within START seconds."""
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
    return lines.get(timeout=START)


def ask(command: list[str]) -> str:
    """Run a client to its end, and return its verdict: the last line."""
    with (PLACE / "client.log").open("a") as log:
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=ENVIRONMENT, timeout=DEADLINE
            )
        except subprocess.TimeoutExpired:
            return f"no end within {DEADLINE} s"
    return (done.stdout.splitlines() or [f"ended with {done.returncode} and no word"])[-1]


def talk(role: str, peer: Peer, setting: str, ours: str) -> Outcome:
    """Let one pair talk, with a server of its own."""
    server, client = ((None, ours), (peer, setting)) if role == "server" else ((peer, setting), (None, ours))
    try:
        with serving([*command_of(server[0], "server"), server[1]]) as port, Tap(port) as tap:
            verdict = ask([*command_of(client[0], "client"), tap.url, client[1]])
    except (queue.Empty, ValueError):
        return Outcome(role, peer, setting, ours, "", "the server did not tell its port")
    return Outcome(role, peer, setting, ours, tap.agreed(), verdict)


def talk_with(peer: Peer) -> Iterator[Outcome]:
    """All pairs of one peer and us."""
    for role, settings in (("server", peer.client), ("client", peer.server)):
        for setting in settings:
            for ours in OURS:
                yield talk(role, peer, setting, ours)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(peer.name for peer in PEERS)}")
    parser.add_argument("--keep", action="store_true", help="install nothing")
    arguments = parser.parse_args()
    if not arguments.keep:
        install()
    write_messages(MESSAGES)
    outcomes = []
    for peer in PEERS:
        if not arguments.peers or peer.name in arguments.peers:
            for outcome in talk_with(peer):
                outcomes.append(outcome)
                print(f"{outcome.role:7} {peer.name:17} {outcome.setting:25} {outcome.ours:20} {outcome.verdict}"
                      f"   [{outcome.agreed}]", flush=True)  # fmt: skip
    if not arguments.peers:
        write_page(outcomes)
    surprises = sum(outcome.surprising for outcome in outcomes)
    print(f"{len(outcomes)} pairs, {sum(o.verdict == 'ok' for o in outcomes)} ok, {surprises} not as expected")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
