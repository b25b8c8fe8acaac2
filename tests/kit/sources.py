"""Sources as the tests of the rules read them: syntax trees, comments and docstrings, by the names of modules."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import geventws

PROJECT = Path(__file__).parents[2]
PACKAGE = Path(geventws.__file__).parent

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Source:
    """A module's text, and what is read from it."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, self.name)

    @cached_property
    def comments(self) -> dict[int, str]:
        """The comments, by their lines."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}

    @cached_property
    def docstrings(self) -> dict[int, ast.Constant]:
        """The string constants that stand for themselves, by their first lines: docstrings, and those of attributes."""
        nodes = (node.value for node in ast.walk(self.tree) if isinstance(node, ast.Expr))
        return {node.lineno: node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}

    def classes(self) -> Iterator[ast.ClassDef]:
        """Yield the classes, inner ones too."""
        yield from (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))

    def functions(self) -> Iterator[Function]:
        """Yield the functions and methods, inner ones too."""
        yield from (node for node in ast.walk(self.tree) if isinstance(node, FUNCTIONS))

    def strings(self) -> Iterator[ast.Constant]:
        """Yield the string constants of the code, without docstrings."""
        spoken = {id(node) for node in self.docstrings.values()}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken:
                yield node


def read_sources(folder: Path) -> dict[str, Source]:
    """Return the modules of a folder and of those in it, by their names with dots: `engine.loop.poller`."""
    paths = {".".join(path.relative_to(folder).with_suffix("").parts): path for path in sorted(folder.rglob("*.py"))}
    return {name: Source(name, path.read_text()) for name, path in paths.items()}


def make_sources(**texts: str) -> dict[str, Source]:
    """Return modules that are made up, for a test of a rule; `__` in a name stands for a dot."""
    names = {name: name.replace("__", ".") for name in texts}
    return {names[name]: Source(names[name], text) for name, text in texts.items()}


SOURCES = read_sources(PACKAGE)
"""The package's own."""


LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log", "tell"}


def find_log_calls() -> set[tuple[str, str]]:
    """Return the module and the format of all calls of a logger in the package."""
    return {
        (name.removesuffix(".__init__"), form)
        for name, source in SOURCES.items()
        for node in ast.walk(source.tree)
        for form in read_log_call(node)
    }


def read_log_call(node: ast.AST) -> list[str]:
    """Return the format of a call of a logger; nothing where it is none."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
        return []
    if "log" not in ast.unparse(node.func.value).lower():
        return []
    if ast.unparse(node).startswith("logger.log(line.level, line.message,"):  # the queue's writer
        return []
    found = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    assert len(found) == 1, f"a log call whose format is no literal: {ast.unparse(node)}"
    return found
