"""The tree is the table of contents: the page that describes it, tests that mirror it, and how large its parts are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from kit.sources import PACKAGE, PROJECT, SOURCES, Function, Source, make_sources, read_sources

TESTS = PROJECT / "tests"
SCRIPTS = [PROJECT / name for name in ("benchmarks", "examples", "tools")]


# The page: docs/internals.rst


def read_table(page: str) -> dict[str, str]:
    """Return the table of folders and modules: what each row is about, and what it says."""
    body = page.partition("folder or module ")[2].split("\n=====")[1]
    rows: dict[str, str] = {}
    name = ""
    for line in body.splitlines()[1:]:
        first, rest = line[:36].strip(), line[36:].strip()
        name = first or name
        rows[name] = f"{rows.get(name, '')} {rest}".strip()
    return {part: text for name, text in rows.items() for part in quoted(name)}


def quoted(text: str) -> list[str]:
    return re.findall(r"``([\w.]+)``", text)


def find_gaps(table: dict[str, str], entries: dict[str, set[str]]) -> set[str]:
    """Return what is in the tree and not in the table, and what is in the table and not in the tree.

    Args:
        table: as `read_table` returns it.
        entries: the files and folders of each folder, which is "" for the root.
    """
    rows = {name for name in entries[""] if not name.startswith("__")} | {name for name in entries if "." in name}
    gaps = rows ^ set(table)
    for folder in rows & set(table) & set(entries):
        told = {word for word in quoted(table[folder]) if word.islower()}
        inner = {name for name in entries[folder] if not name.startswith("__") and f"{folder}.{name}" not in rows}
        gaps |= {f"{folder}: {name}" for name in inner - told}
    return gaps


def list_entries(names: Iterable[str]) -> dict[str, set[str]]:
    """Return what each folder holds, by the names of the modules."""
    entries: dict[str, set[str]] = {"": set()}
    for name in names:
        *folders, last = name.split(".")
        for depth, part in enumerate([*folders, last]):
            entries.setdefault(".".join(folders[:depth]), set()).add(part)
    return entries


def describe_tree() -> dict[str, set[str]]:
    """Return what the page has to name: the root, its folders, and engine.loop; of compat only that it is there."""
    entries = list_entries(SOURCES)
    return {name: inner for name, inner in entries.items() if name.count(".") < 2 and not name.startswith("compat")}


def test_the_page_describes_the_tree() -> None:
    table = read_table((PROJECT / "docs" / "internals.rst").read_text())
    assert find_gaps(table, describe_tree()) == set()


PAGE = """
==================================  =========
folder or module                    what it holds
==================================  =========
``one``, ``two``                    both of these
``folder``                          a ``file``,
                                    and ``gone``
==================================  =========
"""


def test_gaps_of_the_page_are_found() -> None:
    entries = list_entries(["one", "folder.file", "folder.other", "folder.__init__", "three", "__init__"])
    assert entries == {
        "": {"one", "folder", "three", "__init__"},
        "folder": {"file", "other", "__init__"},
    }
    assert find_gaps(read_table(PAGE), entries) == {"two", "three", "folder: other"}


# The tests mirror the modules

TESTED_IN = {
    "__main__": "cli/test_main.py",
    # what the C core and its twin must agree on is one subject, and tested at both
    "_core.fanout.native": "core/test_fanout.py",
    "_core.fanout.pure": "core/test_fanout.py",
    # the table of hosts, of which each is tested there
    "hosts.__init__": "hosts/test_hosts.py",
    # what the faces share, each of which tests it
    "compat._controls": "compat/test_eventlet.py",
    "compat.engineio": "system/engineio/test_engineio.py",
}
"""Modules that have no file of their own, and the one that tests them, each group with its reason."""


def find_untested(names: Iterable[str], files: set[str]) -> set[str]:
    """Return the modules without a file of tests, and those that have one and are listed as if they had none."""
    found = set()
    for name in names:
        own = file_of(name) in files
        if own == (name in TESTED_IN) or (not own and TESTED_IN[name] not in files):
            found.add(name)
    return found


def file_of(name: str) -> str:
    """Return where a module's tests stand: in compat they stand by face, elsewhere by module."""
    parts = ["core" if part == "_core" else part.strip("_") for part in name.split(".")]
    if parts[0] == "compat":
        parts = parts[:2]
    if parts[-1] == "init":
        parts = parts[:-1] or ["package"]
    return "/".join([*parts[:-1], f"test_{parts[-1]}.py"])


