"""mypy and pyright on the annotated examples of the documents, and on what they should know of the public names."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable

import docutils.nodes
import pytest
from kit.documents.blocks import ROOT, read

TYPED = pathlib.Path(__file__).with_name("typed")
PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]
ANNOTATED = re.compile(r"def .*\) -> ")

Errors = dict[tuple[str, int], str]


def run(*command: str) -> str:
    """Run a checker where no project's settings are, but where the package is found, and what is installed here."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # --verifytypes asks its python
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", *command], env=environment, capture_output=True, text=True).stdout


def run_mypy(paths: list[str]) -> Errors:
    """Return what mypy says, by file and line."""
    told = run("mypy", "--strict", "--python-version", "3.10", "--show-absolute-path", *paths)
    found = re.findall(r"^(.+?):(\d+): error: (.*)$", told, re.MULTILINE)
    assert found or "Success" in told, told
    return {(pathlib.Path(path).name, int(line)): text for path, line, text in found}


def run_pyright(paths: list[str]) -> Errors:
    """Return what pyright says, by file and line."""
    told = run("pyright", "--pythonversion", "3.10", "--pythonpath", sys.executable, "--outputjson", *paths)
    return {
        (pathlib.Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"]
        for one in json.loads(told)["generalDiagnostics"]
        if one["severity"] == "error"
    }


@pytest.fixture
def examples(tmp_path: pathlib.Path) -> list[str]:
    """Each annotated block in a file of its own."""
    nodes = [node for page in PAGES for node in read(page).findall(docutils.nodes.literal_block)]
    blocks = [node.astext() for node in nodes if "python" in node["classes"] and ANNOTATED.search(node.astext())]
    paths = [tmp_path / f"block_{number}.py" for number, _ in enumerate(blocks)]
    for path, block in zip(paths, blocks, strict=True):
        path.write_text(block)
    assert len(paths) >= 4
    return [str(path) for path in paths]


@pytest.mark.parametrize("check", [run_mypy, run_pyright])
@pytest.mark.timeout(180)
def test_both_checkers_pass_what_is_right_and_refuse_what_is_wrong(
    check: Callable[[list[str]], Errors], examples: list[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    errors = check([*examples, str(TYPED / "right.py"), str(TYPED / "wrong.py")])
    lines = (TYPED / "wrong.py").read_text().splitlines()
    wrong = {("wrong.py", number) for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert set(errors) == wrong, {place: text for place, text in errors.items() if place not in wrong}


@pytest.mark.timeout(180)
def test_no_public_type_is_for_a_checker_to_guess() -> None:
    """What `pyright --verifytypes` calls ambiguous, and what is partly unknown because of that."""
    words = ("--verifytypes", "geventws", "--ignoreexternal", "--outputjson")
    told = json.loads(run("pyright", *words))["typeCompleteness"]
    assert told["exportedSymbolCounts"]["withKnownType"] > 1000
    guessed = {
        symbol["name"]: one["message"]
        for symbol in told["symbols"]
        for one in symbol["diagnostics"]
        if one["severity"] == "error"
    }
    assert not guessed and told["completenessScore"] == 1
