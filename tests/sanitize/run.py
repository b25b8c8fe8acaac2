"""Builds the C core with a driver that keeps it at the edges of memory (driver.c), and runs it.

Twice: with the address and undefined-behaviour sanitizers, and the assertions of the core; and as it is shipped,
optimised and with the vectors that the machine has (which the sanitizers turn off), where the guard pages alone watch.

    python tests/sanitize/run.py             builds and runs everything; the exit status says whether all is well

The compiler is $CC, or cc.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORE = HERE.parents[1] / "geventws" / "_core"
SOURCES = [HERE / "driver.c", *(path for path in CORE.rglob("*.c") if path.name != "_frame.c")]  # that is made by cffi

OPTIONS = ["-std=gnu11", "-Wall", "-Wextra", "-DWS_ZLIB"]
BUILDS = {
    "sanitized": ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
    "optimised": ["-g", "-O3", "-DNDEBUG"],
}
PARTS = ["prefixes", "fuzz", "mask", "receive", "split", "deflates", "inflates", "fans"]

ADDR_NO_RANDOMIZE = 0x0040000  # <sys/personality.h>

ENVIRONMENT = {
    **os.environ,
    "ASAN_OPTIONS": "detect_leaks=0",  # looking for what is left allocated needs rights that containers lack
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


def compiler() -> list[str]:
    """Return the compiler's command; FileNotFoundError where there is none."""
    command = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(f"no C compiler: {command[0]} (set CC)")
    return command


def build(name: str, folder: Path) -> Path:
    """Return the driver built one way; CalledProcessError where that fails."""
    program = folder / f"driver-{name}"
    sources = [str(path) for path in SOURCES]
    command = [*compiler(), *OPTIONS, *BUILDS[name], f"-I{CORE}", *sources, "-lz", "-o", str(program)]
    subprocess.run(command, check=True, timeout=120)
    return program


def fix_addresses() -> None:
    """Turn address randomisation off, as far as that is allowed: with much of it, older sanitizers do not start."""
    personality = getattr(ctypes.CDLL(None), "personality", None)
    if personality is not None:
        personality(ADDR_NO_RANDOMIZE)


def run(program: Path, part: str) -> subprocess.CompletedProcess[str]:
    """Return how one part of the driver ended, with what it printed."""
    return subprocess.run(
        [str(program), part],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
        preexec_fn=fix_addresses,
    )


def main() -> int:
    """Build and run everything, and return the exit status."""
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in BUILDS:
            program = build(name, Path(folder))
            for part in PARTS:
                done = run(program, part)
                failures += done.returncode != 0
                print(f"{name}: {done.stdout.strip()}", flush=True)
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