def test_each_module_has_its_tests() -> None:
    names = [name for name, source in SOURCES.items() if any(source.functions()) or any(source.classes())]
    files = {str(path.relative_to(TESTS)) for path in TESTS.rglob("test_*.py")}
    assert find_untested(names, files) == set()


def test_modules_without_tests_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a", "b.c", "_core.d", "compat.e.f", "b.__init__", "b.g", "b.h", "b.i"]
    for name, file in {"b.g": "test_a.py", "a": "test_a.py", "b.h": "test_none.py"}.items():
        monkeypatch.setitem(TESTED_IN, name, file)
    files = {"test_a.py", "b/test_c.py", "core/test_d.py", "compat/test_e.py", "test_b.py"}
    assert find_untested(names, files) == {"a", "b.h", "b.i"}


def find_tests_that_import_tests(sources: dict[str, Source]) -> set[str]:
    """Return the files that import from a file of tests, by whatever way: `test_x` stands in the statement."""
    found = set()
    for name, source in sources.items():
        for node in ast.walk(source.tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and re.search(r"\b(tests|test_\w+)\b", ast.unparse(node)):
                found.add(name)
    return found


def test_tests_import_no_tests() -> None:
    assert find_tests_that_import_tests(read_sources(TESTS)) == set()


def test_tests_that_import_tests_are_found() -> None:
    sources = make_sources(
        a="from compat.test_eventlet import serve",
        b="import test_frames",
        c="from . import test_frames as frames",
        d="def late():\n    from tests.kit import frames",
        e="from kit import frames\nfrom contest import attested",
    )
    assert find_tests_that_import_tests(sources) == {"a", "b", "c", "d"}


# Size

MOST_ENTRIES, MOST_AT_THE_ROOT = 12, 26
LONGEST_FUNCTION = 40


def find_crowded(folders: dict[str, set[str]]) -> set[str]:
    """Return the folders with more entries than one sees at once."""
    return {name for name, inner in folders.items() if len(inner) > (MOST_ENTRIES if name else MOST_AT_THE_ROOT)}


def list_files(root: Path) -> dict[str, set[str]]:
    """Return what each folder holds, without what is generated.

    A header and its source are one entry, as is all that has one stem; `__init__` is the folder itself.
    """
    paths = [path for path in root.rglob("*") if "__pycache__" not in path.parts and path.suffix not in (".so", ".pyc")]
    folders: dict[str, set[str]] = {}
    for path in paths:
        if path.name not in ("_frame.c", "__init__.py", "__pycache__"):
            folders.setdefault(str(path.parent.relative_to(root)).removeprefix("."), set()).add(path.stem)
    return folders


def test_no_folder_is_crowded() -> None:
    assert find_crowded(list_files(PACKAGE)) == set()
    assert len(list_files(TESTS / "kit")[""]) <= MOST_ENTRIES


def test_crowded_folders_are_found(tmp_path: Path) -> None:
    for folder, count in {"full": 12, "crowded": 13, "crowded/within": 1, "__pycache__": 20}.items():
        (tmp_path / folder).mkdir()
        for number in range(count):
            (tmp_path / folder / f"{number}.py").touch()
    for number in range(24):
        (tmp_path / f"{number}.py").touch()
    for name in ("_frame.abi3.so", "__init__.py", "0.c", "full/__init__.py", "full/0.h"):
        (tmp_path / name).touch()
    assert find_crowded(list_files(tmp_path)) == {"crowded"}
    (tmp_path / "one_more.py").touch()
    assert find_crowded(list_files(tmp_path)) == {"", "crowded"}


def count_lines(function: Function) -> int:
    """Return the lines of a function's code: from `def`, without its docstring and those of its parameters."""
    first, last = function.body[0], function.body[-1]
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    start = (first.end_lineno or 0) + 1 if body is not function.body else first.lineno
    return (last.end_lineno or last.lineno) - start + 1 if body else 0


def find_long(sources: dict[str, Source]) -> set[str]:
    """Return the functions that are too long."""
    return {
        f"{name}.{function.name}"
        for name, source in sources.items()
        for function in source.functions()
        if count_lines(function) > LONGEST_FUNCTION
    }


def test_functions_are_short() -> None:
    folders = {folder.name: read_sources(folder) for folder in (PACKAGE, TESTS, *SCRIPTS)}
    assert {f"{folder}.{one}" for folder, sources in folders.items() for one in find_long(sources)} == set()


def test_long_functions_are_found() -> None:
    text = 'def {}(a,\n    b):\n    """One.\n\n    Two."""\n' + "    a = 1\n" * 40
    sources = make_sources(a=text.format("fits"), b=text.format("long") + "    b = 2\n")
    assert find_long(sources) == {"b.long"}
