"""The C core under sanitizers and before guard pages: see sanitize/driver.c.

Where there is no C compiler these tests fail: a core that nobody can check is not to be shipped. Under
GEVENTWS_PURE_PYTHON=1, which says that the core is not wanted, there are none.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sanitize import run as sanitizer

__test__ = os.environ.get("GEVENTWS_PURE_PYTHON", "0") in ("", "0")  # whether pytest collects this module


@pytest.fixture(scope="module", params=sanitizer.BUILDS)
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver, built one way."""
    return sanitizer.build(request.param, tmp_path_factory.mktemp("sanitize"))


@pytest.mark.parametrize("part", sanitizer.PARTS)
def test_the_core_stays_within_its_buffers(driver: Path, part: str) -> None:
    done = sanitizer.run(driver, part)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith(f"ok: {part}, ") and "runtime error" not in done.stdout


def test_a_byte_too_far_is_found(driver: Path) -> None:
    """A test of these tests."""
    done = sanitizer.run(driver, "overrun")
    assert done.returncode != 0 and "ok" not in done.stdout.split()


def test_a_broken_contract_is_found_where_assertions_are(driver: Path) -> None:
    """Another one."""
    done = sanitizer.run(driver, "precondition")
    if driver.name.endswith("sanitized"):
        assert done.returncode != 0 and "Assertion" in done.stdout
    else:
        assert done.returncode == 0, done.stdout


def test_no_compiler_is_no_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="no C compiler"):
        sanitizer.build("sanitized", tmp_path)
