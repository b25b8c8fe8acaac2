"""The socket of a connection that is taken away from its server, and what the server gets instead."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any

from gevent import socket as gsocket

from ..exceptions import NoSocket

if TYPE_CHECKING:
    from collections.abc import Callable

PEER_CERTIFICATE = "geventws.peer_certificate"
"""The key of environ, for requests over TLS, of a function that returns the client's certificate."""


class Detached:
    """A socket without a loop and without a server. Its owner has to close it. It never blocks."""

    __slots__ = ("_sock", "_sslobj")

    def __init__(self, sock: Any, sslobj: Any = None) -> None:
        self._sock = sock  # the C library's
        self._sslobj = sslobj  # OpenSSL's, which uses that socket

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
    """Take the C library's socket, and OpenSSL's if there is one, out of a gevent socket. That one is closed then."""
    detached = Detached(socket._sock, getattr(socket, "_sslobj", None))
    socket._detach_socket("detached")  # and not detach(), which would leave OpenSSL without its socket
    socket.close()
    return detached


def share_socket(socket: Any) -> Any:
    """Return a gevent socket on the connection of a socket that stays open, one of the standard library.

    Raises:
        NoSocket: it is over TLS, whose state two sockets cannot share.
    """
    if isinstance(socket, ssl.SSLSocket):
        raise NoSocket("this development server cannot share a connection over TLS: use another server")
    return gsocket.socket(socket.family, socket.type, socket.proto, fileno=os.dup(socket.fileno()))


def drop_watchers(socket: Any) -> None:
    """Remove the watchers of a gevent socket, 240 bytes: with a timeout of 0 it never waits."""
    socket.settimeout(0.0)
    socket._read_event.close()
    socket._write_event.close()
    socket._read_event = socket._write_event = None  # as gevent's own close() has it


class Ended:
    """What a server reads from instead of a socket that was taken away. It is at its end."""

    def recv_into(self, _buffer: memoryview) -> int:
        """Return that there is nothing more."""
        return 0

    def recv(self, _size: int) -> bytes:
        """Return that there is nothing more."""
        return b""


class Joined:
    """Adds some bytes to the first ones that it is given, and writes both in one write (over TLS, in one record).

    It takes the place of the object with which a server writes the head of an answer.

    Args:
        write: the function that writes.
        tail: the bytes to add.
    """

    __slots__ = ("_tail", "_write")

    def __init__(self, write: Callable[[bytes], object], tail: bytes) -> None:
        self._write = write
        self._tail = tail

    def sendall(self, data: bytes | bytearray) -> None:
        """Write some bytes, with the tail if they are the first. Blocks."""
        tail, self._tail = self._tail, b""
        self._write(bytes(data) + tail)
