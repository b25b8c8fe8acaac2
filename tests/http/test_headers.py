"""headers.py: the grammar of the handshake's headers, on literal text."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from geventws.http import headers
from geventws.http.headers import (
    build_extensions,
    build_tokens,
    check_headers,
    has_token,
    is_token,
    join_headers,
    parse_extensions,
    parse_tokens,
)
from geventws.text import quoted

SEPARATORS = '()<>@,;:\\"/[]?={} \t'  # RFC 2616 2.2
CONTROLS = "".join(map(chr, [*range(32), 127]))


def test_every_character_that_a_token_may_have() -> None:
    allowed = {chr(code) for code in range(256) if is_token(chr(code))}
    assert allowed == {chr(code) for code in range(33, 127)} - set(SEPARATORS)


@pytest.mark.parametrize("value", ["", " ", "a b", "a\n", "a\r\n", "\na", "é", "a\u212a", "a,b", '"a"'])
def test_not_a_token(value: str) -> None:
    assert not is_token(value)


@pytest.mark.parametrize(
    "value",
    ["Upgrade", "UPGRADE", "keep-alive, Upgrade", "keep-alive,Upgrade", " upgrade\t,close", ",,upgrade,"],
)
def test_has_token(value: str) -> None:
    assert has_token(value, "upgrade")


@pytest.mark.parametrize("value", ["", ",", "notupgrade", "upgrade-x", "upgrade;q=1", "up grade", '"x"'])
def test_has_not_the_token(value: str) -> None:
    assert not has_token(value, "upgrade")


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ("chat", ["chat"]),
        ("chat, superchat", ["chat", "superchat"]),
        ("chat,superchat", ["chat", "superchat"]),
        (" \tchat\t , superchat ", ["chat", "superchat"]),
        (",, chat ,\t,superchat,", ["chat", "superchat"]),
        ("Chat, chat, chat", ["Chat", "chat", "chat"]),
        ("v1.json, a!#$%&'*+-.^_`|~", ["v1.json", "a!#$%&'*+-.^_`|~"]),
        ("", []),
        (" , ,", []),
    ],
)
def test_parse_tokens(value: str, tokens: list[str]) -> None:
    assert parse_tokens(value) == tokens


@pytest.mark.parametrize("separator", sorted(set(SEPARATORS + CONTROLS) - set(", \t")))
def test_parse_tokens_refuses_each_separator_and_control(separator: str) -> None:
    with pytest.raises(ValueError, match="is not a token") as caught:
        parse_tokens(f"fine, a{separator}b")
    assert str(caught.value) == f"{quoted(f'a{separator}b')} is not a token"


@pytest.mark.parametrize("value", ["a b", "a,\r\n b", "caf\xe9", '"chat"', "a;b"])
def test_parse_tokens_refuses(value: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        parse_tokens(value)


def test_build_tokens_is_what_parse_tokens_takes_apart() -> None:
    assert build_tokens(["a", "b"]) == "a, b"
    assert parse_tokens(build_tokens(["a", "b"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        (["a", "b", "a"], "'a, b, a' holds a token twice"),
        (["a", "b\r\nX: y"], "'b\\r\\nX: y' is not a token"),
        (["a, b"], "'a, b' is not a token"),
        ([""], "'' is not a token"),
    ],
)
def test_build_tokens_refuses(tokens: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        build_tokens(tokens)


# RFC 6455 9.1, with the examples of RFC 6455 9.1 and RFC 7692 7.1.3


@pytest.mark.parametrize(
    ("value", "extensions"),
    [
        ("", []),
        (" ,\t,", []),
        ("foo", [("foo", [])]),
        ("foo, bar; baz=2", [("foo", []), ("bar", [("baz", "2")])]),
        ("foo,bar;baz=2", [("foo", []), ("bar", [("baz", "2")])]),
        ("bar ; baz = 2 ,foo,,", [("bar", [("baz", "2")]), ("foo", [])]),
        ("deflate-stream", [("deflate-stream", [])]),
        ("mux; max-channels=4; flow-control, deflate-stream",
         [("mux", [("max-channels", "4"), ("flow-control", None)]), ("deflate-stream", [])]),
        ('private-extension; value="quoted"', [("private-extension", [("value", "quoted")])]),
        ('a; b="\\c\\d"', [("a", [("b", "cd")])]),
        ('a;\tb\t=\t"c"\t', [("a", [("b", "c")])]),
        ("permessage-deflate; client_max_window_bits; server_max_window_bits=10",
         [("permessage-deflate", [("client_max_window_bits", None), ("server_max_window_bits", "10")])]),
        ("a; b=1; b=2, a", [("a", [("b", "1"), ("b", "2")]), ("a", [])]),
        ("Foo; Bar=Baz", [("Foo", [("Bar", "Baz")])]),
    ],
)  # fmt: skip
def test_parse_extensions(value: str, extensions: list[Any]) -> None:
    assert parse_extensions(value) == extensions


@pytest.mark.parametrize(
    "value",
    [
        ";",
        "; a",
        "foo;",
        "foo;;bar",
        "foo; =1",
        "foo; a=",
        "foo; a==1",
        "foo; a=b c",
        "foo bar",
        "foo=1",
        'foo; a="',
        'foo; a=""',
        'foo; a="b',
        'foo; a=b"',
        'foo; a="b""c"',
        'foo; a="b" "c"',
        'foo; a="b, c"',
        'foo; a="b\\, c"',
        'foo; a="b; c"',
        'foo; a="b c"',
        'foo; a="b\\"c"',
        'foo; a="b\\"',
        'foo; a="b\\\\"',
        'foo; a="\\\n"',
        "foo; a='b\"",
        '"foo"',
        'foo; "a"=1',
        "foo; a=\xe9",
        "foo\r\n bar",
        "foo,\r\n bar",
        "foo; a=\x00",
    ],
)
def test_parse_extensions_refuses(value: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        parse_extensions(value)


def test_build_extensions_is_what_parse_extensions_takes_apart() -> None:
    value = "foo, bar; baz=2; flag"
    extensions: list[Any] = [("foo", []), ("bar", [("baz", "2"), ("flag", None)])]
    assert build_extensions(extensions) == value
    assert parse_extensions(value) == extensions
    assert build_extensions([]) == ""


@pytest.mark.parametrize(
    "extension",
    [("a\r\nX: y", []), ("a", [("b\n", None)]), ("a", [("b", "c\r\n")]), ("a", [("b", "")]), ("a, b", [])],
)
def test_build_extensions_refuses(extension: Any) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        build_extensions([extension])


def test_check_headers_lets_latin_1_and_tabs_pass() -> None:
    check_headers([("X-Name", "caf\xe9\tau lait"), ("Empty", "")])


@pytest.mark.parametrize("character", [*CONTROLS.replace("\t", ""), "\u0100", "\u010a"])
def test_check_headers_refuses_controls_and_what_is_not_latin_1(character: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_headers([("X-Name", f"a{character}b")])
    assert str(caught.value) == f"the header X-Name cannot have the value {quoted(f'a{character}b')}"


@pytest.mark.parametrize("name", ["", "A B", "A:", "A\r\nB", "\xe9"])
def test_check_headers_refuses_the_name(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_headers([(name, "fine")])
    assert str(caught.value) == f"{quoted(name)} cannot be the name of a header"


def test_join_headers() -> None:
    pairs = [("Connection", "keep-alive"), ("X", " 1\t"), ("CONNECTION", "Upgrade"), ("x", "")]
    assert join_headers(pairs) == {"connection": "keep-alive, Upgrade", "x": "1, "}


# 64 KiB of anything: work is counted, not timed. It is the number of calls, and the number of characters that
# the patterns see; each of them is one character class, so that a match costs what it is long.

SIZE = 64 * 1024
HOSTILE = ["a", ",", "a,", " ", "\t,", ";", "a;", "a;b,", "=", "a=", "a;b=", '"', 'a;b="', "\\", 'a;b="\\']
HOSTILE += ["a;b=\\c,", 'a;b="c",', "\x00", "\xff", " a ", ' "', "permessage-deflate,"]


class CountingPattern:
    """A compiled pattern that adds up the lengths of what it is asked to look at."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern
        self.characters = 0

    def fullmatch(self, value: str) -> re.Match[str] | None:
        self.characters += len(value)
        return self.pattern.fullmatch(value)

    def sub(self, replacement: str, value: str) -> str:
        self.characters += len(value)
        return self.pattern.sub(replacement, value)


def count_calls(function: Callable[[str], object], value: str) -> int:
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(value)
    except ValueError:
        pass
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("function", [parse_tokens, parse_extensions, lambda value: has_token(value, "x")])
@pytest.mark.parametrize("piece", HOSTILE)
def test_work_is_linear(
    function: Callable[[str], object], piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns = [CountingPattern(headers.TOKEN), CountingPattern(headers._QUOTED_PAIR)]
    monkeypatch.setattr(headers, "TOKEN", patterns[0])
    monkeypatch.setattr(headers, "_QUOTED_PAIR", patterns[1])
    value = (piece * SIZE)[:SIZE]
    assert count_calls(function, value) <= 8 * (SIZE + 4)
    assert sum(pattern.characters for pattern in patterns) <= 2 * SIZE


@pytest.mark.parametrize("name", ["TOKEN", "_FIELD_VALUE"])
def test_patterns_are_one_character_class(name: str) -> None:
    pattern: re.Pattern[str] = getattr(headers, name)
    assert re.fullmatch(r"\[(\\.|[^\]])+\][+*]", pattern.pattern)
