"""The head of an HTTP/1 request: where it ends, what it says, and what is wrong with it (RFC 9112 sections 2-6).

Nearly every head is plain: printable ASCII, CRLF after each line, one space after each colon, no field twice, no
transfer coding. `parse` reads only such heads, in one pass, and returns None for all others. The slow and lenient
parser of the standard library reads those, as in gevent.pywsgi. Then `check_framing` refuses heads that two servers on
one path could cut at different places, as this is how requests are smuggled.

The fast way needs no such check: a head that it accepts can be read in one way only.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from ..text import quoted
from .headers import TOKEN

share: Callable[[str], str] = str if sys.version_info[:2] == (3, 12) else sys.intern
"""Return one object for all equal strings; on Python 3.12, which never frees interned strings, the string itself."""

MAX_REQUEST_LINE = 8192
"""A request line of this many bytes, with its line end, is refused with 414, as in gevent.pywsgi."""

MAX_LINES = 100
"""The most lines of a head after the request line: with more it is refused with 400, as in the standard library."""

_PRINTABLE = bytes(range(0x20, 0x7F))
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)([^#]*)")  # RFC 9112 3.2.2

VERSION = re.compile(r"HTTP/[0-9]\.[0-9]")
"""A version of HTTP, as requests have it (RFC 9112 2.3)."""

HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+;=]*)(:[0-9]*)?")
"""A Host (RFC 9112 3.2, RFC 3986 3.2.2). Without a comma, which WSGI servers put between two of them."""

_keys: dict[str, str] = {}  # the environ's key for each field name that was seen
_MAX_KEYS = 1000  # names come from the network: they must not fill the memory

_COMMON = frozenset(
    "HTTP_" + name.upper().replace("-", "_")
    for name in ("Host", "Connection", "Upgrade", "Origin", "User-Agent", "Sec-WebSocket-Version", "Pragma", "Accept")
    + ("Sec-WebSocket-Extensions", "Accept-Encoding", "Accept-Language", "Cache-Control")
)
"""Fields that are the same in many requests, and have no secrets."""

_MAX_LINES = 1000  # how many lines are kept
_MAX_LINE = 300  # how many characters a line may have to be kept


class _Fields(dict[str, tuple[str, str]]):
    """The environ's key and the value for a plain line. Those of common fields are kept.

    So the next request finds them, and the environs of long connections share them.
    """

    def __missing__(self, line: str) -> tuple[str, str]:
        name, colon, value = line.partition(": ")
        key = _keys.get(name) or _find_key(name)
        if key is None or not colon or (key == "HTTP_HOST" and HOST.fullmatch(value) is None):
            raise ValueError("not a plain line")
        if key in _COMMON and len(line) <= _MAX_LINE:
            if len(self) >= _MAX_LINES:
                self.clear()
            self[line] = key, value
        return key, value


_fields = _Fields()


def parse(head: bytes, environ: dict[str, Any]) -> tuple[str, str, str] | None:
    """Put the fields of a plain head into a WSGI environ and return its method, target and version.

    Args:
        head: a whole head, from the request line to the empty line.
        environ: the dict that the fields are put into, as `HTTP_HOST` and so on; throw it away if None is returned.

    Returns:
        None for any head that is not plain, right or wrong.
    """
    text = head.decode("latin-1")
    lines = text.split("\r\n")
    if head.translate(None, _PRINTABLE) != b"\r\n" * (len(lines) - 1):
        return None
    words = lines[0].split(" ")
    if len(words) != 3 or len(lines) - 2 > MAX_LINES or " \r\n" in text or ":  " in text:
        return None
    size = len(environ)
    try:
        environ.update(map(_fields.__getitem__, lines[1:-2]))
    except ValueError:
        return None
    length = environ.get("CONTENT_LENGTH")
    if len(environ) != size + len(lines) - 3 or (length is not None and not (length.isdigit() and len(length) < 19)):
        return None
    method, target, version = words
    if version not in ("HTTP/1.1", "HTTP/1.0") or target[:1] != "/" or not (method.isalpha() and method.isupper()):
        return None
    return share(method), target, share(version)


def _find_key(name: str) -> str | None:
    """Return the environ's key for a field name, and remember it; None if the slow way has to read the head.

    That is for invalid names; for names with an underscore, which pywsgi drops as they could pass for names with a
    hyphen; and for fields that change how the request is read.
    """
    if TOKEN.fullmatch(name) is None or "_" in name or name.lower() in ("transfer-encoding", "expect"):
        return None
    key = name.upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = "HTTP_" + key
    if len(_keys) < _MAX_KEYS:
        _keys[name] = key
    return key


def find_fault(environ: dict[str, Any]) -> str | None:
    """Return what is wrong with a request's Host or path, which WSGI servers may not have checked; None if nothing."""
    host, path = environ.get("HTTP_HOST"), environ.get("PATH_INFO", "/")
    if not host:
        return "there is no Host"
    if not _is_host(host):
        return f"the Host {quoted(host)} is not valid, or there are two"
    if path[:1] != "/" and path:
        return f"the path {quoted(path)} does not begin with a slash"
    return None


