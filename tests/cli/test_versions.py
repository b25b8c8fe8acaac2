"""versions.py: the line of a bug report is about this process."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import gevent
import pytest

from geventws._core import HAVE_C
from geventws.cli import versions
from geventws.engine.loop.watchers import HAVE_EPOLL


def test_the_line_names_what_is_at_work() -> None:
    told = versions.describe()
    assert told.startswith(f"geventws {version('geventws')} ({'C' if HAVE_C else 'Python'} core, ")
    assert (", epoll, " in told) == HAVE_EPOLL
    assert told.endswith(f"; gevent {gevent.__version__}, CPython {platform.python_version()})")


@pytest.mark.parametrize(("module", "name"), [(None, "zlib"), (platform, "isal")])
def test_the_compressor_is_the_one_that_is_there(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    monkeypatch.setattr(versions, "isal_zlib", module)
    assert f", {name}; " in versions.describe()


def test_a_tree_that_was_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> str:
        if name == "geventws":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(versions, "version", find)
    assert versions.describe().startswith("geventws of an unknown version (")
