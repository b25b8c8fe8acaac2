"""Compare geventws with its peers: server CPU per message, rate, latency, memory.

Every server runs on one core and the load on another, in turn, round after round, so that a machine that
changes its pace changes it for all. CPU per message is the figure to go by. Results go to BUILD/results:
results.json, results.rst, results.png.

    python benchmarks/run.py                                     everything
    python benchmarks/run.py -s echoes -p geventws,bun,picows    the seven echoes against two peers
    python benchmarks/run.py -s binary,burst -p geventws -n 1 -t 1
    python benchmarks/run.py -s binary -p geventws --base ../before     what a change is worth

How the pieces fit: scenarios.py says what is measured, servers.py starts the peers, measure.py takes one
measurement, kernels.py measures masking alone, report.py makes the tables, targets.py judges, plot.py draws.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import sys
from pathlib import Path
from typing import Any

import machine
import measure
import plot
import report
import scenarios
import servers
from servers import PEERS


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-s", "--scenarios", default="", help=f"of {', '.join(scenarios.NAMES)} (all)")
    parser.add_argument("-p", "--peers", default="", help=f"of {', '.join(PEERS)} (all installed)")
    parser.add_argument("-n", "--rounds", type=int, default=3)
    parser.add_argument("-t", "--seconds", type=float, default=2.0, help="measured, per server, scenario and round")
    parser.add_argument("-w", "--warmup", type=float, default=0.5, help="seconds before that")
    parser.add_argument("--base", type=Path, help="another built tree of geventws, measured as the peer base")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument(
        "--build", type=Path, default=servers.HERE.parent / "build" / "bench", help="where peers and results are"
    )
    parser.add_argument("--out", type=Path, help="where the results go (BUILD/results)")
    return parser.parse_args(words)


def choose_peers(names: str, build: Path) -> list[servers.Peer]:
    """The peers named, or all; those that are not installed are left out, and said so."""
    wanted = [name for name in names.split(",") if name] or list(PEERS)
    if unknown := set(wanted) - PEERS.keys():
        raise SystemExit(f"unknown peers: {', '.join(sorted(unknown))}; known: {', '.join(PEERS)}")
    chosen = []
    for peer in (PEERS[name] for name in wanted):
        try:
            servers.command(peer, build)
        except servers.Missing:
            print(f"{peer.name}: not installed, left out")
        else:
            chosen.append(peer)
    return chosen


def command_without_paths(words: list[str]) -> str:
    """The command line for the results, without the folders of this machine."""
    kept = [
        word
        for i, word in enumerate(words)
        if {word, words[i - 1] if i else ""}.isdisjoint(("--build", "--out", "--base"))
    ]
    return shlex.join(["python", "benchmarks/run.py", *kept])


def raise_descriptor_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure_all(
    settings: measure.Settings, chosen: list[scenarios.Scenario], peers: list[servers.Peer], rounds: int
) -> list[dict[str, Any]]:
    """All rounds. Each starts with another peer, so that none always follows the same one; Ctrl-C ends them early."""
    plan = [
        (number, scenario, peer)
        for number in range(rounds)
        for scenario in chosen
        for peer in peers[number % len(peers) :] + peers[: number % len(peers)]
        if measure.can(peer, scenario)
    ]
    print(f"{len(plan)} measurements, about {len(plan) * (settings.seconds + settings.warmup + 1) / 60:.0f} minutes")
    results: list[dict[str, Any]] = []
    try:
        for number, scenario, peer in plan:
            figures = measure.once(settings, scenario, peer)
            results.append({"round": number, "scenario": scenario.name, "peer": peer.name, **figures})
            print(report.line(number, scenario, peer.name, figures), flush=True)
    except KeyboardInterrupt:
        print("stopped")
    return results


def write_results(document: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    (out / "results.rst").write_text(report.tables(document))
    plot.draw(document, out / "results.png")


def main(words: list[str]) -> int:
    options = parse(words)
    build = options.build.resolve()
    if len({options.server_core, options.load_core} & os.sched_getaffinity(0)) < 2:
        raise SystemExit("the server and the load need a core each: see --server-core and --load-core")
    machine.build_programs(build)
    machine.make_certificate(build)
    raise_descriptor_limit()
    peers = choose_peers(options.peers, build) + ([servers.base(options.base)] if options.base else [])
    names = [name for name in options.scenarios.split(",") if name]
    chosen = scenarios.choose(names)
    settings = measure.Settings(build, options.seconds, options.warmup, options.server_core, options.load_core)
    document = {
        "machine": machine.describe(),
        "command": command_without_paths(words),
        "versions": {peer.name: servers.version(peer, build) for peer in peers if not peer.is_ours()},
        "kernels": measure.kernels(settings) if not names or scenarios.KERNELS in names else {},
        "results": measure_all(settings, chosen, peers, options.rounds),
    }
    write_results(document, options.out or build / "results")
    print(report.tables(document))
    return 1 if any(result.get("errors") or result.get("failed") for result in document["results"]) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
