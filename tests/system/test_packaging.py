"""The package as users get it: what it tells an index, and what runs in an environment that holds nothing else."""

from __future__ import annotations

import email
import io
import re
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from kit.documents.blocks import ECHO, ROOT, read_blocks, running, workers_of
from kit.documents.talks import echoes
from kit.servers.ports import free_port
from trove_classifiers import classifiers

import geventws

PAGES = ["README.rst", "docs/deployment.rst"]
NO_OTHER_PATH = ["env", "-u", "PYTHONPATH", "-u", "GEVENTWS_PURE_PYTHON"]
TOP = ["setup.py", "_frame_build.py", "pyproject.toml", "MANIFEST.in", "README.rst", "LICENSE", "CHANGES.rst"]
BROUGHT = {
    "compression": "isal",
    "flask": "geventws.flask",
    "gunicorn": "gunicorn",
    "idna": "idna",
    "json": "orjson",
    "metrics": "geventws.metrics",
    "redis": "geventws.pubsub.bus.bus",
    "socks": "python_socks",
    "testing": "pytest",
}
"""What an extra lets one import."""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheel` leaves in dist/, made of a copy of this tree."""
    folder = tmp_path_factory.mktemp("made")
    tree = folder / "tree"
    for name in ("geventws", "docs", "tools"):
        ignored = shutil.ignore_patterns("_frame.*", "*.o", "__pycache__", "_build")
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in TOP:
        shutil.copy(ROOT / name, tree)
    words = [sys.executable, "tools/wheels.py", str(folder / "dist")]
    done = subprocess.run(words, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
    assert done.returncode == 0, done.stdout
    return folder / "dist"


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel with the C core."""
    return only(dist, "*-manylinux*.whl")


@pytest.fixture(scope="module")
def pure_wheel(dist: Path) -> Path:
    """The wheel of a machine without a compiler."""
    return only(dist, "*-py3-none-any.whl")


def read(wheel: Path, name: str) -> bytes:
    """Return the one file in a wheel whose path ends so."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [path for path in archive.namelist() if path.endswith(name)]
        return archive.read(path)


def test_the_index_knows_the_classifiers(wheel: Path) -> None:
    ours = email.message_from_bytes(read(wheel, ".dist-info/METADATA")).get_all("Classifier", [])
    assert len(ours) > 10
    assert not set(ours) - classifiers


def test_the_index_shows_no_link_into_the_tree(wheel: Path) -> None:
    text = email.message_from_bytes(read(wheel, ".dist-info/METADATA")).get_payload()
    assert "geventws" in text and "`__" in (ROOT / "README.rst").read_text()
    assert not re.findall(r"<(?!https?:)[^<>\s]+>`__", text)
    assert not re.findall(r"(?m)^\.\. (?:image|figure|include):: (?!https?:)", text)


def test_the_wheel_with_the_core_is_stripped_and_runs_on_older_systems(wheel: Path) -> None:
    minor = re.search(r"-cp310-abi3-.*manylinux_2_(\d+)_", wheel.name)
    assert minor and 17 <= int(minor[1]) <= 34
    elf = ELFFile(io.BytesIO(read(wheel, "_core/_frame.abi3.so")))
    assert elf.get_section_by_name(".dynsym") and not elf.get_section_by_name(".symtab")


def test_a_wheel_without_the_core_says_so_in_its_tag(pure_wheel: Path) -> None:
    assert b"Root-Is-Purelib: true" in read(pure_wheel, ".dist-info/WHEEL")
    with zipfile.ZipFile(pure_wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".so", ".c", ".h"))]


class Empty:
    """A virtual environment that holds nothing, or only what another one holds."""

    def __init__(self, folder: Path, base: Empty | None = None) -> None:
        venv.create(folder)
        self.programs = folder / "bin"
        (self.packages,) = folder.glob("lib/python*/site-packages")
        if base is not None:
            (self.packages / "base.pth").write_text(f"{base.packages}\n")
        self._pip = [sys.executable, "-m", "pip", "--python", str(self.programs / "python")]  # one made anew takes 3 s

    def command(self, line: str) -> list[str]:
        """Return a line of a shell as what runs it in here, with nothing of this environment."""
        program, *arguments = shlex.split(line)
        return [*NO_OTHER_PATH, *(self._pip if program == "pip" else [str(self.programs / program)]), *arguments]

    def run(self, line: str) -> str:
        """Run a line to its end, which has to be a good one."""
        done = subprocess.run(
            self.command(line),
            cwd=self.programs,  # not this tree, from which Python would import
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
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
    empty.run(f"pip install --quiet --no-compile {shlex.quote(str(wheel))}")  # no index has what has not been released
    lines = {line for page in PAGES for line in shell_lines(page) if "pip install" in line and "gunicorn" in line}
    assert len(lines) == 1
    empty.run(*lines)
    return empty


@pytest.mark.timeout(180)
def test_the_command_tells_what_is_at_work(installed: Empty) -> None:
    version = re.escape(geventws.__version__)
    assert re.match(rf"geventws {version} \(C core, epoll, zlib; gevent ", installed.run("geventws --version"))
    assert installed.run("python -m geventws --version") == installed.run("geventws --version")


@pytest.mark.timeout(180)
def test_the_log_says_that_there_is_no_c_core(pure_wheel: Path, tmp_path: Path) -> None:
    empty = Empty(tmp_path / "empty")
    empty.run(f"pip install --quiet --no-compile {shlex.quote(str(pure_wheel))}")
    script = "import logging; logging.basicConfig(level='INFO', format='%(name)s %(message)s'); import geventws"
    said = "geventws the C core is not installed: its twin in Python does the same, more slowly\n"
    assert empty.run(f'python -c "{script}"') == said
    assert "(Python core, epoll, zlib; " in empty.run("geventws --version")


def installations() -> set[str]:
    """Return the extras that the pages install, as their lines have them: "", "compression,json", ..."""
    pages = [ROOT / "README.rst", *(ROOT / "docs").glob("*.rst")]
    found = (re.findall(r"pip\s+install\s+'?geventws(?:\[([\w,]+)\])?'?", page.read_text()) for page in pages)
    return {extras for page in found for extras in page}


@pytest.mark.timeout(300)
def test_each_line_that_installs_brings_what_it_is_for(wheel: Path, tmp_path: Path) -> None:
    def install(extras: str, base: Empty | None = None) -> Empty:
        empty = Empty(tmp_path / f"empty-{extras}", base)
        what = f"{wheel}[{extras}]" if extras else wheel
        empty.run(f"pip install --quiet --no-compile '{what}'")
        modules = ["geventws", *(BROUGHT[extra] for extra in extras.split(",") if extra)]
        assert empty.run(f"python -c 'import {', '.join(modules)}; print(geventws.frames.HAVE_C)'") == "True\n"
        return empty

    first, *lines = sorted(installations())
    assert first == "" and {"compression,json", "gunicorn"} <= set(lines)
    base = install("")  # has what each of the others would bring too
    with ThreadPoolExecutor(2) as pool:
        assert len(list(pool.map(lambda extras: install(extras, base), lines))) == len(lines)


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
