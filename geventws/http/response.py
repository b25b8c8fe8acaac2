"""The answers of HTTP servers and proxies, as a client reads them (RFC 9112 sections 4 to 7). No I/O.

They are read strictly: an answer that two clients could read in two ways is refused. Servers that speak WebSocket do
not need the leniency that old web servers once needed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..text import quoted
from .headers import HeaderList, check_headers, join_headers

MAX_HEAD = 64 * 1024
"""The most bytes of an answer's head, interim answers included."""

MAX_BODY = 64 * 1024
"""The most bytes of an answer's body that are kept."""

MAX_CHUNKED = 8 * MAX_BODY
"""The most bytes of a chunked body that are read, including those around the chunks: six for a chunk of one byte."""

TLS_RECORDS = (0x14, 0x15, 0x16, 0x17)
"""The first byte of an answer in TLS (RFC 8446 5.1)."""

_BEGINNING = b"HTTP/1."
# The reason phrase is ignored. A status of 600 to 999 counts as 5xx (RFC 9110 15).
_STATUS_LINE = re.compile(r"(HTTP/1\.[01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_IMPOSSIBLE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # RFC 9112 2.2
_CHUNK_SIZE = re.compile(rb"(?:\r\n)?([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")  # after the last one's line end


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


def check(data: bytes | bytearray, start: int = 0) -> None:
    """Check the part of a head that was received so far, to waste no time on something that is not a head.

    Args:
        data: the bytes received so far.
        start: how many of them were checked already.

    Raises:
        ValueError: it will never be the head of an HTTP/1 answer.
    """
    if not data:
        return
    if data[0] in TLS_RECORDS:
        raise ValueError("it is TLS, for which the URI must begin with wss://")
    if data[: len(_BEGINNING)] != _BEGINNING[: len(data)]:
        raise ValueError(f"{quoted(_first_line(data))} is not the status line of HTTP/1.1")
    if _IMPOSSIBLE.search(data, max(0, start - 1)) is not None:
        raise ValueError("a line ends in something else than CR LF, or there is a control character in one")


def _first_line(data: bytes | bytearray) -> str:
    """Return a part of the first line, for messages."""
    return bytes(data[:100]).split(b"\n")[0].rstrip(b"\r").decode("latin-1")


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


class Body:
    """The body of an answer, as it is received (RFC 9112 6.3 and 7.1).

    Attributes:
        data: the bytes of the body so far, without those around the chunks; at most MAX_BODY bytes.
        ended: whether no more of it is wanted: it is complete, at a limit, or malformed.
    """

    def __init__(self, response: Response) -> None:
        self.data: bytearray = bytearray()
        self._chunked = _is_chunked(response)  # whether it comes in chunks
        self._size = _body_size(response)  # the most bytes that it may have
        self._taken = 0  # how many bytes were read, including those around the chunks
        self._line = bytearray()  # a part of the line in front of a chunk
        self._left = 0  # how many bytes of the chunk are still to come
        self.ended: bool = self._size == 0

    def feed(self, data: bytes) -> None:
        """Take more bytes; those after the end are dropped."""
        if self.ended:
            return
        self._taken += len(data)
        if self._chunked:
            self._feed_chunks(data)
        else:
            self.data += data
        del self.data[self._size :]
        self.ended = self.ended or len(self.data) == self._size or self._taken >= MAX_CHUNKED

    def _feed_chunks(self, data: bytes) -> None:
        self._line += data
        if self._left == 0 and b"\n" not in data:
            return  # or each byte of a long line would cost as much as the line
        data, at = bytes(self._line), 0
        while at < len(data) and not self.ended:
            if self._left == 0:
                match = _CHUNK_SIZE.match(data, at)
                if match is None:
                    self.ended = data.find(b"\n", at + 2 * data.startswith(b"\r\n", at)) >= 0  # not a chunk's size
                    break
                at, self._left = match.end(), int(match[1], 16)
                self.ended = self._left == 0
            part = data[at : at + self._left]
            self.data += part
            self._left -= len(part)
            at += len(part)
        self._line = bytearray(data[at:])


def _body_size(response: Response) -> int:
    """Return how many bytes the body has, at most MAX_BODY; MAX_BODY if that is not known.

    Some statuses have no body, whatever the headers say (RFC 9112 6.3, items 1 and 2).
    """
    if response.status < 200 or response.status in (204, 304):
        return 0
    values = join_headers(response.headers)
    length = values.get("content-length", "")
    if "transfer-encoding" in values or not (length.isascii() and length.isdigit()) or len(length) > 9:
        return MAX_BODY
    return min(int(length), MAX_BODY)


def _is_chunked(response: Response) -> bool:
    return join_headers(response.headers).get("transfer-encoding", "").lower() == "chunked"