@functools.lru_cache(maxsize=256)
def _is_host(value: str) -> bool:
    return HOST.fullmatch(value) is not None


def check_request_line(line: str) -> None:
    """Refuse a wrong request line that the standard library would accept, because of the way it splits the line.

    Raises:
        ValueError: why it must be answered with 400 (RFC 9112 2.3, 3).
    """
    words = line.rstrip("\r\n").split(" ")
    if any(not 0x20 < ord(character) != 0x7F for character in "".join(words)):
        raise ValueError(f"a control character in the request line {line!r}")
    words = [word for word in words if word]
    if len(words) == 3 and VERSION.fullmatch(words[2]) is None:
        raise ValueError(f"not a version of HTTP: {words[2]!r}")


def read_target(target: str, method: str) -> tuple[str, str | None]:
    """Return the path and query of a request's target, and its host if it has one (RFC 9112 3.2).

    Raises:
        ValueError: no origin server has such a target: answer 400.
    """
    if target.startswith("/") or (target == "*" and method == "OPTIONS"):
        return target, None
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not match[1] or HOST.fullmatch(match[1]) is None:
        raise ValueError(f"not a target for {method!r}: {target!r}")
    return match[2] if match[2].startswith("/") else "/" + match[2], match[1]


def check_framing(head: bytes, fields: Iterable[tuple[str, str]], version: str) -> None:
    """Refuse a head that the standard library accepts, but that other servers on the path may read differently.

    Args:
        head: the whole head.
        fields: its fields as the standard library read them.
        version: "HTTP/1.1" or another one.

    Raises:
        ValueError: why the request must be answered with 400 (RFC 9112 2.2, 3.2, 5.1, 5.2, 6.1, 6.3).
    """
    if b"\r" in head.replace(b"\r\n", b"\n") or b"\0" in head:
        raise ValueError("a bare CR or a NUL in the head")
    if b"\r\n" in head and head.count(b"\n") != head.count(b"\r\n"):
        raise ValueError("line ends of two kinds in the head")
    lines = head.split(b"\n")[1:-2]
    lengths, codings, hosts, count = set(), [], [], 0
    for count, (name, value) in enumerate(fields, 1):  # noqa: B007 (the count is used below)
        if TOKEN.fullmatch(name) is None:
            raise ValueError(f"not a field name: {name!r}")
        if name.lower() == "content-length":
            lengths.add(value.strip(" \t"))
        elif name.lower() == "transfer-encoding":
            codings.append(value.strip(" \t").lower())
        elif name.lower() == "host":
            hosts.append(value.strip(" \t"))
    if count != len(lines):
        raise ValueError("a line that is no field, or a folded one")
    if len(hosts) > 1 or not all(map(HOST.fullmatch, hosts)):
        raise ValueError(f"Host {hosts!r}")
    if codings and (codings != ["chunked"] or lengths or version != "HTTP/1.1"):
        raise ValueError(f"Transfer-Encoding {codings!r} beside Content-Length {lengths!r} in {version}")
    if len(lengths) > 1 or not all(length.isascii() and length.isdigit() for length in lengths):
        raise ValueError(f"Content-Length {lengths!r}")
