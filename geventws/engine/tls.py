"""TLS: the calls on a socket (system.py) with OpenSSL in between. A stream need not know more about TLS.

OpenSSL sends and receives records of at most 16 KiB. It keeps the rest of a record that was read only in part, and the
poller cannot see that (`has_more`). A write that did not go through has to be repeated with the same bytes. These are
kept here, and count as taken, except for the last one: whoever comes back with that one has them sent.
"""

from __future__ import annotations

import errno
import socket as _socket
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .loop.system import Calls

MOST_WRITTEN = 16 * 1024
"""Bytes of a write at the most: a record."""

RECORD_SIZE = 16 * 1024 - 64
"""How many bytes of a large payload are copied after its header, to fill the first record."""


class TLSCalls:
    """The calls on a connected SSLSocket. None blocks.

    Args:
        tls: OpenSSL's connection (`ssl._SSLSocket`), which makes its own calls on the descriptor.
        calls: those on the socket below it.
    """

    __slots__ = ("_calls", "_fd", "_repeated", "_tls")

    def __init__(self, tls: Any, calls: Calls) -> None:
        self._tls = tls
        self._calls = calls
        self._repeated: bytes | memoryview = b""  # what was written and has to be again
        self._fd = calls.fileno()  # the number that OpenSSL uses, even if it is another file's by now

    def recv(self, size: int, flags: int, /) -> bytes:
        """Receive encrypted bytes as they are."""
        return self._calls.recv(size, flags)

    def recv_into(self, buffer: memoryview, /) -> int:
        """Receive the bytes of one record; BlockingIOError if it has not arrived whole."""
        self._check()
        try:
            count: int = self._tls.read(len(buffer), buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0
        return count

    def _check(self) -> None:
        """Raise OSError if the socket was closed: OpenSSL would go on with whatever file has its number now."""
        if self._calls.fileno() != self._fd:
            raise OSError(errno.EBADF, "the socket is closed")

    def has_more(self) -> bool:
        """Whether a part of a record is left. That can only be after a read that filled its buffer."""
        return bool(self._tls.pending())

    def send(self, data: bytes | memoryview, _flags: int = 0, /) -> int:
        """Return how many bytes were taken. Flags are ignored: they are about TCP segments, not records."""
        write, sent = self._tls.write, 0
        part: bytes | memoryview = self._repeated
        try:
            while part:
                part = self._repeated = memoryview(part)[write(part) :] or b""  # which keeps nothing
                sent = 0 if part else 1  # the byte that was not counted as taken
            while sent < len(data):
                part = memoryview(data)[sent : sent + MOST_WRITTEN] if sent or len(data) > MOST_WRITTEN else data
                sent += write(part)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            if not self._repeated:
                self._repeated = bytes(part)
                sent += len(part) - 1
        return sent

    def sendmsg(self, buffers: Iterable[bytes | memoryview], /) -> int:
        """The same for several buffers."""
        total = 0
        for data in filter(len, buffers):
            sent = self.send(data)
            total += sent
            if sent < len(data):
                break
        return total

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None:
        """Set an option of the socket."""
        self._calls.setsockopt(level, option, value)

    def shutdown(self, how: int, /) -> None:
        """End our side with a close_notify, or both sides without."""
        self._check()
        if how == _socket.SHUT_WR:
            try:
                self._tls.shutdown()  # raises, instead of waiting for the peer's close_notify
            except (OSError, ValueError):
                pass
        self._calls.shutdown(how)

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        return self._calls.fileno()

    def close(self) -> None:
        """Close the descriptor. Idempotent."""
        self._calls.close()


def find_tls(socket: Any, calls: Calls) -> TLSCalls | None:
    """Return the calls on a gevent socket over TLS, or None if it has no TLS; `calls` are those below."""
    tls = getattr(socket, "_sslobj", None)
    return None if tls is None else TLSCalls(tls, calls)


def fill_record(header: bytes, payload: bytes | memoryview) -> tuple[bytes, memoryview]:
    """Return a frame in two pieces, of which the first fills a record and has to be sent whole."""
    return header + bytes(payload[:RECORD_SIZE]), memoryview(payload)[RECORD_SIZE:]
