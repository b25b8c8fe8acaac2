"""What somebody else wrote, as our own messages, log lines and names of things show it.

A path with %0a in it would end a log line and begin one of its own; with %1b it would move the cursor of whoever reads
the log. So such text is shown through one of these functions, which leave one line of printable characters, and of
bounded length. The text itself stays where it is, in an attribute.

    one_line    a whole message, or the last part of one
    quoted      a part of a message, in quotes
    one_word    a part that stands between spaces: a path, an address; in quotes where it is anything odd
    between_quotes  a part that stands between double quotes already: a request line in an access log

They take any `str`, change nothing that is harmless but for its length, and never fail.
"""

from __future__ import annotations

import re

PART = 80
"""Characters of a text that `quoted` shows."""

WORD = 200
"""Characters of a text that `one_word` shows: paths and addresses are longer than most that is quoted."""

LINE = 1000
"""Characters of a text that `one_line` shows; a message of ours with all its parts is shorter."""

_WORD = re.compile(r"[!#-&(-\[\]-~]*")  # printable ASCII without the space, the quotes and the backslash


def one_line(text: str, limit: int = LINE) -> str:
    """Return `text` shortened to `limit` characters, with those that are not printable spelled out as Python does."""
    if len(text) > limit:
        text = text[:limit] + "..."
    return text if text.isprintable() else "".join([_spell(character) for character in text])


def quoted(text: str, limit: int = PART) -> str:
    """Return `text` in quotes, shortened to `limit` characters, in ASCII."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")


def one_word(text: str) -> str:
    """Return `text` as it is where that is one short word of ASCII, otherwise quoted."""
    return text if len(text) <= WORD and _WORD.fullmatch(text) else quoted(text, WORD)


def between_quotes(text: str, limit: int) -> str:
    """Return `text` shortened to `limit` characters, escaped so that it cannot end a pair of double quotes."""
    return one_line(text.replace("\\", r"\\").replace('"', r"\""), limit)


def _spell(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]
