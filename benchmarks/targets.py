"""What the project promises, as a table, and whether the results keep it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from scenarios import ECHOES, SCENARIOS

if TYPE_CHECKING:
    from report import Results

OURS = "geventws"

#: (scenario, peer, most that our CPU per message may be as a multiple of the peer's)
CPU = (
    *((name, "picows", 0.95) for name in ("one", "binary", "text")),
    ("burst", "picows", 0.15),
    ("pipeline", "picows", 0.25),
    *((name, "picows", 1.0) for name in ("large", "huge", "tls")),
    *((name, "bun", 1.25) for name in ("one", "binary", "text")),
    ("burst", "bun", 1.4),
    ("pipeline", "bun", 1.15),
    *((name, "bun", 0.7) for name in ("large", "huge")),
)

#: The same where messages are compressed, by the standard library's zlib, and by the extra `isal`.
COMPRESSED = (("deflate1k", "bun", 1.0), ("deflate1k", "websockets", 0.7), ("deflate16k", "bun", 0.8))
COMPRESSING = (OURS, "geventws-isal")

#: The same where messages are published: CPU per delivery.
FANOUT = (
    ("fan1000", "bun", 0.97),
    ("fanburst", "bun", 1.1),
    ("fandeflate", "bun", 0.4),
    ("fan10", "geventws-loop", 1.05),
)

#: What the p99 of a delivery may be as a multiple of Bun's, each at 80 % of its capacity.
MOST_PACED_P99 = 1.1

#: What stalled subscribers may cost the others.
MOST_STALLED_P99 = 1.1

#: (our server, least that its handshake rate may be as a multiple of gevent-websocket's)
HANDSHAKES = (("geventws-server", 3.0), ("geventws", 1.3))

#: What masking 64 KB must reach as a multiple of memcpy's speed, and its Python twin in GB/s.
MASK_AGAINST_MEMCPY = 0.7
TWIN_GB_PER_SECOND = 0.4

#: (our server, most that an idle connection may hold, in KB)
IDLE_KB = (("geventws", 11.0), ("geventws-server", 11.0), ("geventws-callbacks", 3.0))

MOST_GROWTH_WITH_CONNECTIONS = 1.15

Verdict = tuple[str, float, float, bool]  # what, measured, limit, met


def at_most(what: str, value: float | None, limit: float) -> Iterator[Verdict]:
    if value is not None:
        yield what, value, limit, value <= limit


def judge_echoes(results: Results) -> Iterator[Verdict]:
    for scenario, peer, limit in CPU:
        what = f"{SCENARIOS[scenario].title}: CPU against {peer}"
        yield from at_most(what, results.ratio(scenario, OURS, peer), limit)
    ratios = [results.ratio(name, OURS, "bun") for name in ECHOES]
    if all(ratios):
        mean = math.prod(ratio for ratio in ratios if ratio) ** (1 / len(ratios))
        yield from at_most("geometric mean of the seven echoes: CPU against bun", mean, 1.0)


def judge_compression(results: Results) -> Iterator[Verdict]:
    for ours, (scenario, peer, limit) in itertools.product(COMPRESSING, COMPRESSED):
        what = f"{SCENARIOS[scenario].title}: CPU of {ours} against {peer}"
        yield from at_most(what, results.ratio(scenario, ours, peer), limit)


def judge_fanout(results: Results) -> Iterator[Verdict]:
    for scenario, peer, limit in FANOUT:
        what = f"{SCENARIOS[scenario].title}: CPU a delivery against {peer}"
        yield from at_most(what, results.ratio(scenario, OURS, peer), limit)
    paced = results.ratio("fanpaced", OURS, "bun", "p99_us")
    yield from at_most("p99 of a delivery at 80 % of capacity against bun", paced, MOST_PACED_P99)
    growth = results.growth(OURS, "fan1000", "fanstall", "p99_us")
    yield from at_most("p99 of a delivery: 10 of 1,000 stalled against none", growth, MOST_STALLED_P99)


def judge_latency(results: Results) -> Iterator[Verdict]:
    for scenario in results.scenarios(("echo",)):
        yield from at_most(
            f"{scenario.title}: p99 against picows",
            results.ratio(scenario.name, OURS, "picows", "p99_us"),
            1.0,
        )


def judge_flatness(results: Results) -> Iterator[Verdict]:
    for name in ("open1000", "open5000"):
        growth = results.growth(OURS, "binary", name)
        yield from at_most(f"{SCENARIOS[name].title}: CPU against 100 of 100", growth, MOST_GROWTH_WITH_CONNECTIONS)


def judge_handshakes(results: Results) -> Iterator[Verdict]:
    for ours, least in HANDSHAKES:
        rate = results.ratio("handshakes", ours, "gevent-websocket", "per_second")
        if rate is not None:
            yield f"handshakes of {ours}: rate against gevent-websocket", rate, least, rate >= least


def judge_memory(results: Results) -> Iterator[Verdict]:
    for name, (ours, limit) in itertools.product(("idle2000", "idle8000"), IDLE_KB):
        value = results.median(name, ours, "pss_bytes")
        yield from at_most(f"{SCENARIOS[name].title}: KB per connection of {ours}", value and value / 1024, limit)


def judge_kernels(kernels: dict[str, float]) -> Iterator[Verdict]:
    if kernels:
        speed = kernels["mask 64 KB in place"] / kernels["memcpy 64 KB"]
        yield "mask 64 KB: speed against memcpy", speed, MASK_AGAINST_MEMCPY, speed >= MASK_AGAINST_MEMCPY
        twin = kernels["Python twin: mask 64 KB"]
        yield "Python twin: mask 64 KB, GB/s", twin, TWIN_GB_PER_SECOND, twin >= TWIN_GB_PER_SECOND


def judge(results: Results) -> Iterator[Verdict]:
    """Every promise that these results can judge."""
    yield from judge_echoes(results)
    yield from judge_compression(results)
    yield from judge_fanout(results)
    yield from judge_latency(results)
    yield from judge_flatness(results)
    yield from judge_handshakes(results)
    yield from judge_memory(results)
    yield from judge_kernels(results.document.get("kernels", {}))
