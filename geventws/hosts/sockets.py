"""The socket of a connection that is taken away from its server, and what the server has in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PEER_CERTIFICATE = "geventws.peer_certificate"
"""Where the environ of a request over TLS has a function that returns the client's certificate."""


class Detached:
    """A socket without a loop and without a server: whoever has it closes it. It never blocks."""

    __slots__ = ("_sock", "_sslobj")

    def __init__(self, sock: Any, sslobj: Any = None) -> None:
        self._sock = sock  # the C library's
        self._sslobj = sslobj  # OpenSSL's, which needs that very socket

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        descriptor: int = self._sock.fileno()
        return descriptor

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._sock.close()

    def leave(self) -> None:
        """Note that nothing more is done for the connection."""


def detach_socket(socket: Any) -> Detached:
    """Take the C library's socket, and OpenSSL's if there is one, out of a gevent socket, which is closed with that."""
    detached = Detached(socket._sock, getattr(socket, "_sslobj", None))
    socket._detach_socket("detached")  # and not detach(), which would leave OpenSSL without its socket
    socket.close()
    return detached


def drop_watchers(socket: Any) -> None:
    """Take from a gevent socket what it waits with: 240 bytes, for nothing, as one with a timeout of 0 never waits."""
    socket.settimeout(0.0)
    socket._read_event.close()
    socket._write_event.close()
    socket._read_event = socket._write_event = None  # as gevent's own close() has it


class Ended:
    """What a server reads from in place of a socket that was taken away: nothing."""

    def recv_into(self, _buffer: memoryview) -> int:
        """Return that there is nothing more."""
        return 0

    def recv(self, _size: int) -> bytes:
        """Return that there is nothing more."""
        return b""


class Joined:
    """Writes some bytes together with the first that it is given, in one write, which over TLS is one record.

    It stands in for what a server writes the head of an answer with.

    Args:
        write: what writes.
        tail: the bytes.
    """

    __slots__ = ("_tail", "_write")

    def __init__(self, write: Callable[[bytes], object], tail: bytes) -> None:
        self._write = write
        self._tail = tail

    def sendall(self, data: bytes | bytearray) -> None:
        """Write some bytes, and the tail if these are the first. Blocks."""
        tail, self._tail = self._tail, b""
        self._write(bytes(data) + tail)
