"""The bytes of one HTTP connection: received up to the end of a head, under limits of size and time, and sent.

The socket is the bare one of the C library, non-blocking. In most handshakes all bytes are there at once, so a gevent
socket with its watchers, and a buffered reader with its buffer, are made only when somebody asks for them.
"""

from __future__ import annotations

import _socket
import io
import time
from collections.abc import Callable
from socket import SHUT_RD, SHUT_WR
from typing import Any

import gevent
from gevent.socket import socket as Socket
from gevent.socket import wait_read

from ..engine.loop.deadlines import FairTimeout
from ..engine.options import LINGER
from ..http import request as http_head
from ..http.headers import find_end

CHUNK = 8192


class RawSocket(_socket.socket):
    """A non-blocking socket without a loop. Like a gevent socket it has its C socket in `_sock`: itself."""

    __slots__ = ()

    no_delay = True  # inherited from the listening socket: see `WebSocketServer.init_socket`

    @property
    def _sock(self) -> RawSocket:
        return self


class HeadError(Exception):
    """A head that is refused; `head` is the part of it that was received.

    Attributes:
        status: the HTTP status that answers it.
        answer: the whole answer.
        request_line: the part of its request line that was received.
    """

    def __init__(self, status: str, head: bytes | bytearray) -> None:
        super().__init__(status)
        self.status: str = status
        self.answer: bytes = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-length: 0\r\n\r\n".encode("ascii")
        self.request_line: str = head[: http_head.MAX_REQUEST_LINE].split(b"\n", 1)[0].decode("latin-1").rstrip()


def _check_beginning(head: bytearray) -> None:
    """Refuse at once what is not the beginning of a method, such as TLS: it has no end that could be waited for."""
    if head and head[0] not in b"\r\n" and not 0x20 < head[0] < 0x7F:
        raise HeadError("400 Bad Request", head)


