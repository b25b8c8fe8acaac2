"""The stream over TLS, and which stream a socket gets."""

from __future__ import annotations

import errno
import ssl
from typing import TYPE_CHECKING, Any

from .stream import Stream

if TYPE_CHECKING:
    from .loop.poller import Poller

RECORD_SIZE = 16 * 1024 - 64
"""How much of a large payload is copied behind its header into the first TLS record."""


class TLSStream(Stream):
    """The same over an SSLSocket. OpenSSL reads and writes in records of 16 KiB, and keeps the rest of one."""

    __slots__ = ("_tls",)
    opaque = True

    def __init__(self, socket: Any, channel: Any, poller: Poller, send_timeout: float | None) -> None:
        super().__init__(socket, channel, poller, send_timeout)
        self._tls = socket._sslobj  # OpenSSL's
        self.transmit = self._transmit

    def receive_into(self, buffer: memoryview) -> int | None:
        """Receive what one record holds."""
        if self.abandoned:  # OpenSSL would read from whatever has the number now
            raise OSError(errno.EBADF, "the socket is closed")
        try:
            count: int = self._tls.read(len(buffer), buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0
        return count

    def more(self) -> bool:
        """Whether a part of a record is left, which can be only where one has filled the buffer."""
        return bool(self._tls.pending())

    def _transmit(self, data: bytes | memoryview) -> int:
        write = self._tls.write
        sent = 0
        try:
            sent = write(data)
            while sent < len(data):
                sent += write(memoryview(data)[sent:])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        return sent

    _transmit_last = _transmit

    def send_large(self, header: bytes, payload: bytes | memoryview) -> None:
        """Send a frame, its header in a record with the first of its payload. Blocks, and raises, as `send` does.

        They stay one piece: OpenSSL wants a write that did not go through again, and no shorter.
        """
        super().send_large(header + bytes(payload[:RECORD_SIZE]), memoryview(payload)[RECORD_SIZE:])

    def _transmit_two(self, header: bytes, payload: bytes | memoryview) -> int:
        sent = self._transmit(header)
        if sent == len(header) and payload:
            sent += self._transmit(payload)
        return sent

    def _shut_down(self) -> None:
        try:
            self._tls.shutdown()  # sends close_notify, and would wait for the peer's
        except (OSError, ValueError):
            pass
        super()._shut_down()


def open_stream(socket: Any, channel: Any, poller: Poller, send_timeout: float | None) -> Stream:
    """Return the stream for a connected gevent socket."""
    tls = getattr(socket, "_sslobj", None) is not None
    return (TLSStream if tls else Stream)(socket, channel, poller, send_timeout)
