"""What is measured: one table, and the messages of the compressed scenarios."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scenario:
    """One row of the results: how the load behaves, and what the server must be able to do."""

    name: str
    title: str
    kind: str = "echo"  # or "fanout", "handshakes", or "memory"
    connections: int = 1
    active: int = 0  # connections that echo; 0 means all
    size: int = 32  # bytes in a message
    depth: int = 1  # messages in flight per connection; fanout: that are published together
    stalled: int = 0  # fanout: connections that read nothing
    share: float = 0.0  # fanout: of what the server can do, published evenly in time; 0 means the next after the last
    text: bool = False
    tls: bool = False
    deflate: bool = False

    def load_arguments(self, payload: Path | None = None, rate: float = 0.0) -> list[str]:
        """The load generator's command line for this scenario."""
        words = ["--connections", str(self.connections), "--active", str(self.active or self.connections)]
        words += ["--size", str(self.size), "--depth", str(self.depth)]
        if self.kind != "echo":
            words += ["--mode", {"handshakes": "handshakes", "memory": "hold", "fanout": "fanout"}[self.kind]]
        if rate:
            words += ["--rate", f"{rate:.3f}"]
        if self.stalled:
            words += ["--stalled", str(self.stalled)]
        if payload is not None:
            words += ["--payload", str(payload)]
        for option in ("text", "tls", "deflate"):
            words += [f"--{option}"] if getattr(self, option) else []
        return words


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("one", "1 × 32 B"),
        Scenario("binary", "100 × 32 B binary", connections=100),
        Scenario("text", "100 × 32 B text", connections=100, text=True),
        Scenario("burst", "1 × 32 B, 64 in flight", depth=64),
        Scenario("pipeline", "100 × 1 KB, 8 in flight", connections=100, size=1024, depth=8),
        Scenario("large", "10 × 64 KB", connections=10, size=64 << 10),
        Scenario("huge", "4 × 1 MB", connections=4, size=1 << 20),
        Scenario("thousand", "1,000 × 32 B", connections=1000),
        Scenario("open1000", "100 of 1,000 × 32 B", connections=1000, active=100),
        Scenario("open5000", "100 of 5,000 × 32 B", connections=5000, active=100),
        Scenario("tls", "TLS, 100 × 1 KB", connections=100, size=1024, tls=True),
        Scenario("deflate1k", "deflate, 20 × 1 KB JSON", connections=20, size=1 << 10, text=True, deflate=True),
        Scenario("deflate16k", "deflate, 20 × 16 KB JSON", connections=20, size=16 << 10, text=True, deflate=True),
        Scenario("fan10", "publish 200 B to 10", kind="fanout", connections=10, size=200),
        Scenario("fan1000", "publish 200 B to 1,000", kind="fanout", connections=1000, size=200),
        Scenario("fanburst", "publish 8 × 200 B to 1,000", kind="fanout", connections=1000, size=200, depth=8),
        Scenario("fanstall", "the same, 10 stalled", kind="fanout", connections=1000, size=200, stalled=10),
        Scenario("fanpaced", "publish 200 B to 1,000, at 80 % of capacity", kind="fanout", connections=1000, size=200,
                 share=0.8),
        Scenario("fandeflate", "publish 1 KB JSON, deflated, to 1,000", kind="fanout", connections=1000, size=1 << 10,
                 text=True, deflate=True),
        Scenario("handshakes", "handshakes, 64 at a time", kind="handshakes", connections=64),
        Scenario("idle2000", "memory, 2,000 idle", kind="memory", connections=2000),
        Scenario("idle8000", "memory, 8,000 idle", kind="memory", connections=8000),
    )
}

#: The seven echoes whose geometric mean is compared.
ECHOES = ("one", "binary", "text", "burst", "pipeline", "large", "huge")

GROUPS = {
    "echoes": ECHOES,
    "many": ("open1000", "open5000"),
    "deflate": ("deflate1k", "deflate16k"),
    "fanout": ("fan10", "fan1000", "fanburst", "fanstall", "fanpaced", "fandeflate"),
    "memory": ("idle2000", "idle8000"),
}

#: Masking and scanning without a server; see kernels.py.
KERNELS = "kernels"

NAMES = (*GROUPS, *SCENARIOS, KERNELS)


def choose(names: list[str]) -> list[Scenario]:
    """The scenarios and groups named, in the table's order; all of them when none is named."""
    if names == [KERNELS]:
        return []
    wanted = {scenario for name in names if name != KERNELS for scenario in GROUPS.get(name, (name,))}
    if unknown := wanted - SCENARIOS.keys():
        raise SystemExit(f"unknown scenarios: {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}")
    return [scenario for name, scenario in SCENARIOS.items() if not wanted or name in wanted]


def json_message(size: int) -> bytes:
    """A JSON document of exactly `size` bytes, about as repetitive as what services send."""
    rows = [
        {
            "id": 1000 + 37 * i,
            "user": f"user{i * i % 97}",
            "price": round(17.3 + i * 1.37 % 9, 2),
            "on": i % 3 == 0,
        }
        for i in range(size // 60)
    ]
    while len(json.dumps(rows)) + len('{"rows": , "pad": ""}') > size:
        rows.pop()
    text = json.dumps(rows)
    padding = "." * (size - len(text) - len('{"rows": , "pad": ""}'))
    return f'{{"rows": {text}, "pad": "{padding}"}}'.encode()


def compressed(message: bytes) -> bytes:
    """The message as permessage-deflate sends it without context takeover (RFC 7692, section 7.2.1)."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
