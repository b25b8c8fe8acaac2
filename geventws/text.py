"""Other people's text, as our error messages and log lines show it.

A path with %0a in it would end a log line and begin another one; with %1b it could move the cursor of the terminal that
shows the log. So such text goes through one of these functions, which return one line of printable characters, of
bounded length. The text itself stays as it is, in an attribute.

    one_line    a whole message, or the last part of one
    quoted      a part of a message, in quotes
    one_word    a part between spaces, such as a path or an address; in quotes if it has unusual characters
    between_quotes  a part that is in double quotes already: a request line in an access log

They take any `str` and never fail. They change harmless text only by shortening it.
"""

from __future__ import annotations

import re

PART = 80
"""How many characters of a text `quoted` shows."""

WORD = 200
"""How many characters `one_word` shows: paths and addresses are longer than most quoted text."""

LINE = 1000
"""How many characters `one_line` shows: more than any message of ours has with all its parts."""

_WORD = re.compile(r"[!#-&(-\[\]-~]*")  # printable ASCII without the space, the quotes and the backslash


def one_line(text: str, limit: int = LINE) -> str:
    """Return `text` shortened to `limit` characters. Those that are not printable are escaped as Python does."""
    if len(text) > limit:
        text = text[:limit] + "..."
    return text if text.isprintable() else "".join([_spell(character) for character in text])


def quoted(text: str, limit: int = PART) -> str:
    """Return `text` in quotes, shortened to `limit` characters, in ASCII."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")


def one_word(text: str) -> str:
    """Return `text` as it is if it is one short word of ASCII, otherwise quoted."""
    return text if len(text) <= WORD and _WORD.fullmatch(text) else quoted(text, WORD)


def between_quotes(text: str, limit: int) -> str:
    """Return `text` shortened to `limit` characters, escaped so that it cannot end a pair of double quotes."""
    return one_line(text.replace("\\", r"\\").replace('"', r"\""), limit)


def _spell(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]
