"""Words: comments and docstrings in the field's terms, and lines of C that fit a page."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from kit.sources import PACKAGE, PROJECT, SOURCES, Source, make_sources

BETTER = {
    r"\bbehind\b": "after, following; behind is for proxies, and for who does not keep up",
    r"\bbreach(es)?\b": "violation",
    r"\bin vain\b": "for nothing",
    r"\blaid\b|\blays\b": "appended, formatted",
    r"\bwhat came\b(?! before| out)": "received",
    r"\bwhat is there\b": "available, installed",
}
"""Words that newcomers stumble over, and the field's."""

FINE = (
    r"\b(far|left|leaves( no half frame)?|is) behind\b"
    r"|\bbehind (a |the |another )?(\w+ )?(proxy|proxies|nginx|middleware)\b"
)
"""Where `behind` is meant."""

C_WIDTH = 100
GENERATED = "_frame.c"


def find_words(text: str) -> set[str]:
    """Return the words of a comment that have a better one."""
    rest = re.sub(FINE, "", " ".join(text.split()), flags=re.IGNORECASE)
    return {match.group().lower() for pattern in BETTER for match in re.finditer(pattern, rest, re.IGNORECASE)}


def prose_in(source: Source) -> Iterator[str]:
    """Yield the comments and docstrings."""
    yield from source.comments.values()
    yield from (str(node.value) for node in source.docstrings.values())


C_FILES = {
    str(path.relative_to(PROJECT)): path.read_text()
    for folder in (PACKAGE / "_core", PROJECT / "tests" / "sanitize")
    for path in sorted(folder.rglob("*.[ch]")) if path.name != GENERATED
}  # fmt: skip


def read_prose(name: str) -> str:
    """Return the comments of a module, or of a file in C."""
    found = prose_in(SOURCES[name]) if name in SOURCES else re.findall(r"/\*(.*?)\*/", C_FILES[name], re.DOTALL)
    return " ".join(found)


@pytest.mark.parametrize("name", [*SOURCES, *C_FILES])
def test_comments_speak_the_language_of_the_field(name: str) -> None:
    assert find_words(read_prose(name)) == set()


def test_odd_words_are_found() -> None:
    assert find_words("What came\nbehind the head was laid out in vain.") == {"what came", "behind", "laid", "in vain"}
    assert find_words("A server behind nginx, behind a reverse proxy; a handler that is too far behind.") == set()
    source = make_sources(a='"""A breach."""\n\nbehind = 1  # what is there\nname = "in vain"')["a"]
    assert {word for text in prose_in(source) for word in find_words(text)} == {"breach", "what is there"}


def find_wide(text: str) -> int:
    """Return how many lines are wider than C's may be."""
    return sum(len(line) > C_WIDTH for line in text.splitlines())


def test_lines_of_c_are_short() -> None:
    assert {name for name, text in C_FILES.items() if find_wide(text)} == set()


def test_wide_lines_are_found() -> None:
    assert C_FILES
    assert find_wide("x" * 100 + "\n" + "x" * 101 + "\n") == 1
