"""A cooperative byte stream over a connected socket, TCP or TLS.

Everything that is sent goes through one queue, so that whole frames leave in the order in which they were given,
whichever greenlets gave them. What the kernel does not take at once is sent by the loop when the socket is writable
again; a greenlet that is killed while it waits for that leaves no half frame behind.

Reading is one non-blocking call; when to call it is the poller's affair.
"""

from __future__ import annotations

import errno
import socket as _socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

if TYPE_CHECKING:
    from .poller import Poller

CORK_LIMIT = 64 * 1024
"""Corked bytes that are sent without waiting for more, and the largest piece that is worth copying to join it."""

RECORD_SIZE = 16 * 1024 - 64
"""How much of a large payload is copied behind its header into the first TLS record."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Stream:
    """The sending half and the raw reads of one TCP connection.

    Args:
        socket: a connected gevent socket. It stays its owner's to close.
        channel: the connection, for the poller.
        poller: the loop's poller.
        send_timeout: seconds without a byte taken by the peer after which the connection is aborted.
    """

    __slots__ = (
        "_alarm",
        "_blocked",
        "_ended",
        "_queue",
        "_queued",
        "_reading",
        "_registered",
        "_send_timeout",
        "_socket",
        "channel",
        "error",
        "poller",
        "writers",
    )

    def __init__(self, socket: Any, channel: Any, poller: Poller, send_timeout: float | None) -> None:
        self._socket = socket
        self._send_timeout = send_timeout
        self.channel = channel
        self.poller = poller
        self.error: OSError | None = None  # why nothing can be sent any more
        self._queue: list[bytes | memoryview] = []  # what is to be sent, in order
        self._queued = 0  # its bytes
        self._blocked = False  # the kernel takes nothing; the poller tells when it does
        self._alarm: Any = None
        self.writers: list[Any] = []  # greenlets that wait until the queue is empty
        self._reading = True
        self._registered = False
        self._ended = False  # our side is shut down, or will be behind the queue

    # Readiness

    def open(self) -> None:
        """Begin to watch the socket."""
        self._registered = True
        self.poller.register(self.channel)

    def close(self) -> None:
        """Watch the socket no more, drop what is queued, and let go of everything. Idempotent."""
        if self._registered:
            self._registered = False
            self.poller.unregister(self.channel)
        self._fail(OSError(errno.EPIPE, "the connection is closed"))

    def pause(self) -> None:
        """Receive no more until `resume`: the kernel's buffers fill, and TCP holds the peer back."""
        self._reading = False
        self._watch()

    def resume(self) -> None:
        """Receive again."""
        self._reading = True
        self._watch()

    @property
    def closed(self) -> bool:
        """Whether the socket is watched no more."""
        return not self._registered

    @property
    def paused(self) -> bool:
        """Whether receiving is paused."""
        return not self._reading

    def _watch(self) -> None:
        if self._registered:
            self.poller.watch(self.channel, self._reading, self._blocked)

    # Receiving

    def receive_into(self, buffer: memoryview) -> int | None:
        """Receive once, without blocking: the number of bytes, 0 at the end, None where there is nothing now.

        Raises:
            OSError: the connection is broken.
        """
        try:
            count: int = self._socket._sock.recv_into(buffer)
        except BlockingIOError:
            return None
        return count

    def more(self) -> bool:
        """Whether bytes are at hand that the poller cannot see."""
        return False

    # Sending

    @property
    def pending(self) -> bool:
        """Whether anything is queued."""
        return bool(self._queue)

    @property
    def blocked(self) -> bool:
        """Whether the peer takes nothing at the moment."""
        return self._blocked

    def send(self, data: bytes) -> None:
        """Send whole frames. Blocks while the peer does not take them; any greenlet may call it.

        Raises:
            OSError: the connection is broken.
        """
        if self._queue:
            self._add(data)
            self.flush()
        else:
            try:
                sent = self._send(data)
            except OSError as error:
                self._fail(error)
                raise
            if sent == len(data):
                return
            self._add(memoryview(data)[sent:])
            self._block()
        if self._queue:
            self._wait()

    def send_large(self, header: bytes, payload: bytes | memoryview) -> None:
        """Send a frame without copying its payload. Blocks, and raises, as `send` does."""
        if not self._queue and self.error is None:
            try:
                sent = self._send_two(header, payload)
            except OSError as error:
                self._fail(error)
                raise
            if sent < len(header):
                self._add(header[sent:])
                sent = len(header)
            payload = memoryview(payload)[sent - len(header) :]
            if not payload:
                return
            self._add(payload)
            self._block()
        else:
            self._add(header)
            self._add(payload)
            self.flush()
        if self._queue:
            self._wait()

    def cork(self, data: bytes) -> None:
        """Send whole frames soon: with the next ones, or when the greenlet's turn ends. May block, as `send` does."""
        queue = self._queue
        if not queue and self.poller.current is not self.channel:
            self.poller.loop.run_callback(self.flush)
        queue.append(data)
        self._queued += len(data)
        if self._queued >= CORK_LIMIT:
            self.flush()
            if queue:
                self._wait()

    def push(self, data: bytes) -> None:
        """Send whole frames as soon as the peer takes them, without blocking. Never raises."""
        if self.error is None:
            self._add(data)
            self.flush()

    def flush(self) -> None:
        """Send what is queued, as far as the peer takes it. Never blocks, never raises."""
        queue = self._queue
        while queue and not self._blocked:
            joined = self._queued <= CORK_LIMIT
            data = b"".join(queue) if joined else queue[0]
            try:
                sent = self._send(data)
            except OSError as error:
                self._fail(error)
                return
            self._queued -= sent
            if joined:
                queue.clear()
            else:
                del queue[0]
            if sent < len(data):
                queue.insert(0, memoryview(data)[sent:])
                self._block()
        if self._ended and not self._queue:
            self._shut_down()

    def writable(self) -> None:
        """Go on sending: the poller's word that the kernel takes bytes again. Never blocks, never raises."""
        self._blocked = False
        self.flush()
        if not self._blocked:
            self._watch()
            if self._alarm is not None:
                self._alarm.close()
                self._alarm = None
        elif self._alarm is not None:
            self._alarm.again(self._expire)

    def run(self) -> None:
        """Run the greenlets that wait until the queue is empty."""
        while self.writers and (not self._queue or self.error is not None):
            self.writers.pop(0).switch()

    def end(self) -> None:
        """End our side of the stream, once what is queued is sent. Never blocks. Idempotent."""
        if not self._ended:
            self._ended = True
            self.flush()

    def hang_up(self) -> None:
        """End both sides at once; where something is left to send, the peer sees a reset. Idempotent."""
        try:
            if self._queue:
                self._socket._sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET_ON_CLOSE)
            self._socket._sock.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass  # it is gone already
        self.close()

    def _add(self, data: bytes | memoryview) -> None:
        if self.error is not None:
            raise self.error
        self._queue.append(data)
        self._queued += len(data)

    def _send(self, data: bytes | memoryview) -> int:
        """Send without blocking, and return how much was taken."""
        try:
            sent: int = self._socket._sock.send(data)
        except BlockingIOError:
            return 0
        return sent

    def _send_two(self, header: bytes, payload: bytes | memoryview) -> int:
        try:
            sent: int = self._socket._sock.sendmsg((header, payload))
        except BlockingIOError:
            return 0
        return sent

    def _shut_down(self) -> None:
        try:
            self._socket._sock.shutdown(_socket.SHUT_WR)
        except OSError:
            pass  # the peer was faster

    def _block(self) -> None:
        """Let the poller tell when the kernel takes bytes again, and see to it that this ends."""
        self._blocked = True
        self._watch()
        if self._alarm is None and self._send_timeout is not None:
            self._alarm = self.poller.loop.timer(self._send_timeout, self._send_timeout)
            self._alarm.start(self._expire)

    def _expire(self) -> None:
        self.channel.send_timed_out()

    def _wait(self) -> None:
        """Block until the queue is empty."""
        greenlet = getcurrent()
        if greenlet is self.poller.hub:
            return  # a callback of the loop cannot wait
        self.writers.append(greenlet)
        try:
            self.poller.hub.switch()
        finally:
            if greenlet in self.writers:
                self.writers.remove(greenlet)
        if self.error is not None:
            raise self.error

    def _fail(self, error: OSError) -> None:
        """Give up sending, and wake who waits for it."""
        if self.error is None:
            self.error = error
        self._queue.clear()
        self._queued = 0
        self._blocked = False
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None
        if self.writers:
            self.poller.loop.run_callback(self.run)


