"""The head of an HTTP/1 request: where it ends, what it says, and what is wrong with it (RFC 9112 sections 2-6).

Nearly every head is plain: printable ASCII, CRLF after each line, no field twice, no transfer coding. `parse` reads
just those, in one pass without a regular expression for the fields, and answers None to everything else. What it
leaves is read by the slow and lenient parser of the standard library, as gevent.pywsgi does, after which
`check_framing` refuses the heads that two servers on one path could cut at different places: the stuff that request
smuggling is made of.

So the fast way need not judge anything: what it takes has only one reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MAX_REQUEST_LINE = 8192
"""Bytes of a request line with its line end: at this length it is refused with 414, as gevent.pywsgi does."""

MAX_LINES = 100
"""Lines of a head without the request line: one more is refused with 400, as the standard library does."""

_PLAIN_BYTES = b"\t\r\n" + bytes(range(0x20, 0x7F))
_REQUEST_LINE = re.compile(r"([A-Z]+) ([!-~]+) (HTTP/1\.[01])")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 5.6.2
_EMPTY_LINE = re.compile(rb"\n\r?\n")

# How a field's name stands in the environ. Other fields are known under three kinds of nothing:
_DROPPED = ""  # an underscore could pass for a hyphen, so pywsgi drops the field
_SPECIAL = "?"  # the field changes how the request is read: left to the slow way
_names: dict[str, str] = {}
_MAX_NAMES = 1000  # names come from the network, and may not fill the memory


def find_end(data: bytes | bytearray, start: int = 0) -> int:
    """Return the index behind the empty line that ends a head, or -1; what is before `start` has been searched."""
    if data[:1] in (b"\n", b"\r"):
        return 1  # a request that begins with an empty line is refused for its request line
    match = _EMPTY_LINE.search(data, max(0, start - 2))
    return match.end() if match else -1


def parse(head: bytes, environ: dict[str, Any]) -> tuple[str, str, str] | None:
    """Put the fields of a plain head into a WSGI environ and return its method, target and version.

    Args:
        head: a whole head, from the request line to the empty line.
        environ: where the fields go, as `HTTP_HOST` and so on; may hold some of them when None is returned.

    Returns:
        None for any head that is not plain, right or wrong.
    """
    if head.translate(None, _PLAIN_BYTES):
        return None
    text = head.decode("ascii")
    lines = text.split("\r\n")
    breaks = len(lines) - 1
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None or breaks > MAX_LINES + 1 or text.count("\n") != breaks or text.count("\r") != breaks:
        return None
    del lines[0], lines[-2:]
    for line in lines:
        name, colon, value = line.partition(":")
        key = _names.get(name)
        if key is None:
            key = _environ_key(name)
        stripped = value.strip()
        if not colon or key == _SPECIAL or key in environ or value[len(value) - 1 :].isspace():
            return None
        if key:
            environ[key] = stripped
    method, target, version = match.groups()
    length = environ.get("CONTENT_LENGTH")
    if length is not None and not (length.isdigit() and len(length) < 19):
        return None
    return method, target, version


def _environ_key(name: str) -> str:
    """Return the environ's key for a field name, and remember it."""
    if _TOKEN.fullmatch(name) is None or name.lower() in ("transfer-encoding", "expect"):
        return _SPECIAL
    key = name.upper().replace("-", "_")
    if "_" in name:
        key = _DROPPED
    elif key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = "HTTP_" + key
    if len(_names) < _MAX_NAMES:
        _names[name] = key
    return key


def check_framing(head: bytes, fields: Iterable[tuple[str, str]], version: str) -> None:
    """Refuse a head that the standard library reads and that other servers on the path may read otherwise.

    Args:
        head: the whole head.
        fields: its fields as the standard library read them.
        version: "HTTP/1.1" or another one.

    Raises:
        ValueError: why the request must be answered with 400 (RFC 9112 2.2, 5.1, 5.2, 6.1, 6.3).
    """
    if b"\r" in head.replace(b"\r\n", b"\n") or b"\0" in head:
        raise ValueError("a bare CR or a NUL in the head")
    lines = head.split(b"\n")[1:-2]
    lengths, codings, count = set(), [], 0
    for count, (name, value) in enumerate(fields, 1):  # noqa: B007 (the count is used below)
        if _TOKEN.fullmatch(name) is None:
            raise ValueError(f"not a field name: {name!r}")
        if name.lower() == "content-length":
            lengths.add(value.strip(" \t"))
        elif name.lower() == "transfer-encoding":
            codings.append(value.strip(" \t").lower())
    if count != len(lines):
        raise ValueError("a line that is no field, or a folded one")
    if codings and (codings != ["chunked"] or lengths or version != "HTTP/1.1"):
        raise ValueError(f"Transfer-Encoding {codings!r} beside Content-Length {lengths!r} in {version}")
    if len(lengths) > 1 or not all(length.isascii() and length.isdigit() for length in lengths):
        raise ValueError(f"Content-Length {lengths!r}")
