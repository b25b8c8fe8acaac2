"""What many connections take of one process: memory for each, idle and subscribed, and CPU for a message to all.

    python benchmarks/crowd.py 50000

The server and the load need a descriptor for each connection. The clients come from 250 loopback addresses.
"""

from __future__ import annotations

import argparse
import resource
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import machine
import measure
import servers
from scenarios import Scenario

SPARE = 100
"""Descriptors of a process besides those of the connections."""

OURS = ("geventws", "geventws-callbacks", "bun")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("connections", type=int, help="how many")
    parser.add_argument("-p", "--peers", default=",".join(OURS), help=f"which servers ({', '.join(OURS)})")
    parser.add_argument("-t", "--seconds", type=float, default=3.0, help="for which is published")
    parser.add_argument("--build", type=Path, default=servers.HERE.parent / "build" / "bench", help="where peers are")
    return parser.parse_args()


def run(settings: measure.Settings, peer: servers.Peer, fanout: bool) -> AbstractContextManager[servers.Server]:
    """Run a server, which ends with the context."""
    return servers.running(peer, settings.build, settings.server_core, tls=False, deflate=False, fanout=fanout)


def measure_crowd(settings: measure.Settings, peer: servers.Peer, count: int) -> None:
    """Print the line of a peer, each figure once it is there, so that a later failure does not take it along."""
    print(f"{peer.name:20} {count:,} connections", end="", flush=True)
    idle = Scenario("idle", "", kind="memory", connections=count)
    for fanout in (False, True) if peer.fanout else (False,):
        with run(settings, peer, fanout) as server:
            figures = measure.memory(settings, idle, server)
        said = f"{'subscribed' if fanout else 'idle'} {figures['rss_bytes'] / 1000:.1f} KB each"
        print(f"{', ' if fanout else ': '}{said}", end="", flush=True)
    print(f", {publish(settings, peer, count)}" if peer.fanout else "", flush=True)


def publish(settings: measure.Settings, peer: servers.Peer, count: int) -> str:
    """Return what it costs to publish 200 bytes to all."""
    scenario = Scenario("publish", "", kind="fanout", connections=count, size=200)
    with run(settings, peer, True) as server:
        figures: dict[str, Any] = measure.echo(settings, scenario, server)
    cost = figures["cpu_us"]
    return f"200 B to all {cost * count / 1000:.0f} ms of CPU ({cost:.1f} us a delivery), errors {figures['errors']}"


def main() -> None:
    """Measure."""
    options = parse()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if options.connections + SPARE > hard:
        raise SystemExit(f"a process may have {hard:,} descriptors here: {hard - SPARE:,} connections at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    build = options.build.resolve()
    machine.build_programs(build)
    settings = measure.Settings(build, options.seconds, warmup=1.0)
    for name in options.peers.split(","):
        measure_crowd(settings, servers.PEERS[name], options.connections)


if __name__ == "__main__":
    main()
