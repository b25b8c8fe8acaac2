"""What a release needs: its addresses, a workflow that is well-formed, and C that other systems' compilers take."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kit.documents.blocks import ROOT

TARGETS = [
    "x86_64-linux-musl",
    "aarch64-linux-gnu.2.17",
    "aarch64-linux-musl",
    "x86_64-macos",
    "aarch64-macos",
    "x86_64-windows-gnu",
    "aarch64-windows-gnu",
]
INCLUDED = ROOT / "geventws" / "_core"
CORE = [path for path in INCLUDED.rglob("*.c") if path.name != "_frame.c"]
WORKFLOW = ".github/workflows/release.yml"


def run(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What tools/release.py reads, in a folder of its own."""
    for name in ("pyproject.toml", "CHANGES.rst", "geventws/__init__.py", "tools/release.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def fill_in(tree: Path) -> None:
    settings, changes = tree / "pyproject.toml", tree / "CHANGES.rst"
    names = ("Homepage", "Documentation", "Source", "Issues", "Changelog")
    urls = "[project.urls]\n" + "".join(f'{name} = "https://geventws.example/{name}"\n' for name in names)
    text = settings.read_text().replace("[project.urls]\n", urls)
    settings.write_text(text.replace('security-contact = ""', 'security-contact = "security@geventws.example"'))
    changes.write_text(changes.read_text().replace("(unreleased)", "(2030-01-01)", 1))


def test_nothing_is_released_without_an_address(tree: Path) -> None:
    done = run(sys.executable, "tools/release.py", "v1.0.9", cwd=tree)
    assert done.returncode == 1
    for what in ("has no Homepage", "has no Source", "has no security-contact", "has no date", "the tag is v1.0.9"):
        assert what in done.stdout


def test_a_release_with_everything_is_let_through(tree: Path) -> None:
    fill_in(tree)
    done = run(sys.executable, "tools/release.py", cwd=tree)
    assert (done.returncode, done.stdout) == (0, "nothing stands in the way\n")


def test_the_workflow_is_well_formed() -> None:
    folder = Path(sys.executable).parent
    schema = run(folder / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW)
    assert schema.returncode == 0, schema.stdout
    audit = run(folder / "zizmor", "--offline", "--no-progress", WORKFLOW)
    assert audit.returncode == 0, audit.stdout + audit.stderr


@pytest.mark.skipif(sys.version_info < (3, 11), reason="cibuildwheel needs Python 3.11")
@pytest.mark.parametrize(
    ("platform", "builds"),
    [
        ("linux", {"cp310-manylinux_x86_64", "cp310-musllinux_x86_64"}),
        ("macos", {"cp310-macosx_x86_64", "cp310-macosx_arm64"}),
        ("windows", {"cp310-win_amd64", "cp310-win_arm64"}),
    ],
)
def test_wheels_are_configured_for_each_system(platform: str, builds: set[str]) -> None:
    architectures = sorted(name.rpartition("_")[2] for name in builds)
    archs = {"macos": "x86_64,arm64", "windows": "AMD64,ARM64"}.get(platform, "x86_64")
    done = run(
        sys.executable, "-m", "cibuildwheel", "--platform", platform, "--archs", archs, "--print-build-identifiers"
    )
    assert done.returncode == 0, done.stderr
    assert builds <= set(done.stdout.split()), architectures


@pytest.mark.parametrize("target", TARGETS)
def test_the_core_compiles_for(target: str, tmp_path: Path) -> None:
    for path in CORE:
        made = tmp_path / f"{path.parent.name}-{path.stem}.o"
        words = ["-target", target, "-O2", "-Wall", "-Wextra", "-Werror", "-I", INCLUDED, "-c", path, "-o", made]
        done = run(sys.executable, "-m", "ziglang", "cc", *words)
        assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == len(CORE) >= 4
