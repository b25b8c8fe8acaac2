"""The attacks of `make hostile`: that the table is sound, and that a row is judged by what it measures."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run the attacks, with modules of `path` in front of them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, str(ROOT / "benchmarks")]))}
    return subprocess.run(
        [sys.executable, "-m", "hostile", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
    )


def test_every_row_is_listed() -> None:
    done = run("--list")
    assert done.returncode == 0, done.stderr
    assert "emoji-busy " in done.stdout and "flood-tiny " in done.stdout


@pytest.mark.parametrize("words", [["--rows", "nothing"], ["--core", "999"]])
def test_what_cannot_be_run_is_refused(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 1 and not done.stdout and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_row_within_its_bound(tmp_path: Path) -> None:
    done = run("--rows", "bomb", "--hosts", "pywsgi,client", "--out", str(tmp_path / "table.rst"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("2 attacks, 0 over their bounds\n")
    rows = [line.split() for line in (tmp_path / "table.rst").read_text().splitlines() if line.startswith("bomb")]
    assert [(row[1], row[-1]) for row in rows] == [("pywsgi", "ok"), ("client", "ok")]


def test_a_row_that_fails_is_over_its_bound(tmp_path: Path) -> None:
    (tmp_path / "geventws.py").write_text("raise ImportError('this tree is broken')")
    done = run("--rows", "bomb", "--hosts", "pywsgi", "--tree", str(tmp_path))
    assert done.returncode == 1 and "OVER" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(("measured", "over"), [(25.0, False), (25.1, True)])
def test_a_figure_is_judged(monkeypatch: pytest.MonkeyPatch, measured: float, over: bool) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    report = importlib.import_module("hostile.report")
    row = next(row for row in importlib.import_module("hostile.table").ROWS if row.name == "flood-tiny")
    result = report.Result(row, "pywsgi", {"ms median": measured, "ms p99": 1.0}, "", 1.0)
    assert result.over is over and result.cells()[-1] == ("OVER" if over else "ok")
