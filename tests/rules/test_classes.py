"""Classes: composition, inheritance only where it says *is a*, and state that is written down.

The classes are looked at where they are, with all bases that they have; what their text says is read from the sources.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import types
from collections.abc import Iterator
from typing import Any

import pytest
from kit.sources import FUNCTIONS, PACKAGE, SOURCES, Source, make_sources

MOST_METHODS, MOST_SLOTS = 25, 16
LARGER = {
    "engine.stream.Stream": 40,  # the outgoing queue: all that is sent goes through it, in order
    "client.websocket.ClientStreamingWebSocket": 27,  # the one handle that can do everything
    # Faces of other systems: each is a WebSocket, whose 23 methods its users may call, and has that system's names.
    "compat.eventlet.sockets.RFC6455WebSocket": 30,
    "compat.geventwebsocket.websocket.WebSocket": 27,
    "compat.wsocket.connection.WebSocket": 28,
}
"""What may have more methods, and why."""


def modules() -> Iterator[Any]:
    """Yield the package's modules; its script is one, but runs."""
    for name in SOURCES:
        if name != "__main__":
            yield importlib.import_module(f"geventws.{name}".removesuffix(".__init__"))


def name_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("geventws.")


CLASSES = {
    value for module in modules() for value in vars(module).values()
    if isinstance(value, type) and value.__module__.partition(".")[0] == "geventws"
}  # fmt: skip
PUBLIC = {getattr(module, name) for module in modules() for name in getattr(module, "__all__", ())
          if isinstance(getattr(module, name, None), type)}  # fmt: skip


# One subclass: a file was split, not an idea found


def find_lone_bases(classes: set[type], public: set[type]) -> set[str]:
    """Return the classes that are not public and have exactly one subclass. An interface may extend another."""
    children: dict[type, int] = {}
    for cls in classes - {cls for cls in classes if getattr(cls, "_is_protocol", False)}:
        for base in classes.intersection(cls.__bases__):
            children[base] = children.get(base, 0) + 1
    return {name_of(base) for base, count in children.items() if count == 1 and base not in public}


def test_nothing_is_split_into_a_base_and_its_only_subclass() -> None:
    assert find_lone_bases(CLASSES, PUBLIC) == set()


def test_a_lone_base_is_found() -> None:
    base, shared = type("Base", (), {}), type("Shared", (), {})
    only, one, other = type("Only", (base,), {}), type("One", (shared,), {}), type("Other", (shared,), {})
    classes = {base, shared, only, one, other}
    assert find_lone_bases(classes, set()) == {name_of(base)}
    assert find_lone_bases(classes, {base}) == set()


# Size


def count_methods(cls: type) -> int:
    """Return how many methods and properties a class and its bases of ours have, without those that Python makes."""
    return len({name for base in cls.__mro__ for name, value in vars(base).items() if is_written(value)})


def is_written(value: Any) -> bool:
    """Whether it is a method that stands in a file of ours."""
    function = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
    if not isinstance(function, types.FunctionType):
        return False
    return function.__code__.co_filename.startswith((str(PACKAGE), __file__))


def count_slots(cls: type) -> int:
    """Return how many attributes the instances of a class have from it and from its bases of ours."""
    return len({name for base in cls.__mro__ if base in CLASSES or base.__module__ == __name__ for name in slots(base)})


def slots(cls: type) -> set[str]:
    """Return the slots of one class, or what its methods assign where it has none."""
    own = vars(cls).get("__slots__")
    if own is not None:
        return {own} if isinstance(own, str) else set(own)
    nodes = ast.walk(ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls))))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and is_assigned(node)}


def is_assigned(node: ast.Attribute) -> bool:
    """Whether an attribute of `self` is assigned there."""
    return isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self"


def find_large(classes: set[type]) -> set[str]:
    """Return the classes with too many methods or slots."""
    large = {cls for cls in classes if count_methods(cls) > LARGER.get(name_of(cls), MOST_METHODS)}
    return {name_of(cls) for cls in large | {cls for cls in classes if count_slots(cls) > MOST_SLOTS}}


def test_no_class_is_too_large() -> None:
    """What is too large hides an object that is missing; a base class only moves it out of sight."""
    assert find_large(CLASSES) == set()
    assert set(LARGER) == {name_of(cls) for cls in CLASSES if count_methods(cls) > MOST_METHODS}


class Sixteen:
    """As many slots as may be."""

    __slots__ = tuple(f"slot{number}" for number in range(16))


class Seventeen(Sixteen):
    """One more, as an attribute."""

    def __init__(self) -> None:
        self.one_more = 1


def test_a_large_class_is_found() -> None:
    assert find_large({Sixteen, Seventeen}) == {name_of(Seventeen)}
    methods = {f"method{number}": types.FunctionType(is_written.__code__, {}) for number in range(25)}
    base = type("Base", (), {**methods, "__slots__": ()})
    derived = type("Derived", (base,), {"more": property(is_written), "method0": methods["method1"], "__slots__": ()})
    for cls in (base, derived):
        cls.__module__ = __name__
    assert find_large({base, derived}) == {name_of(derived)}


