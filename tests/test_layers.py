"""The layers: a module imports only modules of a lower rank, and no I/O stands above the sans-I/O line.

Everything is read from the syntax trees; nothing is run but the package itself.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.sources import PROJECT, SOURCES

import geventws

TREE = {
    "": ["text", "exceptions", "_core", "http", "frames", "protocol", "handshake", "engine", "websocket",
         "streaming", "hosts", "endpoints", "client", "pubsub", "server", "flask", "frameworks", "metrics", "testing",
         "gunicorn", "cli", "_moved", "__init__", "__main__", "compat"],
    "_core": ["receive", "fanout", "pure", "native"],
    "_core.receive": ["inodes", "pure", "native"],
    "_core.fanout": ["pure", "native"],
    "http": ["headers", "names", "uri", "request", "response"],
    "handshake": ["origins", "upgrade", "server", "client", "hixie76"],
    "protocol": ["json", "memory", "partial", "compressors", "extension", "permessage_deflate", "messages", "closing",
                 "interface", "prepared", "connection", "hixie76"],
    "engine": ["loop", "options", "published", "backlog", "tls", "stream", "intake", "keepalive", "closing",
               "fragments", "connection", "reader"],
    "engine.published": ["deliveries", "outlet"],
    "engine.loop": ["forks", "logs", "watchers", "system", "turns", "waves", "outbox", "interest", "poller", "waiters",
                    "deadlines", "greenlets"],
    "hosts": ["sockets", "host", "pywsgi", "gunicorn", "own", "unknown", "werkzeug", "wsgiref", "pywsgi_bodies",
              "servers"],
    "endpoints": ["legacy", "endpoint", "decorator", "views", "callbacks", "middleware"],
    "frameworks": ["django", "bottle", "pyramid", "falcon"],
    "pubsub": ["finalizers", "history", "interface", "branches", "broadcast", "bus", "presence", "store", "rooms",
               "pubsub"],
    "pubsub.branches": ["topics", "waiting", "publication", "branch", "loops"],
    "pubsub.bus": ["wire", "connection", "link", "asker", "channels", "streams", "arrivals", "state", "core", "home",
                   "bus"],
    "pubsub.bus.wire": ["messages", "resp", "scripts", "members"],
    "pubsub.presence": ["members", "views", "presence"],
    "pubsub.rooms": ["messages", "forms", "session", "endpoint", "subscription", "client"],
    "server": ["draining", "http_stream", "http_body", "given", "heads", "http_connection", "termination", "server"],
    "client": ["options", "backoff", "websocket", "dial", "proxies", "opening", "reconnection"],
    "cli": ["terminal", "reload", "versions", "watchdog", "workers", "main"],
    "compat": ["_controls", "engineio", "wsocket", "cyclone", "geventwebsocket", "eventlet", "pulsar", "pulsar04"],
    "compat.wsocket": ["response", "connection"],
    "compat.cyclone": ["request"],
    "compat.geventwebsocket": ["exceptions", "protocols", "websocket", "resource", "handler", "server", "gunicorn"],
    "compat.geventwebsocket.protocols": ["base"],
    "compat.geventwebsocket.gunicorn": ["workers"],
    "compat.eventlet": ["sockets", "server"],
    "compat.pulsar": ["frames", "wsgi", "protocol", "client"],
    "compat.pulsar04": ["frames"],
}  # fmt: skip
"""Each folder's files and folders: one imports only those before it. The faces of compat stand on the public names."""

SANS_IO = ("text", "exceptions", "_core", "http", "frames", "handshake", "protocol")
"""Above the line: bytes in, messages out."""

FORBIDDEN = {"gevent", "greenlet", "socket", "ssl", "time", "select", "selectors", "asyncio"}
GENERATED = {"_core._frame", "_frame.c"}
LONGEST = 400

every_module = pytest.mark.parametrize("name", SOURCES)


