"""What both newcomers do: steps that say what was seen and how long it took, and empty environments."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PIP = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
IN_NO_OTHER = ("PYTHONPATH", "PYTHONWARNINGS", "GEVENTWS_PURE_PYTHON", "GEVENTWS_REQUIRE_EXTENSION")
PATIENCE = 300.0
"""Seconds that one command may take."""


class Wrong(Exception):
    """Something that a newcomer should not see."""


class Journal:
    """Prints the steps.

    Args:
        title: who takes them.
    """

    def __init__(self, title: str) -> None:
        self._failed: list[str] = []  # the steps that went wrong
        self._began = time.monotonic()
        print(f"{title}\n{'=' * len(title)}", flush=True)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[list[str]]:
        """Run the block as one step, and print what it puts into the list."""
        seen: list[str] = []
        began = time.monotonic()
        try:
            yield seen
            verdict = "ok"
        except Wrong as error:
            self._failed.append(text)
            seen.append(str(error))
            verdict = "WRONG"
        print(f"[{time.monotonic() - began:6.1f} s] {verdict:5} {text}", flush=True)
        for line in "\n".join(seen).splitlines():
            print(f"                 | {line}", flush=True)

    def end(self) -> None:
        """Say how it went; SystemExit(1) where a step was wrong."""
        print(f"{time.monotonic() - self._began:.0f} s in all, {len(self._failed)} wrong\n", flush=True)
        sys.exit(bool(self._failed))


class Environment:
    """A virtual environment that holds nothing but what is installed here.

    Args:
        folder: where it is made; programs run in `work` within it.
        python: the interpreter.
    """

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        run([python, "-m", "venv", str(folder)])
        self.programs = folder / "bin"
        self.work = folder / "work"
        self.work.mkdir()

    def pip(self, *packages: str | Path) -> None:
        """Install packages."""
        self.python(*PIP, *map(str, packages))

    def python(self, *words: str, **environ: str) -> str:
        """Run the interpreter, and return what it says."""
        return self.run("python", *words, **environ)

    def run(self, program: str, *words: str, **environ: str) -> str:
        """Run a program of this environment to its end, and return what it says."""
        return run([str(self.programs / program), *words], self.work, **self._activate(), **environ)

    def _activate(self) -> dict[str, str]:
        return {"VIRTUAL_ENV": str(self.programs.parent), "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"}

    @contextlib.contextmanager
    def serving(self, program: str, *words: str, **environ: str) -> Iterator[tuple[int, Path]]:
        """Run a server of this environment, and yield the port it names, and the file of what it says."""
        said = self.work / "said.txt"
        with said.open("w") as out:
            process = subprocess.Popen(
                [str(self.programs / program), *words],
                cwd=self.work,
                env=clean(**self._activate(), **environ),
                stdout=out,
                stderr=out,
            )
        try:
            yield wait_for_port(said, process), said
        finally:
            process.terminate()
            process.wait(30)


def clean(**more: str) -> dict[str, str]:
    """Return the environment's variables without those that lead elsewhere."""
    kept = {name: value for name, value in os.environ.items() if name not in IN_NO_OTHER}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


def run(words: list[str], folder: Path | None = None, **environ: str) -> str:
    """Run a command to its end, and return what it says; Wrong where it fails."""
    out, err, env = subprocess.PIPE, subprocess.STDOUT, clean(**environ)
    done = subprocess.run(words, cwd=folder, env=env, stdout=out, stderr=err, text=True, timeout=PATIENCE)
    if done.returncode:
        raise Wrong(f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout.strip()


def wait_for_port(said: Path, process: subprocess.Popen[bytes], patience: float = 30.0) -> int:
    """Block until a server says where it listens, and return the port."""
    end = time.monotonic() + patience
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", said.read_text())
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise Wrong(f"the server does not listen; it says\n{said.read_text()[-3000:]}")


def find(folder: str, pattern: str) -> Path:
    """Return the one distribution of a kind."""
    found = sorted(Path(folder).resolve().glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"{folder} has {len(found)} of {pattern}: run make wheel")
    return found[0]
