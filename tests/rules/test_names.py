"""Names that have their place: those of servers, and those of the numbers that C and Python share."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from kit.sources import FUNCTIONS, PACKAGE, SOURCES, Source, make_sources

SERVERS = re.compile("gunicorn|pywsgi|wsgihandler|wsgiserver|ggevent|werkzeug|waitress|uwsgi", re.IGNORECASE)
KNOW_SERVERS = {"hosts", "server", "cli", "gunicorn", "compat"}


def names_in(source: Source) -> Iterator[str]:
    """Yield what the code calls things, and its strings; not what comments and docstrings say."""
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield getattr(node, "module", None) or ""
            yield from (alias.name for alias in node.names)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Name, ast.Attribute, ast.arg, ast.keyword)):
            yield getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "arg", None) or ""
    yield from (node.value for node in source.strings())


def find_servers(sources: dict[str, Source]) -> set[str]:
    """Return what names a server where none is known: `module: name`."""
    others = [name for name in sources if name.partition(".")[0] not in KNOW_SERVERS]
    return {f"{name}: {one}" for name in others for one in names_in(sources[name]) if SERVERS.search(one)}


def test_servers_are_named_where_they_are_known() -> None:
    assert find_servers(SOURCES) == set()


def test_names_of_servers_are_found() -> None:
    sources = make_sources(
        engine__a='"""Runs under gunicorn."""\n\nfrom gevent import pywsgi  # pywsgi',
        engine__b='def find():\n    return environ["gunicorn.socket"]',
        engine__c="def look(handler):\n    return isinstance(handler, WSGIHandler)",
        hosts__d="import gunicorn",
        server__e="class WSGIServer: ...",
    )
    assert find_servers(sources) == {
        "engine.a: pywsgi",
        "engine.b: gunicorn.socket",
        "engine.c: WSGIHandler",
    }


# The 101 is written once


def find_switches(sources: dict[str, Source]) -> set[str]:
    """Return the modules that have a host answer with 101: `switch`, called with `start_response`."""
    return {
        name for name, source in sources.items() for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and "start_response" in map(ast.unparse, node.args)
        and re.fullmatch(r"(?!self\b).*\.switch", ast.unparse(node.func))
    }  # fmt: skip


def test_the_101_is_written_once() -> None:
    """By the endpoint that all doors and faces have, and by what it calls for drafts 75 and 76."""
    hosts = {name for name in SOURCES if name.startswith("hosts.")}
    assert find_switches(SOURCES) - hosts == {"endpoints.endpoint", "endpoints.legacy"}


def test_another_101_is_found() -> None:
    calls = ("host.switch(start_response, headers)", "greenlet.switch(None)", "self.switch(start_response)")
    sources = make_sources(**dict(zip("abc", calls, strict=True)))
    assert find_switches(sources) == {"a"}


# Numbers: the C core's are in its headers, and in the twin, which is compared with them

HEADERS = {path.name: path.read_text() for path in sorted((PACKAGE / "_core").rglob("*.h"))}


def read_numbers(header: str) -> set[str]:
    """Return the names of the enumerators and macros of a header, without their prefix."""
    plain = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    bodies = re.findall(r"enum\s*\w*\s*\{(.*?)\}", plain, re.DOTALL)
    macros = re.findall(r"#define WS_(\w+)", plain)
    return {name for body in bodies for name in re.findall(r"\bWS_(\w+)", body)}.union(macros)


NUMBERS = {name for text in HEADERS.values() for name in read_numbers(text)}


def find_spelt(sources: dict[str, Source], numbers: set[str]) -> set[str]:
    """Return where a module gives a number to a name of the C core's: `module: NAME`. The twin may."""
    return {
        f"{name}: {target}" for name, source in sources.items() if not re.fullmatch(r"_core\b.*\.pure", name)
        for statement in source.tree.body if isinstance(statement, (ast.Assign, ast.AnnAssign))
        for target, value in pairs_in(statement)
        if target.removeprefix("WS_") in numbers and re.search(r"\b\d", ast.unparse(value))
    }  # fmt: skip


def pairs_in(statement: ast.Assign | ast.AnnAssign) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names and values of an assignment, one by one where it is one of tuples."""
    value = statement.value
    for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            yield from zip(map(ast.unparse, target.elts), value.elts, strict=False)
        elif value is not None:
            yield from ((ast.unparse(one), value) for one in getattr(target, "elts", [target]))



def test_the_numbers_of_the_core_are_spelt_in_its_headers_and_its_twin() -> None:
    assert {"PAYLOAD", "TOO_BIG", "TEXT", "FAST_SIZE"} <= NUMBERS
    assert find_spelt(SOURCES, NUMBERS) == set()


def test_numbers_that_are_spelt_again_are_found() -> None:
    header = "/* not WS_THIS */ enum ws_status { WS_MORE, /* 0 */\n WS_FULL = 7 };\nenum { WS_ROOM = 34816 };\n"
    numbers = read_numbers(header + "#define WS_BIT 0x80\n")
    assert numbers == {"MORE", "FULL", "ROOM", "BIT"}
    sources = make_sources(
        _core__pure="MORE = 0",
        _core__inner__pure="BIT = 1 << 7",
        _core__native="FULL: int = lib.WS_FULL",
        a="MORE, other = 0, 1",
        b="WS_ROOM: int = 34 * 1024",
        c="FULL = pure.FULL\nOTHER = 7",
        d="MORE, FULL = range(2)",
    )
    assert find_spelt(sources, numbers) == {"a: MORE", "b: WS_ROOM", "d: MORE", "d: FULL"}
