"""TLS: the calls on a socket (system.py) with OpenSSL in between, and so the only thing a stream has to know about it.

OpenSSL sends and receives records of 16 KiB at the most. What it has received of one and nobody has read stays with it,
where the poller cannot see it (`has_more`); and a write that did not go through has to be repeated with the same bytes.
"""

from __future__ import annotations

import errno
import socket as _socket
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .loop.system import Calls

RECORD_SIZE = 16 * 1024 - 64
"""How much of a large payload is copied after its header into the first record."""


class TLSCalls:
    """The calls on a connected SSLSocket. None blocks.

    Args:
        tls: OpenSSL's connection (`ssl._SSLSocket`), which makes its own calls on the descriptor.
        calls: those on the socket below it.
    """

    __slots__ = ("_calls", "_fd", "_tls")

    def __init__(self, tls: Any, calls: Calls) -> None:
        self._tls = tls
        self._calls = calls
        self._fd = calls.fileno()  # that OpenSSL uses, whatever became of it

    def recv(self, size: int, flags: int, /) -> bytes:
        """Receive what has come, encrypted."""
        return self._calls.recv(size, flags)

    def recv_into(self, buffer: memoryview, /) -> int:
        """Receive what one record holds; BlockingIOError where it has not come."""
        self._check()
        try:
            count: int = self._tls.read(len(buffer), buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0
        return count

    def _check(self) -> None:
        """Raise OSError where the socket was closed: OpenSSL would go on with whatever has its number now."""
        if self._calls.fileno() != self._fd:
            raise OSError(errno.EBADF, "the socket is closed")

    def has_more(self) -> bool:
        """Whether a part of a record is left, which can be only where one has filled the buffer."""
        return bool(self._tls.pending())

    def send(self, data: bytes | memoryview, _flags: int = 0, /) -> int:
        """Return how much of the bytes was taken. All flags are about segments, and so not for records."""
        write = self._tls.write
        sent = 0
        try:
            sent = write(data)
            while sent < len(data):
                sent += write(memoryview(data)[sent:])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
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
                self._tls.shutdown()  # would wait for the peer's, too
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
    """Return the calls on a gevent socket if it is one over TLS; `calls` are those below."""
    tls = getattr(socket, "_sslobj", None)
    return None if tls is None else TLSCalls(tls, calls)


def fill_record(header: bytes, payload: bytes | memoryview) -> tuple[bytes, memoryview]:
    """Return a frame in two pieces, of which the first fills a record; it is not to be sent in parts."""
    return header + bytes(payload[:RECORD_SIZE]), memoryview(payload)[RECORD_SIZE:]
