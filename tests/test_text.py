"""text.py: what may be shown of a text that somebody else wrote."""

from __future__ import annotations

import sys

import pytest

from geventws.text import LINE, PART, WORD, between_quotes, one_line, one_word, quoted

EVERYTHING = "".join(map(chr, range(sys.maxunicode + 1)))


def test_one_line_leaves_what_is_printable() -> None:
    for text in ("", "a 'b' \"c\" \\n", "caf\xe9 \u6f22\u5b57 \U0001f600", "x" * LINE):
        assert one_line(text) is text


def test_one_line_spells_out_all_else() -> None:
    assert one_line("a\r\nb\tc\x00\x1b\x7f\x85") == r"a\r\nb\tc\x00\x1b\x7f\x85"
    assert one_line("\u2028\u202e\ufeff\udc80\U000e0001") == r"\u2028\u202e\ufeff\udc80\U000e0001"
    shown = one_line(EVERYTHING, len(EVERYTHING))
    assert shown.isprintable() and len(shown.splitlines()) == 1
    assert one_line(shown, len(shown)) == shown


def test_one_line_is_short() -> None:
    assert one_line("x" * (LINE + 1)) == "x" * LINE + "..."
    assert one_line("abc\n", 3) == "abc..."
    assert len(one_line("\U000e0001" * 1_000_000)) == 10 * LINE + 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a", "'a'"),
        ("a\r\nSet-Cookie: b\x00\x1b", "'a\\r\\nSet-Cookie: b\\x00\\x1b'"),
        ("caf\xe9\u2028", "'caf\\xe9\\u2028'"),
        ("x" * PART, f"'{'x' * PART}'"),
        ("x" * (PART + 1), f"'{'x' * PART}...'"),
        ("it's", '"it\'s"'),
    ],
)
def test_quoted(text: str, shown: str) -> None:
    assert quoted(text) == shown


@pytest.mark.parametrize("text", ["", "/", "/a%20b", "::1", "ws://127.0.0.1:80/a?b", "/" * WORD])
def test_one_word_leaves_a_word(text: str) -> None:
    assert one_word(text) is text


@pytest.mark.parametrize("text", ["/a b", "/a'b", '/"', "/\\n", "/\n", "/\x1b", "/caf\xe9", "/" * (WORD + 1)])
def test_one_word_quotes_all_else(text: str) -> None:
    assert one_word(text) == quoted(text, WORD)


def test_between_quotes_nothing_ends_the_quotes() -> None:
    assert between_quotes('GET /" 200 1 "\\', 100) == r"GET /\" 200 1 \"\\"
    assert between_quotes("a\nb", 100) == r"a\nb"
    assert between_quotes("abc", 2) == "ab..."