def rank(name: str) -> list[int]:
    """Return a module's rank, folder by folder; ValueError where it has none yet."""
    parts = name.split(".")
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()  # a package's own names come last of all in it
        return [*rank(".".join(parts)), 1 << 10]
    folders = [".".join(parts[:depth]) for depth in range(len(parts))]
    return [TREE[folder].index(part) for folder, part in zip(folders, parts, strict=True)]


def imports(name: str) -> Iterator[str]:
    """Yield the modules that a module imports, anywhere in it and for type checkers too; ours with a dot in front."""
    package = ["", *name.split(".")[:-1]]
    for node in ast.walk(SOURCES[name].tree):
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
        yield inner if inner[1:] in SOURCES and inner.startswith(".") else base


def ours(name: str) -> set[str]:
    """Return our own modules that a module imports; the package itself as __init__."""
    found = {imported[1:] or "__init__" for imported in imports(name) if imported.startswith(".")}
    return {f"{one}.__init__" if f"{one}.__init__" in SOURCES else one for one in found} - GENERATED


def test_imports_are_read() -> None:
    """A test of these tests: were nothing read, nothing would be wrong."""
    assert {"_core.__init__", "exceptions"} <= ours("frames")
    assert {"_core.pure", "_core.native"} <= ours("_core.__init__")
    assert {"exceptions", "frames"} <= ours("protocol.connection")
    assert ".endpoints.decorator" in set(imports("__init__"))
    assert "gevent" in {imported.split(".")[0] for imported in imports("engine.loop.poller")}


@every_module
def test_a_module_has_a_rank(name: str) -> None:
    assert rank(name), f"give {name} its place in TREE"


def test_the_tree_lists_what_there_is() -> None:
    there = {name.removesuffix(".__init__") for name in SOURCES} - {"__init__"}
    for folder, names in TREE.items():
        for name in names:
            path = f"{folder}.{name}".lstrip(".")
            assert path == "__init__" or path in there, f"there is no {path}"


@every_module
def test_a_module_imports_lower_ranks_only(name: str) -> None:
    wrong = {other for other in ours(name) if rank(other) >= rank(name)}
    assert not wrong, f"{name} imports {wrong}"


@pytest.mark.parametrize("name", [name for name in SOURCES if name.split(".")[0] in SANS_IO])
def test_no_io_above_the_line(name: str) -> None:
    assert not {imported.split(".")[0] for imported in imports(name)} & FORBIDDEN


def test_exceptions_import_the_text_of_their_messages_alone() -> None:
    assert ours("exceptions") == {"text"}
    assert not ours("text")


@every_module
def test_a_module_opens_with_its_plan(name: str) -> None:
    tree = SOURCES[name].tree
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
    names = public_names(SOURCES[name].tree)
    if names is None:
        return
    assert len(names) == len(set(names)), "a name stands there twice"
    assert not [one for one in names if one.startswith("_") and one != "__version__"]
    if "__getattr__" not in set(bound_names(SOURCES[name].tree)):  # which may make names when asked for
        assert not set(names) - set(bound_names(SOURCES[name].tree))


def test_the_package_has_its_public_names() -> None:
    assert {"WebSocketWSGI", "WebSocket", "WebSocketError", "ConnectionClosed"} <= set(geventws.__all__)
    for name in geventws.__all__:
        assert getattr(geventws, name) is not None
    assert set(geventws.__all__) <= set(dir(geventws))


def test_the_public_codec_has_its_names() -> None:
    names = set(importlib.import_module("geventws.frames").__all__)
    assert {"HAVE_C", "Frame", "FrameParser", "Opcode", "CloseCode"} <= names


FILES = sorted(
    path
    for folder in ("geventws", "tests", "examples", "benchmarks", "tools")
    for path in (PROJECT / folder).rglob("*")
    if path.suffix in (".py", ".c", ".h", ".js", ".sh") and path.name not in GENERATED
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < LONGEST
