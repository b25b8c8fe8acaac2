"""The package as users get it: what it tells an index, and what runs in an environment that holds nothing else."""

from __future__ import annotations

import email
import os
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from kit.document_talks import echoes
from kit.documents import ECHO, ROOT, free_port, read_blocks, running, workers_of
from trove_classifiers import classifiers

BUILD = "import sys; from setuptools import build_meta; print(build_meta.{}(sys.argv[1]))"
PAGES = ["README.rst", "docs/deployment.rst"]
NO_OTHER_PATH = ["env", "-u", "PYTHONPATH", "-u", "GEVENTWS_PURE_PYTHON"]


def build(what: str, tree: Path, target: Path) -> Path:
    """Build a distribution of a tree as pip does, and return its path."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD.format(f"build_{what}"), str(target)],
        cwd=tree,
        env={**os.environ, "GEVENTWS_REQUIRE_EXTENSION": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was built of the source distribution, which was built of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    names = ["setup.py", "_frame_build.py", "pyproject.toml", "MANIFEST.in", "README.rst", "LICENSE", "CHANGES.rst"]
    (folder / "tree").mkdir()
    for name in names:
        shutil.copy(ROOT / name, folder / "tree")
    for name in ("geventws", "docs"):
        ignored = shutil.ignore_patterns("_frame.*", "*.o", "__pycache__", "_build")
        shutil.copytree(ROOT / name, folder / "tree" / name, ignore=ignored)
    source = build("sdist", folder / "tree", folder)
    shutil.unpack_archive(source, folder / "unpacked")
    return build("wheel", next((folder / "unpacked").iterdir()), folder)


def test_the_index_knows_the_classifiers(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        ours = email.message_from_bytes(archive.read(name)).get_all("Classifier", [])
    assert len(ours) > 10
    assert not set(ours) - classifiers


class Empty:
    """A virtual environment that holds nothing."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.programs = folder / "bin"

    def command(self, line: str) -> list[str]:
        """Return a line of a shell as what runs it in here, with nothing of this environment."""
        program, *arguments = shlex.split(line)
        return [*NO_OTHER_PATH, str(self.programs / program), *arguments]

    def run(self, line: str) -> str:
        """Run a line to its end, which has to be a good one."""
        done = subprocess.run(
            self.command(line), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def shell_lines(page: str) -> list[str]:
    """Return the lines of a shell on a page."""
    return [line for block in read_blocks(page) if block.language == "shell" for line in block.text.splitlines()]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Empty:
    """An environment with the wheel, and then what the pages install for gunicorn."""
    empty = Empty(tmp_path_factory.mktemp("empty"))
    empty.run(f"pip install --quiet {shlex.quote(str(wheel))}")  # no index has what has not been released
    lines = {line for page in PAGES for line in shell_lines(page) if "pip install" in line and "gunicorn" in line}
    assert len(lines) == 1
    empty.run(*lines)
    return empty


@pytest.mark.timeout(180)
def test_the_installed_core_is_in_c(installed: Empty) -> None:
    assert installed.run("python -c 'from geventws import frames; print(frames.HAVE_C)'") == "True\n"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_installs_runs_what_it_starts(
    page: str, installed: Empty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "module.py").write_text(ECHO)
    served = [line for line in shell_lines(page) if line.startswith("gunicorn")]
    assert served
    for line in served:
        port = free_port()
        with running(installed.command(line.replace("8000", str(port))), port, workers_of(line)) as place:
            echoes(place)
