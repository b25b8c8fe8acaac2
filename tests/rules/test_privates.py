"""Private names: a module uses its own, and a few of gevent's, which are there on every gevent that we support."""

from __future__ import annotations

import ast
import os
import re

import pytest
from kit.programs.lowest import install_lowest, run_module
from kit.programs.privates import PRIVATES, find_missing
from kit.sources import FUNCTIONS, SOURCES, Source, make_sources

PUBLIC = {
    "_asdict", "_field_defaults", "_fields", "_make", "_replace",  # of NamedTuple
    "_current_frames", "_getframe",  # of sys
    "_Compress", "_Decompress",  # of zlib, for a type checker
    "_app_by_path",  # of gevent-websocket's Resource, whose users override it
}  # fmt: skip
"""What is documented in spite of its underscore."""

MODULES = {part for name in SOURCES for part in name.split(".")}

BELOW = ("engine", "hosts", "server", "client")
ALLOWED = {
    "_sock": BELOW,
    "_sslobj": BELOW,
    "_accept": ("server",),
    "_NoopLog": ("hosts",),
    "_callbacks": ("_core.receive.native",),
    "_detach_socket": ("hosts",),
    "_read_event": ("hosts",),
    "_write_event": ("hosts",),
    "_spawn": ("server",),
    "_start_accepting_if_started": ("server",),
    "_stop_event": ("server", "engine.loop.forks"),
    "_watcher": ("server", "engine.loop.forks"),
    "_handle_client_error": ("server",),
    "_orig_status": ("hosts", "server", "gunicorn"),
    "_send_error_response_if_possible": ("server",),
    "_sendall": ("hosts", "server"),
    "_write": ("server",),
    "_write_with_headers": ("server",),
}
"""The names of gevent's, and who may use them: a folder, or a module."""


def find_foreign(source: Source) -> set[str]:
    """Return the private names that a module uses and does not define: those of a base, too, and what it imports."""
    defined = find_defined(source)
    used = {node.attr for node in ast.walk(source.tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            used |= {alias.name for alias in node.names} - MODULES
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "delattr"):
            used |= {inner.value for inner in node.args[1:2] if isinstance(inner, ast.Constant)}
    return {name for name in used - defined - PUBLIC if re.match(r"_(?!_)", name)}


def find_defined(source: Source) -> set[str]:
    """Return the names that a module gives to something: attributes of `self`, slots, functions, classes, variables."""
    found = {node.name for node in ast.walk(source.tree) if isinstance(node, (*FUNCTIONS, ast.ClassDef))}
    names = (node for node in ast.walk(source.tree) if isinstance(node, ast.Name))
    found |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            found.add(node.attr)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__":
            found |= {inner.value for inner in ast.walk(node.value) if isinstance(inner, ast.Constant)}
    return {name for names in found for name in str(names).split()}


def is_allowed(name: str, module: str) -> bool:
    return any(f"{module}.".startswith(f"{place}.") for place in ALLOWED.get(name, ()))


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_uses_its_own_private_names_alone(name: str) -> None:
    found = {one for one in find_foreign(SOURCES[name]) if not is_allowed(one, name)}
    assert found == set()


def test_foreign_names_are_found() -> None:
    sources = make_sources(
        a="""
from other import _imported, fine

class Mine(Base):
    __slots__ = ("_slot",)

    def __init__(self, other):
        self._own = self._of_the_base
        other._theirs = other._own
        self._slot = getattr(other, "_asked", None), other.__dict__, other._replace()

    def _method(self):
        return self._method
"""
    )
    assert find_foreign(sources["a"]) == {"_imported", "_of_the_base", "_theirs", "_asked"}


def test_what_is_allowed_is_listed_where_it_is_used() -> None:
    assert is_allowed("_callbacks", "_core.receive.native") and not is_allowed("_callbacks", "_core.receive.pure")
    assert is_allowed("_sock", "hosts.pywsgi") and not is_allowed("_sock", "hosts_of_others")
    assert set(ALLOWED) == {name for names in PRIVATES.values() for name in names}
    used = {one for name, source in SOURCES.items() for one in find_foreign(source) if is_allowed(one, name)}
    assert set(ALLOWED) - used == {"_write", "_write_with_headers"}  # which a subclass has anew, and calls super()'s


# gevent's privates are there


def test_they_are_there() -> None:
    assert find_missing() == []


def test_what_is_not_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRIVATES, "a loop", ("_callbacks", "_no_such_thing"))
    assert find_missing() == ["a loop: _no_such_thing"]


ON_THE_LOWEST = ["engine/test_stream.py", "system/hosts/test_switching.py", "server/test_http_connection.py"]


@pytest.fixture(scope="module")
def lowest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with the lowest gevent that pyproject.toml allows."""
    return install_lowest("gevent", tmp_path_factory.mktemp("lowest"))


def test_they_are_there_on_the_lowest_gevent(lowest: dict[str, str]) -> None:
    mine = {**lowest, "PYTHONPATH": lowest["PYTHONPATH"].partition(os.pathsep)[2]}
    installed = run_module(mine, "kit.programs.privates")
    assert run_module(lowest, "kit.programs.privates") != installed  # the first line is the version


def test_connections_work_on_the_lowest_gevent(lowest: dict[str, str]) -> None:
    run_module(lowest, "pytest", "-q", "-x", "-p", "no:cacheprovider", *(f"tests/{path}" for path in ON_THE_LOWEST))
