"""One measurement: one server on its core, the load on another, one scenario."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scenarios
import servers
from scenarios import Scenario
from servers import Peer, Server

#: The load is "the limit" when it was more than half as busy as the server.
BUSY_LIMIT = 0.5
OPEN_SECONDS = 60.0


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    build: Path
    seconds: float = 2.0
    warmup: float = 0.5
    server_core: int = 0
    load_core: int = 1


def payload_file(settings: Settings, scenario: Scenario) -> Path | None:
    """The compressed message of a deflate scenario."""
    if not scenario.deflate:
        return None
    path = settings.build / f"{scenario.name}.bin"
    path.write_bytes(scenarios.compressed(scenarios.json_message(scenario.size)))
    return path


def load_command(settings: Settings, scenario: Scenario, server: Server, rate: float = 0.0) -> list[str]:
    words = [str(settings.build / "bin" / "load"), "--port", str(server.port), "--limit", str(OPEN_SECONDS)]
    words += scenario.load_arguments(payload_file(settings, scenario), rate)
    for pid in server.pids():
        words += ["--pid", str(pid)]
    return words


def on_core(core: int) -> Any:
    return lambda: os.sched_setaffinity(0, {core})


def run_load(settings: Settings, scenario: Scenario, server: Server, rate: float = 0.0) -> dict[str, Any]:
    """Run the load to its end and take the line it prints."""
    words = load_command(settings, scenario, server, rate)
    words += ["--seconds", str(settings.seconds), "--warmup", str(settings.warmup)]
    limit = OPEN_SECONDS + settings.seconds + settings.warmup + 10
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit,
        preexec_fn=on_core(settings.load_core),
    )
    if not done.stdout:
        raise RuntimeError(f"the load failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def derive(scenario: Scenario, raw: dict[str, Any], user_share: float) -> dict[str, Any]:
    """The figures that are reported, from those that the load counted."""
    messages, seconds = raw["messages"], raw["seconds"]
    if messages == 0:
        raise RuntimeError(raw["error"] or "not one message came back")
    if scenario.deflate and raw["compressed"] < messages:
        raise RuntimeError(f"of {messages} replies {raw['compressed']} are compressed")
    return {
        "cpu_us": 1e6 * raw["server_cpu"] / messages,
        "user_us": 1e6 * raw["server_cpu"] / messages * user_share,
        "per_second": messages / seconds,
        "p50_us": raw["p50"],
        "p99_us": raw["p99"],
        "max_us": raw["max"],
        "server_busy": raw["server_cpu"] / seconds,
        "load_busy": raw["load_cpu"] / seconds,
        "load_was_limit": raw["load_cpu"] > BUSY_LIMIT * raw["server_cpu"],
        "reply_bytes": raw["reply_bytes"] / messages,
        "errors": raw["errors"],
        "error": raw["error"],
    }


def find_rate(settings: Settings, scenario: Scenario, server: Server) -> float:
    """How often a second to publish, for the server to be busy as the scenario has it."""
    raw = run_load(settings, scenario, server)
    return scenario.share * raw["messages"] / raw["server_cpu"] / scenario.connections


def echo(settings: Settings, scenario: Scenario, server: Server) -> dict[str, Any]:
    """CPU, rate and latency; handshakes are counted as messages are."""
    rate = find_rate(settings, scenario, server) if scenario.share else 0.0
    before = server.cpu_seconds()
    raw = run_load(settings, scenario, server, rate)
    user, system = (after - was for was, after in zip(before, server.cpu_seconds(), strict=True))
    return derive(scenario, raw, user / (user + system) if user + system else 0.0)


def settled_memory(server: Server) -> dict[str, int]:
    """The server's memory once it no longer changes."""
    seen = server.memory()
    for _ in range(10):
        time.sleep(0.2)
        last, seen = seen, server.memory()
        if last == seen:
            break
    return seen


def wait_open(load: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the line in which the load says that all connections are open."""
    if not select.select([load.stdout], [], [], OPEN_SECONDS + 5)[0]:
        raise RuntimeError("the connections did not open in time")
    return json.loads(load.stdout.readline() or '{"open": 0, "error": "the load ended at once"}')


def memory(settings: Settings, scenario: Scenario, server: Server) -> dict[str, Any]:
    """Growth of the server per idle connection, after a first few connections have warmed it up."""
    warm = Settings(settings.build, 0.2, 0.1, settings.server_core, settings.load_core)
    run_load(warm, Scenario("warm", "", connections=10), server)
    before = settled_memory(server)
    load = subprocess.Popen(
        [*load_command(settings, scenario, server), "--seconds", "60"],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=on_core(settings.load_core),
    )
    try:
        answer = wait_open(load)
        after = settled_memory(server)
    finally:
        load.kill()
        load.communicate(timeout=10)
    if answer["open"] != scenario.connections:
        raise RuntimeError(f"{answer['open']} of {scenario.connections} connections open: {answer['error']}")
    growth = {name: (after[name] - before[name]) / scenario.connections for name in after}
    return {"rss_bytes": growth["rss"], "pss_bytes": growth["pss"], "base_rss": before["rss"]}


def kernels(settings: Settings) -> dict[str, float]:
    """GB/s of masking and scanning; empty when the C core is not built."""
    words = [sys.executable, str(servers.HERE / "kernels.py"), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, preexec_fn=on_core(settings.server_core))
    if done.returncode != 0:
        print(f"kernels: left out: {done.stderr.strip().splitlines()[-1]}")
        return {}
    return json.loads(done.stdout)


def once(settings: Settings, scenario: Scenario, peer: Peer) -> dict[str, Any]:
    """Start the peer, measure the scenario, stop the peer; {"error": why} when that fails."""
    try:
        needs = {"tls": scenario.tls, "deflate": scenario.deflate, "fanout": scenario.kind == "fanout"}
        with servers.running(peer, settings.build, settings.server_core, **needs) as server:
            return memory(settings, scenario, server) if scenario.kind == "memory" else echo(settings, scenario, server)
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        return {"error": str(error), "failed": True}


def can(peer: Peer, scenario: Scenario) -> bool:
    """Whether the peer has what the scenario needs, and shows something there."""
    deflates = peer.deflate if scenario.deflate else not peer.only_deflate
    fans = peer.fanout if scenario.kind == "fanout" else not peer.only_fanout
    return fans and deflates and (peer.tls or not scenario.tls)
