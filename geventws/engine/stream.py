"""A cooperative byte stream over a connected socket, TCP or TLS.

Everything that is sent goes through one queue, so whole frames leave in the order of the calls, whatever greenlets make
them. Bytes that the kernel does not accept at once are sent by the loop when the socket is writable again. So a
greenlet that is killed while it waits for that leaves no half frame behind.

The queue has two parts, the older first: the backlog, which the kernel has refused, and `corked`, which it has not
been offered yet. The backlog holds something exactly while `blocked` is True.

Reading is one non-blocking call; the poller decides when to make it.
"""

from __future__ import annotations

import errno
import socket as _socket
import struct
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..protocol.memory import PLACE, measure
from .backlog import Backlog
from .loop.forks import cut
from .loop.outbox import BLOCKED, GATHERED
from .tls import fill_record, find_tls

if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop.poller import Poller
    from .loop.system import Calls
    from .published.deliveries import Delivery

CORK_PARTS = 128
"""How many parts of frames may be corked. Only small frames are: 64 of 1536 bytes are 100 KB."""

MSG_MORE: int = getattr(_socket, "MSG_MORE", 0)  # Linux has it

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Stream:
    """The sending half and the raw reads of one TCP connection.

    `send`, `send_large`, `cork` and `wait_for_room` block the greenlet that calls them; any greenlet may. In a callback
    (see poller.py) they do not block: bytes that they would wait for count as `owned`. All other methods never block.

    Two others append to `corked`, to save a call: `WebSocket.send`, if it holds fewer parts than CORK_PARTS and a flush
    is due anyway (it holds some already, or the poller runs this greenlet); and the connection, which adds its last
    replies right before `flush_last`. They append whole frames, without a switch in between. Only the stream takes out.

    Args:
        socket: a connected gevent socket. Its owner still has to close it.
        channel: the connection, for the poller.
        poller: the loop's poller.
        send_timeout: we abort if the peer takes less than PACE bytes (or all that is left) in this many seconds.

    Attributes:
        transmit: sends without blocking, and returns how many bytes were taken. It may be called with whole frames if
            nothing is corked, `blocked` is False and `error` is None; the caller gives the rest to `send_rest`.
    """

    members = None  # its frames are for its own peer only: see outbox.py

    __slots__ = (  # fmt: skip
        "_ended", "_reading", "_registered", "_send_timeout", "_tls", "backlog", "blocked", "calls", "channel",
        "corked", "error", "overtaken", "plain_limit", "poller", "socket", "transmit",
    )

    def __init__(self, socket: Any, channel: Any, poller: Poller, send_timeout: float | None) -> None:
        self.socket: Any = socket  # the gevent socket, or an object in its place; its owner may replace it
        calls = poller.system.get_calls(socket)
        self._tls = find_tls(socket, calls)  # None without TLS
        self.calls: Calls = self._tls or calls  # the calls on the socket; none of them blocks
        self._send_timeout = send_timeout
        self.channel: Any = channel
        self.poller: Poller = poller
        self.transmit: Callable[[bytes | memoryview], int] = self.calls.send
        self.error: tuple[Any, ...] | None = None  # errno and text of the error after which nothing can be sent
        self.plain_limit: int = -1  # the largest payload that may be sent as it is; -1 if none may: see fragments.py
        self.corked: list[bytes] = []  # whole frames that wait to be sent with others: see above
        self.blocked: bool = False  # whether the kernel accepts nothing; the poller tells when it does again
        self.backlog: Backlog | None = None  # the bytes that it has not accepted, while blocked
        self.overtaken: bool = False  # whether a close frame has gone ahead of frames that wait elsewhere
        self._reading = True  # receiving is not paused
        self._registered = False  # the poller watches the socket
        self._ended = False  # our side is shut down, or will be after the backlog

    # Readiness

    def open(self) -> None:
        """Start watching the socket. The kernel must not delay data (TCP_NODELAY): what should wait is corked here."""
        with suppress(OSError):  # a Unix socket has no such delay
            if not getattr(self.socket, "no_delay", False):
                self.calls.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self._registered = True
        self.poller.interest.register(self.channel)
        self.poller.outbox.admit(self.channel, self._tls is not None)

    def close(self) -> None:
        """Stop watching the socket, drop what is queued, and release everything. Idempotent.

        The descriptor is closed at once, whatever the greenlet that serves the connection does meanwhile. The socket's
        owner may close it again without harm.
        """
        if self._registered:
            self.poller.outbox.settle(self)
            self._registered = False
            self.poller.interest.unregister(self.channel)
            self.calls.close()
        self.fail(OSError(errno.EPIPE, "the connection is closed"))
        self.channel = None  # it refers to us: this breaks the cycle

    def disown(self) -> None:
        """In a forked child: leave the connection to the parent. Greenlets in `send` go on waiting: see forks.py."""
        cut(self.calls.fileno(), ended=True)
        self._registered, self._reading = False, True  # nothing is watched, and nothing paused
        if self.backlog is not None:
            self.backlog.leave()
        self.fail(OSError(errno.EPIPE, "the connection is the parent process's"))

    def pause(self) -> None:
        """Stop receiving until `resume`: the kernel's buffers fill, and TCP slows the peer down."""
        self._reading = False
        self._watch()

    def resume(self) -> None:
        """Receive again."""
        self._reading = True
        self._watch()

    @property
    def closed(self) -> bool:
        """Whether the socket is no longer watched."""
        return not self._registered

    @property
    def paused(self) -> bool:
        """Whether receiving is paused."""
        return not self._reading

    @property
    def opaque(self) -> bool:
        """Whether the bytes on the socket are encrypted, and so are not those of `receive_into`."""
        return self._tls is not None

    @property
    def abandoned(self) -> bool:
        """Whether somebody else has closed the socket that we watch."""
        return self._registered and self.calls.fileno() != self.channel.fd

    def _watch(self) -> None:
        if self._registered:
            self.poller.interest.watch(self.channel, self._reading, self.blocked)

    # Receiving

    def receive_into(self, buffer: memoryview) -> int | None:
        """Receive once, without blocking. Return the number of bytes, 0 at the end, None if nothing is there now.

        Raises:
            OSError: the connection is broken.
        """
        try:
            return self.calls.recv_into(buffer)
        except BlockingIOError:
            return None

    def more(self) -> bool:
        """Whether TLS has received bytes that the poller cannot see."""
        return self._tls is not None and self._tls.has_more()

    def has_input(self) -> bool:
        """Whether bytes, or the end, have arrived and were not received yet."""
        try:
            self.calls.recv(1, _socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    # Sending

    def measure(self) -> int:
        """Return how many bytes are left to send, without those whose sender waits in `send`."""
        return measure(self.corked) + (self.backlog.owned if self.backlog is not None else 0)

    @property
    def has_room(self) -> bool:
        """Whether bytes that no greenlet waits for may be added."""
        return self.backlog is None or self.backlog.has_room

    def wait_for_room(self) -> None:
        """Block while too many bytes are left whose senders no longer wait. Raises OSError as `send` does."""
        while not self.has_room:
            if not self.poller.may_block():
                raise OSError(errno.ENOBUFS, "the peer accepts no data, and a callback of the loop cannot wait")
            self._wait(0)

    def send(self, data: bytes) -> None:
        """Send whole frames. Blocks while the peer reads too slowly; any greenlet may call it.

        Raises:
            OSError: the connection is broken.
        """
        if self.blocked:
            self.wait_for_room()
        if self.corked:
            self.corked.append(data)
            data = self._uncork()
        if len(data) <= GATHERED and self.poller.outbox.gathers and not self.blocked:
            self.poller.outbox.add(self, data)
            return
        self.put(data)
        if self.blocked:
            self._wait(len(data))

    def send_rest(self, data: bytes | memoryview) -> None:
        """Send what `transmit` did not take. Blocks, and raises, as `send` does."""
        self.block(data)
        self._wait(len(data))

    def send_large(self, header: bytes, payload: bytes | memoryview) -> None:
        """Send a frame without copying its payload. Blocks, and raises, as `send` does."""
        if self._tls is not None:
            header, payload = fill_record(header, payload)
        self.flush_now()
        self.wait_for_room()
        if self.blocked or self.overtaken or self.error is not None:
            self.put(header)
            self.put(payload)
        else:
            sent = self.attempt(self.calls.sendmsg, (header, payload))
            if sent < len(header):
                self.block(header[sent:])
            if sent < len(header) + len(payload):
                self.block(memoryview(payload)[max(sent - len(header), 0) :])
        if self.blocked:
            self._wait(len(header) + len(payload))

    def cork(self, data: bytes) -> None:
        """Send whole frames soon: with the next ones, or when the greenlet's turn ends. May block, as `send` does."""
        corked = self.corked
        if not corked and self.poller.current is not self.channel:
            self.poller.outbox.corked.add(self)
            self.poller.clock.run_callback(self.poller.call, self.channel, self.flush)
        corked.append(data)
        if self.blocked or len(corked) >= CORK_PARTS:
            data = self._uncork()
            self.put(data)
            if self.blocked:
                self._wait(len(data))

    def push(self, data: bytes) -> None:
        """Send whole frames as soon as possible, without blocking. Never raises."""
        if self.error is None:
            self.corked.append(data)
            self.flush()

    def flush(self) -> None:
        """Send the corked frames at the end of the turn, as far as the kernel accepts them. Never blocks or raises."""
        outbox, corked = self.poller.outbox, self.corked
        if corked and outbox.gathers and not self.blocked and not self.error and sum(map(len, corked)) <= GATHERED:
            outbox.add(self, self._uncork())
        elif corked:
            self.flush_now()

    def flush_now(self, flags: int = 0) -> None:
        """Send the corked frames now, after those that wait in the outbox. Never blocks, never raises."""
        if not self.corked:
            self.poller.outbox.settle(self)
            return
        data = self._uncork()
        try:
            self.put(data, flags)
        except OSError:
            return  # the error is noted, and the next `send` raises it
        self.own(len(data))

    def flush_last(self) -> None:
        """Flush right before a shutdown: the last bytes wait for the FIN, and leave in one packet with it."""
        self.flush_now(MSG_MORE)

    def writable(self) -> None:
        """Go on sending. The poller calls this when the kernel accepts bytes again. Never blocks, never raises."""
        try:
            if self.backlog is not None and not self.backlog.send(self.transmit):
                return
        except OSError as error:
            self.fail(error)
            self._watch()
            return
        self._unblock()
        self._watch()
        if self._ended:
            self._shut_down()

    def end(self) -> None:
        """End our side of the stream once everything is sent. Never blocks. Idempotent."""
        if not self._ended:
            self._ended = True
            self.flush_now()
            if not self.blocked:
                self._shut_down()

    def hang_up(self) -> None:
        """End both sides at once; if something is left to send, the peer sees a reset. Idempotent."""
        self.poller.outbox.settle(self)
        with suppress(OSError):  # the peer has gone already
            if self.corked or self.blocked:
                self.calls.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET_ON_CLOSE)
            self.calls.shutdown(_socket.SHUT_RDWR)
        self.close()

    def _uncork(self) -> bytes:
        if self.poller.outbox.corked:
            self.poller.outbox.corked.discard(self)
        data = b"".join(self.corked)
        self.corked.clear()
        return data

    def put(self, data: bytes | memoryview, flags: int = 0) -> None:
        """Send as much as the kernel accepts, and leave the rest to the poller."""
        if self.poller.outbox.holds:
            self.poller.outbox.settle(self)
        if self.error is not None or self.overtaken:
            raise OSError(*(self.error or (errno.EPIPE, "nothing follows a close frame")))
        if self.backlog is not None:
            self.backlog.append(data)
            return
        sent = self.attempt((lambda data: self.calls.send(data, flags)) if flags else self.transmit, data)
        if sent < len(data):
            self.block(memoryview(data)[sent:])

    def attempt(self, transmit: Callable[[Any], int], data: Any) -> int:
        """Send without blocking, and return how many bytes were taken. An error is noted, and raised."""
        try:
            return transmit(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self.fail(error)
            raise

    def _shut_down(self) -> None:
        with suppress(OSError):  # the peer was faster
            self.calls.shutdown(_socket.SHUT_WR)

    # While the kernel accepts nothing

    def block(self, rest: bytes | memoryview | Delivery) -> None:
        """Leave the rest to the poller, and start the clock of `send_timeout`."""
        if self.backlog is not None:
            self.backlog.append(rest)
            return
        count = partial(self.poller.system.count_unacknowledged, self.channel.fd)
        self.blocked, self.backlog = True, Backlog(rest, count)
        self.poller.outbox.shut(self.channel, BLOCKED, True)
        self._watch()
        if self._send_timeout is not None:
            timer = self.poller.clock.timer(self._send_timeout, self._send_timeout)
            self.backlog.set_alarm(timer, self.poller.call, self.channel)

    def own(self, size: int) -> None:
        """Count bytes that are left to send, and that no greenlet waits for."""
        if self.backlog is not None:
            self.backlog.own(size + PLACE)

    def _unblock(self) -> None:
        """Wake those who wait to send: nothing is left, or nothing can be sent any more."""
        self.blocked = False
        if self.backlog is not None:
            self.backlog.close()
            self.backlog = None
            self.poller.outbox.shut(self.channel, BLOCKED, False)

    def _wait(self, size: int) -> None:
        """Block until all that is here now is sent; `size` bytes of it are the caller's. A callback does not wait."""
        if self.backlog is None or not self.poller.may_block():
            self.own(size)
            return
        try:
            self.backlog.wait(self.poller)
        except BaseException:
            if size:
                self.own(size)
            raise
        if self.error is not None:
            raise OSError(*self.error)

    def fail(self, error: OSError) -> None:
        """Send nothing more, and wake those who wait. Of the error, keep the arguments: its traceback holds data."""
        if self.error is None:
            self.error = error.args
        self.corked.clear()
        self._unblock()