# Interfaces are typing.Protocols


def find_false_interfaces(sources: dict[str, Source], public: set[str]) -> set[str]:
    """Return what has no method that does anything, and is neither a Protocol nor public; and who imports abc."""
    hollow = {
        f"{name.removesuffix('.__init__')}.{node.name}"
        for name, source in sources.items() for node in source.classes()
        if is_hollow(node) and not any("Protocol" in ast.unparse(base) for base in node.bases)
    }  # fmt: skip
    abstract = {name for name, source in sources.items() if re.search(r"^(import|from) abc\b", source.text, re.M)}
    return (hollow - public) | abstract


def is_hollow(node: ast.ClassDef) -> bool:
    """Whether a class has methods, and all that they do is to say that there is nothing: `...`, or a refusal."""
    methods = [inner for inner in node.body if isinstance(inner, FUNCTIONS)]
    statements = [one for method in methods for one in method.body[ast.get_docstring(method) is not None :]]
    return bool(statements) and all(map(is_nothing, statements))


def is_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Raise):
        return "NotImplementedError" in ast.unparse(statement)
    return ast.unparse(statement) == "..."


def test_interfaces_are_protocols() -> None:
    assert find_false_interfaces(SOURCES, {name_of(cls) for cls in PUBLIC}) == set()


def test_a_false_interface_is_found() -> None:
    sources = make_sources(
        a="from typing import Protocol\nclass Face(Protocol):\n    def look(self): ...",
        b='class Base:\n    def look(self):\n        """Look."""\n        raise NotImplementedError',
        c="import abc",
        d="class Fine:\n    def look(self):\n        return 1\n    def wait(self): ...",
    )
    assert find_false_interfaces(sources, set()) == {"b.Base", "c"}
    assert find_false_interfaces(sources, {"b.Base"}) == {"c"}


# State is written down


def find_mute_attributes(source: Source) -> Iterator[str]:
    """Yield the attributes of classes with state about which nothing is said: `Class.attribute`.

    A class has state when a method assigns what `__init__` does. Something is said by a comment on the lines of the
    assignment or above it, by a string after it, and by Args or Attributes of the class.
    """
    for node in source.classes():
        methods = {method.name: method for method in node.body if isinstance(method, FUNCTIONS)}
        first = methods.pop("__init__", None)
        if first is None:
            continue
        attributes = assigned(first)
        if not any(name in attributes for method in methods.values() for name in assigned(method)):
            continue
        told = names_told(ast.get_docstring(node) or "", ast.get_docstring(first) or "")
        for name, statement in attributes.items():
            if not told & {name, name.lstrip("_")} and not is_explained(source, statement):
                yield f"{node.name}.{name}"


def assigned(method: ast.AST) -> dict[str, ast.stmt]:
    """Return the attributes of `self` that a method assigns, and the first statement that does."""
    found: dict[str, ast.stmt] = {}
    for statement in ast.walk(method):
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            for node in ast.walk(statement):
                if isinstance(node, ast.Attribute) and is_assigned(node):
                    found.setdefault(node.attr, statement)
    return found


def names_told(*docstrings: str) -> set[str]:
    """Return the names at the beginning of a line, with a colon: `a, b: what they are`."""
    lines = [match for text in docstrings for match in re.findall(r"^\s+([\w, ]+):", text, re.M)]
    return {name.strip() for line in lines for name in line.split(",")}


def is_explained(source: Source, statement: ast.stmt) -> bool:
    """Whether a comment stands on a statement's lines or alone above them, or a string below."""
    end = statement.end_lineno or statement.lineno
    above = source.text.splitlines()[statement.lineno - 2].strip()
    commented = above.startswith("#") or any(line in source.comments for line in range(statement.lineno, end + 1))
    return commented or end + 1 in source.docstrings


@pytest.mark.parametrize("name", SOURCES)
def test_each_attribute_of_a_class_with_state_is_explained(name: str) -> None:
    assert list(find_mute_attributes(SOURCES[name])) == []


def test_a_mute_attribute_is_found() -> None:
    sources = make_sources(
        a='''
class Queue:
    """A queue.

    Args:
        limit: how much may wait.
    """

    def __init__(self, limit, other):
        self._limit = limit
        self.waiting = []  # what waits
        # who wait for it
        self.readers = set()
        self.seen = 0
        """How many there were."""
        self.mute = other

    def put(self, item):
        self.seen += 1
''',
        b="class Constant:\n    def __init__(self, a):\n        self.a = a\n    def get(self):\n        return self.a",
    )
    assert list(find_mute_attributes(sources["a"])) == ["Queue.mute"]
    assert list(find_mute_attributes(sources["b"])) == []
