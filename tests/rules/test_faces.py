"""What users hold shows what the reference page lists, and nothing of the engine's."""

from __future__ import annotations

import inspect
import re

import pytest
from kit.sources import PROJECT

import geventws

REFERENCE = (PROJECT / "docs" / "reference.rst").read_text()


def shown(cls: type) -> set[str]:
    """Return the names that a class shows."""
    return {name for name in dir(cls) if not name.startswith("_")}


def listed(cls: type, page: str) -> set[str]:
    """Return the names that a page lists of a class and its bases: members, and Attributes of their docstrings."""
    names: set[str] = set()
    for base in cls.__mro__:
        row = re.search(rf"^\.\. autoclass:: {base.__name__}\n(?:    :members: (.*)\n)?", page, re.MULTILINE)
        if row is not None:
            names |= {name.strip() for name in (row.group(1) or "").split(",")} | attributes(base)
    return names - {""}


def attributes(cls: type) -> set[str]:
    """Return what the docstring of a class has under Attributes."""
    text = re.search(r"^Attributes:\n((?: .*\n?)*)", inspect.cleandoc(vars(cls).get("__doc__") or ""), re.MULTILINE)
    names = re.findall(r"^ {4}(\w[\w, ]*):", text.group(1), re.MULTILINE) if text else []
    return {name.strip() for row in names for name in row.split(",")}


@pytest.mark.parametrize("cls", [geventws.WebSocket, geventws.StreamingWebSocket, geventws.CallbackWebSocket])
def test_a_handle_shows_what_the_reference_lists(cls: type) -> None:
    assert listed(cls, REFERENCE) <= shown(cls)
    assert shown(cls) == listed(cls, REFERENCE)


class Handle:
    """A handle.

    Attributes:
        path, origin: where from.
        more: what there
            is: more.

    Text: not a name.
    """

    __slots__ = ("_engine", "engine", "more", "origin", "path")

    def send(self) -> None: ...
    def run(self) -> None: ...


class Streaming(Handle):
    """One that has more.

    Attributes:
        late: whether.
    """

    late = True

    def wait_pieces(self) -> None: ...


def test_what_is_shown_and_not_listed_is_found() -> None:
    page = ".. autoclass:: Handle\n    :members: send\n\n.. autoclass:: Streaming\n    :members: wait_pieces, gone\n"
    assert shown(Handle) - listed(Handle, page) == {"engine", "run"}
    assert listed(Streaming, page) == {"send", "path", "origin", "more", "late", "wait_pieces", "gone"}
    assert not listed(Streaming, page) <= shown(Streaming)
    assert listed(Handle, "") == set()
