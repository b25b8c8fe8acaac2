"""The answers of HTTP servers and proxies, as a client reads them (RFC 9112 sections 4 to 7). No I/O.

Strict: an answer that two readers could take for different things is none. Whoever speaks WebSocket has no need of
the leniency that old web servers once asked for.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .headers import HeaderList, check_headers, join_headers, quoted

MAX_HEAD = 64 * 1024
"""Bytes of an answer's head, interim answers included."""

MAX_BODY = 64 * 1024
"""Bytes of an answer's body that are kept."""

_STATUS_LINE = re.compile(r"(HTTP/1\.[01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")  # the reason says nothing
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")


class Response(NamedTuple):
    """The head of an answer.

    Attributes:
        version: "HTTP/1.0" or "HTTP/1.1".
        status: the status.
        headers: the headers, as pairs.
    """

    version: str
    status: int
    headers: HeaderList

    @property
    def interim(self) -> bool:
        """Whether another answer follows (RFC 9110 15.2)."""
        return self.status < 200 and self.status != 101


def find_end(data: bytes | bytearray, start: int = 0) -> int:
    """Return the index behind the empty line that ends a head, or -1; what is before `start` has been searched."""
    end = data.find(b"\r\n\r\n", max(0, start - 3))
    return end + 4 if end >= 0 else -1


def parse(head: bytes) -> Response:
    """Read a head, from its status line to its empty line.

    Raises:
        ValueError: it is not the head of an HTTP/1 answer.
    """
    lines = head.decode("latin-1").split("\r\n")[:-2]
    match = _STATUS_LINE.fullmatch(lines[0] if lines else "")
    if match is None:
        raise ValueError(f"{quoted(lines[0] if lines else '')} is not the status line of HTTP/1.1")
    headers = [_parse_field(line) for line in lines[1:]]
    check_headers(headers)
    return Response(match[1], int(match[2]), headers)


def _parse_field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ValueError(f"the line {quoted(line)} is no header")
    return name, value.strip(" \t")


def body_size(response: Response) -> int | None:
    """Return the bytes of the body as it is transferred, at most MAX_BODY; None where only the end of it tells.

    Some statuses have no body, whatever the headers say (RFC 9112 6.3, items 1 and 2).
    """
    if response.status < 200 or response.status in (204, 304):
        return 0
    values = join_headers(response.headers)
    if "transfer-encoding" in values:
        return None
    length = values.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return None
    return MAX_BODY if len(length) > 9 else min(int(length), MAX_BODY)


def is_chunked(response: Response) -> bool:
    """Tell whether the body comes in chunks."""
    return join_headers(response.headers).get("transfer-encoding", "").lower() == "chunked"


def join_chunks(data: bytes) -> tuple[bytes, bool]:
    """Return what has come of a chunked body (RFC 9112 7.1), and whether that is all of it."""
    parts: list[bytes] = []
    at = 0
    while match := _CHUNK_SIZE.match(data, at):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(parts), True
        parts.append(data[match.end() : match.end() + size])
        at = match.end() + size + 2
    return b"".join(parts), False
