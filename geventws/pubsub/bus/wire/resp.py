"""RESP2, the protocol of Redis, as far as the bus speaks it: commands out, replies in. No I/O.

The reader is hiredis's where that is installed, and otherwise its twin here, which is slower.
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
"""What `gets` returns where a reply has not come whole."""

MOST_BYTES = 512 * 1024 * 1024
"""Bytes of one string; Redis sends no larger one, either."""

MOST_DEPTH = 8
"""How deep arrays may be nested."""


class Refusal(Exception):
    """An error that Redis has answered with. Its text begins with a code, in capitals."""

    @property
    def code(self) -> str:
        """What kind of error it is, as `OOM` or `NOSCRIPT`."""
        return str(self).partition(" ")[0]


class BadReply(Exception):
    """What comes is not RESP2."""


def pack(*words: bytes) -> bytes:
    """Return a command as it is sent."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


class Reader:
    """The twin of hiredis's reader: bytes in, replies out.

    A reply is bytes, int, None, a list of replies, or a `Refusal`.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()  # what has been received and is not read yet
        self._reading = self._read(0)  # the reply at hand

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        self._buffer += data

    def gets(self) -> Any:
        """Return the next reply, or NOTHING. Raises BadReply."""
        try:
            next(self._reading)
        except StopIteration as done:
            self._reading = self._read(0)
            return done.value
        return NOTHING

    def _read(self, depth: int) -> Generator[None, None, Any]:
        """Read one reply; yield whenever there is too little for that."""
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
                raise BadReply("a line does not end")
            yield
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _read_string(self, length: int) -> Generator[None, None, bytes]:
        while len(self._buffer) < length + 2:
            yield
        string = bytes(self._buffer[:length])
        if self._buffer[length : length + 2] != b"\r\n":
            raise BadReply("a string is longer than was said")
        del self._buffer[: length + 2]
        return string


def make_reader() -> Any:
    """Return a reader: of hiredis, or its twin."""
    if hiredis is None:
        return Reader()
    return hiredis.Reader(protocolError=BadReply, replyError=Refusal, notEnoughData=NOTHING)
