"""What compression costs: backends and settings, on JSON, with no sockets.

    python benchmarks/deflate.py

First each backend by itself: one compressor for all messages, made to forget by Z_FULL_FLUSH after each, and a new
inflater for each message; and the C core, which compresses small messages. Then geventws.protocol.permessage_deflate as
connections use it, so that it shows what a kept context saves and what an idle connection then holds. The messages
differ. Times are CPU microseconds a message, the best of five runs; sizes are bytes of the payload on the wire, or
held.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

from geventws._core import HAVE_C, deflate
from geventws.protocol import compressors
from geventws.protocol.permessage_deflate import Deflate, PerMessageDeflate

SIZES = (1 << 10, 4 << 10, 16 << 10)
BACKENDS = {"zlib": (1, 2, 3, 6), "zlib_ng.zlib_ng": (1, 2, 3, 6), "isal.isal_zlib": (0, 1, 2, 3)}
WINDOWS = ((15, 8), (12, 5), (9, 1))
SETTINGS: dict[str, dict[str, Any]] = {
    "the default": {},
    "the client's context kept": {"client_no_context_takeover": False},
    "both contexts kept": {"server_no_context_takeover": False, "client_no_context_takeover": False},
}


def message(size: int, seed: int) -> bytes:
    """Return JSON as services send it: rows of a few names, numbers and words."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    while len(json.dumps(rows)) < size:
        user = rng.choice(["alice", "bob", "carol"]) + str(rng.randrange(1000))
        rows.append({"id": len(rows), "user": user, "price": round(rng.random() * 1000, 2)})
    return json.dumps(rows).encode()[:size]


def cpu(run: Callable[[], object], count: int) -> float:
    times = [time.process_time()]
    for _ in range(5):
        for _ in range(count):
            run()
        times.append(time.process_time())
    return min(after - before for before, after in itertools.pairwise(times)) / count * 1e6


def measure_backend(compress: Callable[[bytes], bytes], inflate: Callable[[bytes], bytes] | None, size: int) -> str:
    messages = [message(size, seed) for seed in range(20)]
    payloads = [compress(data) for data in messages]
    if not all(payloads):
        return f"{'-':>10}" * 3
    count = 100_000 // (size + 3000)
    deflating = cpu(lambda: [compress(data) for data in messages], count) / 20
    figures = f"{sum(map(len, payloads)) // 20:10}{deflating:10.1f}"
    if inflate is None:
        return f"{figures}{'-':>10}"
    return f"{figures}{cpu(lambda: [inflate(data) for data in payloads], count) / 20:10.1f}"


def backend(module: Any, level: int, window: int, memory_level: int) -> tuple[Any, Any]:
    """Return what compresses and what inflates a message."""
    compressor = module.compressobj(level, zlib.DEFLATED, -window, memory_level)
    return (
        lambda data: (compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH))[:-4],
        lambda data: module.decompressobj(-15).decompress(data, 1 << 15),
    )


def connection(config: PerMessageDeflate) -> tuple[Deflate, Deflate]:
    accepted = config.accept([config.offer()])
    assert accepted is not None
    return accepted[1], config.check(accepted[0])


def measure_setting(config: PerMessageDeflate, size: int) -> str:
    server, client = connection(config)
    messages = [message(size, seed) for seed in range(20)]
    sent = [client.encode(data) for data in messages]
    size_out = sum(len(server.encode(data)) for data in messages) // 20

    def echo() -> Deflate:
        server = connection(config)[0]
        for payload in sent:
            server.encode(b"".join(server.decode(payload, True, 1 << 20)))
        return server

    echo_time = cpu(echo, 250_000 // (size + 3000)) / 20
    tracemalloc.start()
    held = [echo() for _ in range(10)]
    idle = tracemalloc.get_traced_memory()[0] // len(held)
    tracemalloc.stop()
    return f"{size_out:10}{echo_time:10.1f}{idle:10}"


def print_heads(title: str, *columns: str) -> None:
    print(f"\n{title:40}" + "".join(f"{name:>10}" for size in SIZES for name in (f"{size >> 10} KB", *columns)))


def backends() -> None:
    for path, levels in BACKENDS.items():
        if importlib.util.find_spec(path.split(".")[0]) is None:
            print(f"\n{path}: not installed")
            continue
        print_heads(path, "deflate", "inflate")
        module = importlib.import_module(path)
        for level, (window, memory) in itertools.product(levels, WINDOWS):
            pair = backend(module, level, window, memory)
            figures = [measure_backend(*pair, size) for size in SIZES]
            print(f"{f'level {level}, window {window}, memory {memory}':40}" + "".join(figures), flush=True)
    if HAVE_C:
        print_heads("geventws._core.deflate", "deflate", "inflate")
        figures = [measure_backend(lambda data: deflate(data, 1 << 15), None, size) for size in SIZES]
        print(f"{'window 15':40}" + "".join(figures), flush=True)


def settings() -> None:
    for module in dict.fromkeys((compressors.isal_zlib, None)):
        compressors.isal_zlib = module
        compressors.get_compressors.cache_clear()
        print_heads(f"geventws, {'with' if module else 'without'} isal", "echo", "idle")
        for name, options in SETTINGS.items():
            figures = [measure_setting(PerMessageDeflate(**options), size) for size in SIZES]
            print(f"{name:40}" + "".join(figures), flush=True)


if __name__ == "__main__":
    backends()
    settings()