class HTTPStream:
    """The receiving and the sending half of one connection.

    Args:
        raw: the accepted socket; `close` closes it.
        max_head_size: the most bytes of a head.
    """

    __slots__ = ("_max_head_size", "_raw", "_reader", "_received", "_socket")

    def __init__(self, raw: RawSocket, max_head_size: int) -> None:
        self._raw: Any = raw  # the C socket; None once there is TLS on it
        self._socket: Any = None  # the gevent socket, once somebody has asked for it
        self._received = b""  # received bytes that follow the last head
        self._reader: io.BufferedReader | None = None  # reads what follows the head; made when asked for
        self._max_head_size = max_head_size

    @property
    def bare(self) -> Any:
        """The bare socket, for TCP without a gevent socket; otherwise the gevent socket."""
        return self._socket or self._raw

    @property
    def socket(self) -> Any:
        """The gevent socket, made at the first call."""
        if self._socket is None:
            raw = self._raw
            self._socket = Socket(raw.family, raw.type, raw.proto, fileno=raw.detach())
            self._raw = self._socket._sock
        return self._socket

    @property
    def tls(self) -> Any:
        """OpenSSL's connection; None without TLS."""
        return None if self._raw is not None else self._socket._sslobj

    def start_tls(self, wrap: Callable[..., Any], options: dict[str, Any], timeout: float) -> None:
        """Put TLS on the connection. Blocks until the handshake is done.

        Raises:
            OSError: the handshake failed, or took longer.
        """
        options = dict(options)
        handshake = options.pop("do_handshake_on_connect", True)
        self._socket, self._raw = wrap(self.socket, do_handshake_on_connect=False, **options), None
        if handshake:
            with FairTimeout(timeout, TimeoutError("the TLS handshake took too long")):
                self._socket.do_handshake()

    # Receiving

    def receive_head(self, idle_timeout: float, timeout: float) -> bytes:
        """Return the next head, or b"" if the peer is done or nothing came. Blocks.

        Args:
            idle_timeout: seconds for the first byte.
            timeout: seconds for the rest.

        Raises:
            HeadError: it is too large or too slow, or its first bytes are not those of a head.
            OSError: the connection is broken.
        """
        self._received = data = self.unread()
        try:
            data = data or self._receive(idle_timeout)
            if data == b"\r\n":
                data += self._receive(idle_timeout)  # some clients send an empty line after a body: it begins nothing
        except TimeoutError:
            return b""
        end = find_end(data)
        if not 2 < end <= http_head.MAX_REQUEST_LINE:
            data, end = self._receive_rest(data, timeout)
        self._received = data[end:]
        return data[:end]

    def _receive_rest(self, data: bytes, timeout: float) -> tuple[bytes, int]:
        """Receive until a head is whole. One empty line before it is skipped (RFC 9112 2.2)."""
        deadline = time.monotonic() + timeout
        buffer = bytearray(data)
        searched = 0
        skipped = False
        while True:
            if not skipped and buffer.startswith(b"\r\n"):
                del buffer[:2]
                searched, skipped = 0, True
            if (end := find_end(buffer, searched)) >= 0:
                break
            _check_beginning(buffer)
            self._check_size(buffer)
            searched = len(buffer)
            try:
                received = self._receive(deadline - time.monotonic())
            except TimeoutError:
                raise HeadError("408 Request Timeout", buffer) from None
            if not received:
                return b"", 0
            buffer += received
        self._check_size(buffer[:end])
        return bytes(buffer), end

    def _check_size(self, head: bytearray) -> None:
        if len(head) >= http_head.MAX_REQUEST_LINE and head.find(b"\n", 0, http_head.MAX_REQUEST_LINE - 1) < 0:
            raise HeadError("414 Request URI Too Long", head)
        if len(head) > self._max_head_size:
            raise HeadError("431 Request Header Fields Too Large", head)

    def _receive(self, timeout: float, size: int = CHUNK) -> bytes:
        """Return the bytes that are available, or that come within the timeout."""
        sock = self._socket
        if sock is not None:
            sock.settimeout(max(timeout, 0.001))
            try:
                received: bytes = sock.recv(size)
                return received
            finally:
                sock.settimeout(None)
        while True:
            try:
                received = self._raw.recv(size)
                return received
            except BlockingIOError:
                wait_read(self._raw.fileno(), max(timeout, 0.001), TimeoutError())

    # A body: see http_body.py

    @property
    def held(self) -> int:
        """How many bytes were received, but not taken yet."""
        return len(self._received)

    def receive_more(self, timeout: float, size: int) -> int:
        """Receive and hold up to `size` bytes; return how many came, 0 at the end. Blocks.

        Raises:
            TimeoutError: nothing came.
        """
        received = self._receive(timeout, size)
        self._received += received
        return len(received)

    def take(self, size: int, line: bool) -> bytes:
        """Take up to `size` of the bytes that are held; only up to the end of a line if `line` is set."""
        held = self._received
        if line:
            size = held.find(b"\n", 0, size) + 1 or size
        self._received = held[size:]
        return held[:size]

    def take_line(self) -> bytes:
        """Take the line that is held, or b"" while it has no end."""
        return self.take(self._received.find(b"\n") + 1, line=False)

    # A reader, for other WebSocket libraries

    def reader(self) -> io.BufferedReader:
        """Return a reader for the bytes after the head; the same one until `unread`."""
        if self._reader is None:
            self._reader = io.BufferedReader(Body(self.socket, self._received))
            self._received = b""
        return self._reader

    @property
    def ended(self) -> bool:
        """Whether a reader has reached the end of what the peer sends, or was closed."""
        reader = self._reader
        return reader is not None and (reader.closed or reader.raw.ended)  # type: ignore[attr-defined]

    def unread(self) -> bytes:
        """Take back the bytes after the head that were not read yet. If there is a reader, it is at its end then."""
        received, self._received = self._received, b""
        reader, self._reader = self._reader, None
        if reader is not None and not reader.closed:
            received = reader.raw.unread(reader)  # type: ignore[attr-defined]
        return received

    # Sending

    def send_now(self, data: bytes | bytearray) -> int:
        """Send what the kernel takes at once, if there is no TLS; return how many bytes it took. Never raises."""
        if self._raw is None:
            return 0
        try:
            sent: int = self._raw.send(data)
        except OSError:
            return 0  # `send_all`, which comes next, raises the error
        return sent

    def send_all(self, data: bytes) -> None:
        """Send all of it. Blocks; raises OSError."""
        self.socket.sendall(data)

    # The end

    def give_away(self) -> Any:
        """Return the bare socket or the gevent socket. From now on the caller has to close it."""
        sock = self.bare
        self._socket = self._raw = None
        return sock

    def interrupt(self, how: int = SHUT_RD) -> None:
        """Make the greenlet that waits for the peer see the end of the connection. Does not block."""
        try:
            Socket.shutdown(self._socket, how) if self._raw is None else self._raw.shutdown(how)
        except OSError:
            pass

    def linger(self) -> None:
        """End our side, and give the peer time to read: closing with unread input would destroy what was sent."""
        sock = self.socket
        Socket.shutdown(sock, SHUT_WR)
        with gevent.Timeout(LINGER, False):
            while Socket.recv(sock, CHUNK):
                gevent.sleep(0)  # or the timeout could not strike while the peer sends without a pause

    def close(self, drop_input: bool) -> None:
        """Close the socket, unless it was given away. Idempotent; never raises.

        Args:
            drop_input: first read what the kernel still holds, up to a limit, so that the close does not reset the
                connection.
        """
        sock = self._socket or self._raw
        if sock is None:
            return
        try:
            if drop_input:
                sock._sock.recv(2 * CHUNK)
        except OSError:
            pass
        try:
            sock.close()
        except OSError:
            pass


class Body(io.RawIOBase):
    """The bytes after a head, as a raw file: first those received with the head, then those of the socket."""

    def __init__(self, sock: Any, received: bytes) -> None:
        self._sock = sock  # where WebSocket libraries look for it
        self._received = received  # those received with the head that were not read yet
        self._paused = False  # whether reading is over: see `unread`
        self.ended: bool = False  # whether the peer sends no more

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Receive into a buffer; None once reading is over."""
        count = min(len(buffer), len(self._received))
        if count:
            buffer[:count] = self._received[:count]
            self._received = self._received[count:]
            return count
        if self._paused:
            return None
        count = int(self._sock.recv_into(buffer))
        self.ended = not count
        return count

    def unread(self, reader: io.BufferedReader) -> bytes:
        """Return the bytes that the reader of this file holds, and those left here. Reading is over then."""
        rest, self._received, self._paused = self._received, b"", True
        return reader.peek() + rest
