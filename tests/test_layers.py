"""The layers: a module imports only modules of a lower rank, and no I/O stands above the sans-I/O line.

Everything is read from the syntax trees; nothing is run but the package itself.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import geventws

PACKAGE = Path(geventws.__file__).parent
PROJECT = Path(__file__).parents[1]

SANS_IO = [
    "text", "exceptions", "_frame_py", "_frame_c", "_core", "frames", "headers", "uri", "http_head", "http_response",
    "backoff", "json", "handshake", "permessage_deflate", "assembler", "protocol", "hixie76",
]  # fmt: skip
"""Above the line: bytes in, messages out."""

ON_SOCKETS = [
    "logs", "receiver", "poller", "waiters", "stream", "tls_stream", "keepalive", "connection", "sending", "websocket",
    "streaming", "upgrade", "legacy", "route", "wsgi", "crew", "application", "middleware", "owned", "dial",
    "client", "http_stream", "http_body", "given", "http_handler", "workers", "server", "terminal", "__init__", "cli",
]  # fmt: skip

RANKS = {name: rank for rank, name in enumerate(SANS_IO + ON_SOCKETS)}
FACES = len(RANKS)  # compat/*: all of them of one rank
RANKS["__main__"] = FACES + 1

FORBIDDEN = {"gevent", "greenlet", "socket", "ssl", "time", "select", "selectors", "asyncio"}
GENERATED = {"_frame", "_frame.c"}
LONGEST = 400

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text(), str(path))
    for path in sorted(PACKAGE.rglob("*.py"))
}
every_module = pytest.mark.parametrize("name", MODULES)


def rank(name: str) -> int:
    """Return a module's rank; -1 where it has none yet."""
    return FACES if name.split(".")[0] == "compat" else RANKS.get(name, -1)


def imports(name: str) -> Iterator[str]:
    """Yield the modules that a module imports, anywhere in it and for type checkers too; ours with a dot in front."""
    package = ["", *name.split(".")[:-1]]
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from (absolute(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from resolve(absolute(node.module or ""), node)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] + (node.module or "").split(".")
            yield from resolve(".".join(start).rstrip(".") or ".", node)


def absolute(name: str) -> str:
    """Return ours with a dot in front instead of the package's name."""
    top, _, rest = name.partition(".")
    return f".{rest}" if top == "geventws" else name


def resolve(base: str, node: ast.ImportFrom) -> Iterator[str]:
    """Yield what `from base import names` imports: modules of ours, or the module the names are in."""
    for alias in node.names:
        inner = f"{base.rstrip('.')}.{alias.name}"
        yield inner if inner[1:] in MODULES and inner.startswith(".") else base


def ours(name: str) -> set[str]:
    """Return our own modules that a module imports; the package itself as __init__."""
    found = {imported[1:] or "__init__" for imported in imports(name) if imported.startswith(".")}
    return {f"{one}.__init__" if f"{one}.__init__" in MODULES else one for one in found} - GENERATED


def test_imports_are_read() -> None:
    """A test of these tests: were nothing read, nothing would be wrong."""
    assert {"_core", "exceptions"} <= ours("frames") and {"_frame_py", "_frame_c"} <= ours("_core")
    assert {"exceptions", "frames"} <= ours("protocol")
    assert ".wsgi" in set(imports("__init__"))
    assert "gevent" in {imported.split(".")[0] for imported in imports("poller")}


@every_module
def test_a_module_has_a_rank(name: str) -> None:
    assert rank(name) >= 0, f"give {name} its place in the lists of this file"


@every_module
def test_a_module_imports_lower_ranks_only(name: str) -> None:
    wrong = {other for other in ours(name) if rank(other) >= rank(name) and other.split(".")[0] != "compat"}
    assert not wrong, f"{name} imports {wrong}"


@every_module
def test_only_the_top_imports_the_faces(name: str) -> None:
    if rank(name) < FACES:
        assert not {other for other in ours(name) if other.startswith("compat")}


@pytest.mark.parametrize("name", SANS_IO)
def test_no_io_above_the_line(name: str) -> None:
    if name in MODULES:
        assert not {imported.split(".")[0] for imported in imports(name)} & FORBIDDEN


def test_exceptions_import_the_text_of_their_messages_alone() -> None:
    assert ours("exceptions") == {"text"}
    assert not ours("text")


@every_module
def test_a_module_opens_with_its_plan(name: str) -> None:
    tree = MODULES[name]
    assert ast.get_docstring(tree), f"{name} has no docstring"
    future = [ast.unparse(node) for node in tree.body[1:2]]
    assert future == ["from __future__ import annotations"] or name.endswith("__init__")


def public_names(tree: ast.Module) -> list[str] | None:
    """Return what __all__ lists, if there is one."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def bound_names(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module binds when it is imported."""
    for node in tree.body:
        for inner in ast.walk(node) if isinstance(node, (ast.If, ast.Try)) else [node]:
            if isinstance(inner, (ast.Import, ast.ImportFrom)):
                yield from (alias.asname or alias.name.split(".")[0] for alias in inner.names)
            elif isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
                yield inner.name
            elif isinstance(inner, (ast.Assign, ast.AnnAssign)):
                targets = inner.targets if isinstance(inner, ast.Assign) else [inner.target]
                nodes = (one for target in targets for one in ast.walk(target))
                yield from (one.id for one in nodes if isinstance(one, ast.Name))


@every_module
def test_all_lists_names_that_there_are(name: str) -> None:
    names = public_names(MODULES[name])
    if names is None:
        return
    assert len(names) == len(set(names)), "a name stands there twice"
    assert not [one for one in names if one.startswith("_") and one != "__version__"]
    if "__getattr__" not in set(bound_names(MODULES[name])):  # which may make names when asked for
        assert not set(names) - set(bound_names(MODULES[name]))


def test_the_package_has_its_public_names() -> None:
    assert {"WebSocketWSGI", "WebSocket", "WebSocketError", "ConnectionClosed"} <= set(geventws.__all__)
    for name in geventws.__all__:
        assert getattr(geventws, name) is not None
    assert set(geventws.__all__) <= set(dir(geventws))


def test_the_public_codec_has_its_names() -> None:
    names = set(importlib.import_module("geventws.frames").__all__)
    assert {"HAVE_C", "Frame", "FrameParser", "Opcode", "CloseCode"} <= names


SOURCES = sorted(
    path
    for folder in ("geventws", "tests", "examples", "benchmarks", "tools")
    for path in (PROJECT / folder).rglob("*")
    if path.suffix in (".py", ".c", ".h", ".js", ".sh") and path.name not in GENERATED
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < LONGEST
