"""How many processes, and how much Redis, do so many connections and so many messages take?

    python benchmarks/model.py              # the table of docs/scaling.rst
    python benchmarks/model.py --compare    # one point beside a run: two workers, one Redis, 200 rooms

A room of g members who are spread over K processes at random has members in T = K * (1 - (1 - 1/K) ** g) of them. Each
of these receives each message of the room from Redis. Where clients are routed by room, T is 1. So a message costs

    one process     what takes it from its author, and `publish`
    T processes     `receive`
    g members       `delivery`
    Redis           `redis`, and T times `redis_copy`

The costs are read from the last `make bench` (results.json) and `python benchmarks/bus.py costs` (bus.json), both in
build/bench/results; without these files, they are those of the machine on which docs/scaling.rst was written.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parent / "build" / "bench" / "results"

MOST_BUSY = 0.6
"""The part of a core that a process is planned to use."""

MOST_SOCKETS = 50_000
"""Connections that a process is planned to have."""


@dataclass(frozen=True)
class Costs:
    """What single things cost, in microseconds of CPU; memory in KB.

    Alone is a message that finds everybody idle; busy is one of many that come together, as in bursts.
    """

    take: float = 12.0  # a message that a client sends
    delivery: float = 5.0
    publish: float = 20.0
    receive: float = 30.0
    redis: float = 20.0
    redis_copy: float = 6.0
    busy_delivery: float = 0.8
    busy_publish: float = 5.0
    busy_receive: float = 6.0
    busy_redis: float = 1.4
    busy_redis_copy: float = 0.3
    handler_kb: float = 10.6
    callbacks_kb: float = 2.0


@dataclass(frozen=True)
class Site:
    """What is served: connections, each in a room of `members`, where `rate` messages a second are published."""

    title: str
    connections: int
    members: int
    rate: float
    busy: bool = False  # messages come in bursts
    routed: bool = False  # the members of a room are on as few processes as can be

    @property
    def published(self) -> float:
        """Messages a second."""
        return self.connections / self.members * self.rate

    @property
    def delivered(self) -> float:
        """Deliveries a second."""
        return self.connections * self.rate


def touched(site: Site, processes: int) -> float:
    """Return how many processes have members of a room."""
    if site.routed:
        return max(1, math.ceil(site.members / MOST_SOCKETS))
    return processes * (1 - (1 - 1 / processes) ** site.members)


def busy_cores(site: Site, costs: Costs, processes: int) -> float:
    """Return how many cores all processes use together."""
    publish, receive = costs.publish, costs.receive
    delivery = costs.delivery
    if site.busy:
        publish, receive, delivery = costs.busy_publish, costs.busy_receive, costs.busy_delivery
    each = costs.take + publish + touched(site, processes) * receive
    return (site.published * each + site.delivered * delivery) / 1e6


def count_processes(site: Site, costs: Costs) -> int:
    """Return how many it takes, by connections and by CPU."""
    count = math.ceil(site.connections / MOST_SOCKETS)
    while busy_cores(site, costs, count) > count * MOST_BUSY:
        count += 1
    return count


def redis_cores(site: Site, costs: Costs, processes: int) -> tuple[float, float]:
    """Return the cores of Redis: where messages come together, and where each comes alone."""
    receivers = touched(site, processes)
    busy = costs.busy_redis + receivers * costs.busy_redis_copy
    alone = costs.redis + receivers * costs.redis_copy
    return site.published * busy / 1e6, site.published * alone / 1e6


def read_costs(folder: Path = RESULTS) -> Costs:
    """Return the costs that were measured last; what was not measured is as written down above."""
    known: dict[str, float] = {}
    if (folder / "results.json").exists():
        sys.path.insert(0, str(HERE))
        from report import Results

        known |= from_bench(Results(json.loads((folder / "results.json").read_text())))
    if (folder / "bus.json").exists():
        known |= json.loads((folder / "bus.json").read_text())
    return replace(Costs(), **known)


def from_bench(results: Any) -> dict[str, float]:
    """Return what `make bench` knows: a message to n costs take + n * delivery, and is counted as n deliveries."""
    few, many = (results.median(name, "geventws", "cpu_us") for name in ("fan10", "fan1000"))
    burst = results.median("fanburst", "geventws", "cpu_us")
    memory = {name: results.median("idle2000", name, "pss_bytes") for name in ("geventws", "geventws-callbacks")}
    known: dict[str, float] = {}
    if few and many:
        known["take"] = (few - many) / (1 / 10 - 1 / 1000)
        known["delivery"] = few - known["take"] / 10
    if burst:
        known["busy_delivery"] = burst
    for name, peer in (("handler_kb", "geventws"), ("callbacks_kb", "geventws-callbacks")):
        if memory[peer]:
            known[name] = memory[peer] / 1024
    return known


SITES = (
    Site("one room, a message a second", 1_000_000, 1_000_000, 1),
    Site("20,000 rooms of 50, a message a second each", 1_000_000, 50, 1),
    Site("the same, routed by room", 1_000_000, 50, 1, routed=True),
    Site("20,000 rooms of 50, 10 a second in bursts", 1_000_000, 50, 10, busy=True),
    Site("the same, routed by room", 1_000_000, 50, 10, busy=True, routed=True),
    Site("a topic for each, a message in 100 s", 1_000_000, 1, 0.01),
)


def table(costs: Costs) -> str:
    """Return the table, as reStructuredText."""
    from report import table as draw

    head = ["1,000,000 connections", "deliveries/s", "processes", "of these, a message reaches", "Redis cores"]
    head += ["GB, handlers / callbacks"]
    rows = []
    for site in SITES:
        count = count_processes(site, costs)
        low, high = redis_cores(site, costs, count)
        memory = [site.connections * each / 1e6 for each in (costs.handler_kb, costs.callbacks_kb)]
        rows.append([site.title, f"{site.delivered:,.0f}", f"{count}", f"{touched(site, count):.3g}",
                     f"{low:.2g} to {high:.2g}", f"{memory[0]:.3g} / {memory[1]:.2g}"])  # fmt: skip
    return draw(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true", help="run one point, and print it beside the model's")
    options = parser.parse_args()
    costs = read_costs()
    print("\n".join(f"{name:16} {value:8.2f}" for name, value in vars(costs).items()), end="\n\n")
    if options.compare:
        from model_run import compare

        compare(costs)
    else:
        print(table(costs))


if __name__ == "__main__":
    main()
