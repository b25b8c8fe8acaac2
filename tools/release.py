"""Say what stands in the way of a release; the exit status is 0 where nothing does.

    python tools/release.py [v1.1.0]

With a tag, that has to be the version's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from setuptools.compat.py310 import tomllib

ROOT = Path(__file__).resolve().parents[1]
URLS = ("Homepage", "Documentation", "Source", "Issues", "Changelog")


def find_obstacles(root: Path, tag: str | None = None) -> Iterator[str]:
    """Yield a sentence for everything that is missing."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    version = settings["project"]["version"]
    for name in URLS:
        if not settings["project"].get("urls", {}).get(name, "").startswith("https://"):
            yield f"pyproject.toml: [project.urls] has no {name}"
    if not settings["tool"]["geventws"]["security-contact"]:
        yield "pyproject.toml: [tool.geventws] has no security-contact"
    if f'__version__ = "{version}"' not in (root / "geventws" / "__init__.py").read_text():
        yield f"geventws/__init__.py: __version__ is not {version}"
    if not re.search(rf"(?m)^{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", (root / "CHANGES.rst").read_text()):
        yield f"CHANGES.rst: {version} has no date"
    if tag is not None and tag != f"v{version}":
        yield f"the tag is {tag}, and the version is {version}"


if __name__ == "__main__":
    obstacles = list(find_obstacles(ROOT, *sys.argv[1:2]))
    print("\n".join(obstacles) or "nothing stands in the way")
    sys.exit(bool(obstacles))