class TLSStream(Stream):
    """The same over an SSLSocket. OpenSSL reads and writes in records of 16 KiB, and keeps the rest of one."""

    __slots__ = ()

    def receive_into(self, buffer: memoryview) -> int | None:
        """Receive what one record holds."""
        try:
            count: int = self._socket._sslobj.read(len(buffer), buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0
        return count

    def more(self) -> bool:
        """Whether a part of a record is left."""
        return bool(self._socket._sslobj.pending())

    def _send(self, data: bytes | memoryview) -> int:
        sent = 0
        view = data
        try:
            while True:
                sent += self._socket._sslobj.write(view)
                if sent == len(data):
                    return sent
                view = memoryview(data)[sent:]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return sent

    def _send_two(self, header: bytes, payload: bytes | memoryview) -> int:
        first = header + bytes(payload[:RECORD_SIZE])
        sent = self._send(first)
        if sent == len(first) and len(payload) > RECORD_SIZE:
            sent += self._send(memoryview(payload)[RECORD_SIZE:])
        return sent

    def _shut_down(self) -> None:
        try:
            self._socket._sslobj.shutdown()  # sends close_notify, and would wait for the peer's
        except (OSError, ValueError):
            pass
        super()._shut_down()


def open_stream(socket: Any, channel: Any, poller: Poller, send_timeout: float | None) -> Stream:
    """Return the stream for a connected gevent socket."""
    tls = isinstance(socket, ssl.SSLSocket) or getattr(socket, "_sslobj", None) is not None
    return (TLSStream if tls else Stream)(socket, channel, poller, send_timeout)
