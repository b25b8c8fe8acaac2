"""Headers: where a head ends, the grammar of the handshake's headers, and what may be sent. No I/O.

The lists of RFC 6455 have only tokens: a value in quotes must be a token, too (section 9.1). So commas, semicolons and
equals signs are always separators, never data, and `str.split` takes a header apart. Each piece is read once, so the
work is linear in the length of any header.

These are functions without state. They raise only `ValueError`, whose text shows the header through `quoted`, without
control characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from ..text import quoted

Parameters: TypeAlias = list[tuple[str, "str | None"]]
"""The parameters of one extension: a name, and a value or None, in the order of the header."""

HeaderList: TypeAlias = list[tuple[str, str]]

_OWS = " \t"  # RFC 7230 3.2.3
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 5.6.2
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 7230 3.2, without obs-fold
_QUOTED_PAIR = re.compile(r"\\(.)")  # RFC 7230 3.2.6


def find_end(data: bytes | bytearray, start: int = 0) -> int:
    """Return the index after the empty line that ends a head, or -1; `data` before `start` was searched already.

    RFC 9112 2.2: "a recipient MAY recognize a single LF as a line terminator". The client refuses such a head.
    """
    if data.startswith((b"\r\n", b"\n")):
        return data.index(b"\n") + 1  # its first line is empty, for which it is refused
    start = max(0, start - 2)
    bare, end = data.find(b"\n\n", start), data.find(b"\n\r\n", start)
    if bare >= 0 and not 0 <= end < bare:
        return bare + 2
    return end + 3 if end >= 0 else -1


def is_token(value: str) -> bool:
    """Tell whether `value` is a token (RFC 7230 3.2.6)."""
    return TOKEN.fullmatch(value) is not None


def has_token(value: str, token: str) -> bool:
    """Tell whether the comma-separated `value` has the `token` (given in lower case), in any case."""
    lowered = value.lower()
    return lowered == token or token in [part.strip(_OWS) for part in lowered.split(",")]


def parse_tokens(value: str) -> list[str]:
    """Return the tokens of a comma-separated list (`#token`, RFC 7230 7), which may have empty elements.

    Raises:
        ValueError: an element is not a token.
    """
    return [_token(part) for part in _elements(value)]


def build_tokens(tokens: Sequence[str]) -> str:
    """Return the value of a header that lists `tokens`.

    Raises:
        ValueError: one of them is not a token, or is given twice.
    """
    if len(set(tokens)) != len(tokens):
        raise ValueError(f"{quoted(', '.join(tokens))} holds a token twice")
    return ", ".join([_token(token) for token in tokens])


def parse_extensions(value: str) -> list[tuple[str, Parameters]]:
    """Return the extensions of a Sec-WebSocket-Extensions header: names and their parameters (RFC 6455 9.1).

    A parameter without a value has the value None; a quoted value comes without its quotes. The list may have
    empty elements, an extension may not have empty parameters.

    Raises:
        ValueError: the header does not follow the grammar.
    """
    return [_parse_extension(part) for part in _elements(value)]


def build_extensions(extensions: Iterable[tuple[str, Sequence[tuple[str, str | None]]]]) -> str:
    """Return the value of a Sec-WebSocket-Extensions header, as `parse_extensions` reads it.

    Raises:
        ValueError: a name or a value is not a token.
    """
    return ", ".join([_build_extension(name, parameters) for name, parameters in extensions])


def check_headers(headers: Iterable[tuple[str, str]]) -> None:
    """Check that headers can be sent as they are: nothing in them ends a line (RFC 7230 3.2).

    Raises:
        ValueError: a name is not a token, or a value is not Latin-1 or has a control character other than a tab.
    """
    for name, value in headers:
        if not is_token(name):
            raise ValueError(f"{quoted(name)} cannot be the name of a header")
        if _FIELD_VALUE.fullmatch(value) is None:
            raise ValueError(f"the header {name} cannot have the value {quoted(value)}")


def join_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers as a dict, names in lower case; repeated ones become one list (RFC 7230 3.2.2)."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value.strip(_OWS))
    return {name: ", ".join(parts) for name, parts in values.items()}


def _elements(value: str) -> list[str]:
    return [element for part in value.split(",") if (element := part.strip(_OWS))]


def _parse_extension(text: str) -> tuple[str, Parameters]:
    name, *parameters = text.split(";")
    return _token(name.strip(_OWS)), [_parse_parameter(parameter) for parameter in parameters]


def _parse_parameter(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return _token(name.strip(_OWS)), _unquote(value.strip(_OWS)) if equals else None


def _unquote(value: str) -> str:
    """Return a parameter's value without its quotes; RFC 6455 9.1 asks that a token remain."""
    if value[:1] == value[-1:] == '"':
        value = _QUOTED_PAIR.sub(r"\1", value[1:-1])
    return _token(value)


def _build_extension(name: str, parameters: Sequence[tuple[str, str | None]]) -> str:
    parts = [_token(name)]
    for parameter, value in parameters:
        parts.append(_token(parameter) if value is None else f"{_token(parameter)}={_token(value)}")
    return "; ".join(parts)


def _token(value: str) -> str:
    if TOKEN.fullmatch(value) is None:
        raise ValueError(f"{quoted(value)} is not a token")
    return value
