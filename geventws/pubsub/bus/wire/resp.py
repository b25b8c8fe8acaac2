"""RESP2, the protocol of Redis, as far as the bus uses it: commands out, replies in. No I/O.

The reader is hiredis's if that is installed; otherwise it is the slower one here, which does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

hiredis: Any
try:
    import hiredis
except ImportError:
    hiredis = None

if TYPE_CHECKING:
    from collections.abc import Generator

NOTHING = object()
"""Returned by `gets` if no complete reply has been received."""

MOST_BYTES = 512 * 1024 * 1024
"""Bytes of one string at most; Redis sends no larger ones."""

MOST_DEPTH = 8
"""How deep arrays may be nested."""


class Refusal(Exception):
    """An error reply from Redis. Its text begins with a code, in capitals."""

    @property
    def code(self) -> str:
        """The code, such as `OOM` or `NOSCRIPT`."""
        return str(self).partition(" ")[0]


class BadReply(Exception):
    """The received bytes are not RESP2."""


def pack(*words: bytes) -> bytes:
    """Return the bytes of a command."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


class Reader:
    """A reader with hiredis's interface: bytes in, replies out.

    A reply is bytes, int, None, a list of replies, or a `Refusal`.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()  # received bytes that are not read yet
        self._reading = self._read(0)  # reads the current reply

    def feed(self, data: bytes) -> None:
        """Take received bytes."""
        self._buffer += data

    def gets(self) -> Any:
        """Return the next reply, or NOTHING if it is not complete. Raises BadReply."""
        try:
            next(self._reading)
        except StopIteration as done:
            self._reading = self._read(0)
            return done.value
        return NOTHING

    def _read(self, depth: int) -> Generator[None, None, Any]:
        """Read one reply; yield whenever more bytes are needed."""
        line = yield from self._read_line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            return Refusal(rest.decode(errors="replace"))
        try:
            number = int(rest)
        except ValueError:
            raise BadReply(f"a line begins with {line[:40]!r}") from None
        if kind == b":":
            return number
        if kind == b"$" and number <= MOST_BYTES:
            return (yield from self._read_string(number)) if number >= 0 else None
        if kind == b"*" and depth < MOST_DEPTH:
            return (yield from self._read_array(number, depth)) if number >= 0 else None
        raise BadReply(f"a line begins with {line[:40]!r}")

    def _read_array(self, length: int, depth: int) -> Generator[None, None, list[Any]]:
        replies = []
        for _ in range(length):
            reply = yield from self._read(depth + 1)
            replies.append(reply)
        return replies

    def _read_line(self) -> Generator[None, None, bytes]:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > 64 * 1024:
                raise BadReply("a line is too long")
            yield
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _read_string(self, length: int) -> Generator[None, None, bytes]:
        while len(self._buffer) < length + 2:
            yield
        string = bytes(self._buffer[:length])
        if self._buffer[length : length + 2] != b"\r\n":
            raise BadReply("a string is longer than its length")
        del self._buffer[: length + 2]
        return string


def make_reader() -> Any:
    """Return a reader: hiredis's if that is installed, or a `Reader`."""
    if hiredis is None:
        return Reader()
    return hiredis.Reader(protocolError=BadReply, replyError=Refusal, notEnoughData=NOTHING)
