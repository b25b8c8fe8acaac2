"""What the figures were measured on, and what has to be made first: two C programs and a certificate."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def describe() -> dict[str, Any]:
    """The machine, for the results."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "when": time.strftime("%Y-%m-%d"),
    }


def newer(made: Path, sources: list[Path]) -> bool:
    return made.exists() and all(made.stat().st_mtime > source.stat().st_mtime for source in sources)


def build_programs(build: Path) -> None:
    """Compile load and floor where they are missing or older than their sources."""
    (build / "bin").mkdir(parents=True, exist_ok=True)
    compiler = [os.environ.get("CC", "cc"), "-O2", "-Wall", "-Wextra"]
    load, sources = build / "bin" / "load", sorted(HERE.glob("load*.c"))
    if not newer(load, [*sources, *HERE.glob("load*.h")]):
        words = [*compiler, "-o", str(load), *map(str, sources)]
        if subprocess.run([*words, "-DWITH_TLS", "-lssl", "-lcrypto"], capture_output=True).returncode != 0:
            print("load: built without TLS (OpenSSL's headers are missing)")
            subprocess.run(words, check=True)
    floor = build / "bin" / "floor"
    if not newer(floor, [HERE / "floor.c"]):
        subprocess.run([*compiler, "-o", str(floor), str(HERE / "floor.c"), "-lcrypto"], check=False)


def make_certificate(build: Path) -> None:
    """A self-signed certificate for the TLS scenario."""
    if (build / "certificate.pem").exists():
        return
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    words = f"openssl req -x509 {key} -days 3650 -subj /CN=localhost"
    subprocess.run(
        [*words.split(), "-keyout", str(build / "key.pem"), "-out", str(build / "certificate.pem")],
        check=True,
        capture_output=True,
        timeout=30,
    )
