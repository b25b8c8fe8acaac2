"""One connection at work: the protocol's state machine on a stream, with its clocks.

It receives without being asked, answers pings and closes, keeps the peer's pace, notices a dead peer, and ends what has
to end. What it does not do is run anybody's code: `WebSocket` (a greenlet that waits) and `WebSocketApplication`
(callbacks) decide that, in `run` and `on_over`.

All callbacks run in the hub and never block; the methods that block say so.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from greenlet import getcurrent

from .exceptions import ConnectionClosed, InvalidData, PayloadTooBig, ProtocolError
from .frames import CloseCode, Opcode
from .poller import PEER_IS_SERVER, get_poller, switch_to
from .stream import open_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from .protocol import WebSocketProtocol

logger = logging.getLogger("geventws")

READ_AHEAD = 64
"""Messages received ahead of a busy handler, past which receiving pauses. Their bytes are bounded too."""

LINGER = 1.0
"""Seconds that the peer has to hang up once both close frames have passed, or a breach was answered."""

PING_JITTER = 0.1
"""By how much of itself a ping interval varies, so that connections opened together do not ping together."""


PLAIN_LIMIT = 4096
"""The largest payload that may skip the protocol on its way out, if nothing is to be done to it."""

MAX_PINGS = 64
"""Pings that may wait for their pongs; the oldest is forgotten for one more."""

_NOWHERE: deque[Any] = deque(maxlen=0)


class Timing(NamedTuple):
    """The clocks of a connection, in seconds; None turns one off."""

    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    close_timeout: float | None = 5.0
    send_timeout: float | None = 30.0


class Connection:
    """The engine below WebSocket: see the module.

    Args:
        socket: a connected gevent socket; whoever gave it closes it, after `end`.
        protocol: the protocol's state.
        timing: the clocks.
    """

    __slots__ = (
        "_attention",
        "_clock",
        "_closers",
        "_heard",
        "_limit",
        "_messages",
        "_pings",
        "_plain_limit",
        "_poller",
        "_pong_due",
        "_protocol",
        "_reader",
        "_stream",
        "_timing",
        "fd",
        "inbox",
        "latency",
        "over",
        "peer",
    )

    def __init__(self, socket: Any, protocol: WebSocketProtocol, timing: Timing, peer: str = "") -> None:
        self.fd: int = socket.fileno()
        self.peer = peer  # for log lines
        self.inbox: deque[str | bytes] = protocol.messages  # where the poller puts messages
        self._messages = protocol.messages
        self.over = False  # nothing more will be received
        self.latency = 0.0
        self._protocol = protocol
        self._timing = timing
        self._stream = open_stream(socket, self, get_poller(), timing.send_timeout)
        self._poller = self._stream.poller
        self._reader: Any = None  # the greenlet that waits for a message
        self._attention = False  # something is to be done before a greenlet may wait
        self._closers: list[Any] = []  # greenlets that wait for the end, each with the question it asks
        self._heard = True  # something came since the clock last looked
        self._pings: dict[bytes, tuple[float, Any]] = {}  # sent and not answered: when, and who wants to know
        self._pong_due: bytes | None = None  # the newest ping that came while sending was blocked
        self._limit = 0  # what the poller has been told
        self._plain_limit = self._get_plain_limit()  # the largest payload that is sent just as it is; -1 for none
        self._clock: Any = None

    def open(self, early: bytes = b"") -> None:
        """Begin to receive, with the bytes that came along with the handshake."""
        self._stream.open()
        self.receive_data(memoryview(bytearray(early)))
        if self._stream.more():
            self.readable(memoryview(bytearray(16384)))
        if self._timing.ping_interval is not None and not self.over:
            self._set_clock(self._timing.ping_interval * random.uniform(1 - PING_JITTER, 1 + PING_JITTER), self._ping)

    def _get_plain_limit(self) -> int:
        protocol = self._protocol
        if protocol.client or protocol.close_sent or self.over:
            return -1
        return min(PLAIN_LIMIT, protocol.extension.threshold - 1) if protocol.extension else PLAIN_LIMIT

    # What the poller calls, in the hub

    def refuse_text(self) -> None:
        """Take a whole text message that is not UTF-8."""
        self._protocol.fail(InvalidData("a text message is not UTF-8"))
        self._after_receiving()

    def receive_data(self, data: memoryview) -> None:
        """Take bytes as they came."""
        self._protocol.receive_data(data)
        self._after_receiving()

    def readable(self, buffer: memoryview) -> None:
        """Receive once, or until what TLS holds back is taken."""
        stream, protocol = self._stream, self._protocol
        while True:
            target = protocol.receive_buffer()
            try:
                count = stream.receive_into(buffer if target is None else target)
            except OSError as error:
                self.receive_eof(error.errno or 0)
                return
            if count is None:
                return
            if not count:
                self.receive_eof(0)
                return
            if target is None:
                protocol.receive_data(buffer[:count])
            else:
                protocol.buffer_received(count)
            self._after_receiving()
            if not stream.more():
                return

    def writable(self) -> None:
        """Go on sending."""
        self._stream.writable()
        if self._pong_due is not None and not self._stream.blocked:
            self._stream.push(self._pong_due)
            self._pong_due = None

    def receive_eof(self, errno: int) -> None:
        """Take the end of the stream. Without a close frame before it, the connection was lost (RFC 6455 7.1.5)."""
        self._stream.close()
        self._finish()

    def run(self) -> bool:
        """Switch to the greenlet that waits for a message, if there is one for it; return whether that was so."""
        self._heard = True
        reader = self._reader
        if reader is None:
            if len(self.inbox) > 1:
                self._check_read_ahead()
        elif self._messages or self.over:
            self._reader = None
            switch_to(reader)
            return True
        return False

    def flush(self) -> None:
        """Send what the handler has left corked."""
        if self._stream.corked:
            self._stream.flush()

    def send_timed_out(self) -> None:
        """The peer takes nothing: give the connection up."""
        logger.info("%s took no bytes for %g s (send_timeout): aborted", self.peer, self._timing.send_timeout)
        self._lose("the peer takes no bytes")

    # Receiving

    def _after_receiving(self) -> None:
        """Send the replies, tell what the control frames said, and see whether it is the end."""
        protocol, stream = self._protocol, self._stream
        if protocol.controls:
            self._take_controls()
        if protocol.output:
            self._send_replies()
        if protocol.failure is not None and not self.over and self._messages:
            self.inbox = _NOWHERE
            self._attention = True
            self._set_clock(LINGER, self.end_failed)  # the handler may answer what came before the breach
        elif protocol.failure is not None:
            self.end_failed()
        elif protocol.close_received:
            self._end()
        self._set_limit()

    def _send_replies(self) -> None:
        """Send pongs and close frames; where sending is blocked, only the newest pong is kept (5.5.3)."""
        output = self._protocol.output
        if self._stream.blocked and not self._protocol.close_sent:
            self._pong_due = output[-1]
        else:
            self._stream.push(b"".join(output))
        output.clear()

    def _take_controls(self) -> None:
        controls, self._protocol.controls = self._protocol.controls, []
        for opcode, payload in controls:
            if opcode == Opcode.PONG:
                self._take_pong(payload)
            self.receive_control(opcode, payload)

    def receive_control(self, opcode: int, payload: bytes) -> None:
        """Take note of a ping (answered already) or a pong: for subclasses. Called in the hub, must not block."""

    def _take_pong(self, payload: bytes) -> None:
        """A pong answers its ping and all before it (RFC 6455 5.5.3)."""
        if payload not in self._pings:
            return
        now = time.monotonic()
        for key in list(self._pings):
            sent, result = self._pings.pop(key)
            if result is not None:
                result.set(now - sent)
            if key == payload:
                self.latency = now - sent
                return

    def _set_limit(self) -> None:
        """Tell the poller whether whole messages may skip the protocol."""
        protocol = self._protocol
        limit = 0 if self._stream.opaque else protocol.simple_limit
        if limit and protocol.client:
            limit |= PEER_IS_SERVER
        if limit != self._limit:
            self._limit = limit
            self._poller.set_limit(self, limit)

    def _check_read_ahead(self) -> None:
        """Pause receiving when the handler is too far behind."""
        inbox = self.inbox
        if self._stream.paused or self.over:
            return
        if len(inbox) >= READ_AHEAD or sum(map(len, inbox)) >= self._protocol.max_message_size:
            self._stream.pause()
            self._attention = True

    # The end

    def end_failed(self) -> None:
        """Answer a breach, and end the connection."""
        protocol = self._protocol
        error = protocol.failure
        if self.over or error is None:
            return
        protocol.answer_failure()
        if protocol.output:
            self._send_replies()
        option = " (max_message_size)" if isinstance(error, PayloadTooBig) else ""
        logger.info("%s: closed with %d: %s%s", self.peer, error.close_code, error, option)
        self._end()

    def _end(self) -> None:
        """End our side, and give the peer a moment to end its own (RFC 6455 7.1.1)."""
        self._stream.end()
        if self._stream.paused:
            self._stream.resume()
        self._set_clock(LINGER, self._stop)
        self._finish()

    def _lose(self, reason: str, code: int = CloseCode.ABNORMAL_CLOSURE) -> None:
        """Give the connection up without a closing handshake."""
        if not self._protocol.close_received and not self.over:
            self._protocol.close_code, self._protocol.close_reason = int(code), reason
        self._stream.hang_up()
        self._finish()

    def _stop(self) -> None:
        """The peer does not hang up in time: do it ourselves."""
        self._stream.hang_up()
        self._finish()

    def _finish(self) -> None:
        """Note that nothing more will come, and wake everybody who waits."""
        self._plain_limit = -1
        if self._stream.closed:
            self._set_clock(None, None)
        if not self.over:
            self.over = self._attention = True
            for _sent, result in self._pings.values():
                if result is not None:
                    result.set_exception(self.closed_error())
            self._pings.clear()
            self.inbox = _NOWHERE
        self._poller.loop.run_callback(self.run)
        if self._closers:
            self._poller.loop.run_callback(self._wake_closers)

    def _wake_closers(self) -> None:
        """Run the greenlets that wait for the end and find it."""
        for waiter in tuple(self._closers):
            if waiter in self._closers and waiter[1]():
                self._closers.remove(waiter)
                waiter[0].switch()

    def closed_error(self) -> ConnectionClosed:
        """Return the error that says how the connection ended."""
        return ConnectionClosed(self._protocol.close_code, self._protocol.close_reason)

    # Clocks

    def _set_clock(self, seconds: float | None, callback: Any) -> None:
        """Have the connection's one timer call back, once; None stops it."""
        if self._clock is not None:
            self._clock.close()
            self._clock = None
        if seconds is not None:
            self._clock = self._poller.loop.timer(seconds)
            self._clock.start(callback)

    def _ping(self) -> None:
        """Send a keepalive ping, and look for life later."""
        if self._protocol.close_sent:
            return
        if not self._stream.pending:
            self.send_ping(random.randbytes(4))
        self._heard = False
        timeout = self._timing.ping_timeout
        self._set_clock(timeout if timeout is not None else self._next_ping(0), self._check_life)

    def _check_life(self) -> None:
        """Give a peer up from which nothing came since the ping; what waits unread counts as life."""
        timing = self._timing
        if self._heard or self._stream.paused or timing.ping_timeout is None:
            self._set_clock(self._next_ping(timing.ping_timeout or 0), self._ping)
            return
        logger.info("%s sent nothing for %g s after a ping (ping_timeout): aborted", self.peer, timing.ping_timeout)
        self._lose("keepalive ping timeout", CloseCode.INTERNAL_ERROR)

    def _next_ping(self, elapsed: float) -> float:
        interval = self._timing.ping_interval or 0
        return max(interval * random.uniform(1 - PING_JITTER, 1 + PING_JITTER) - elapsed, interval / 10)

    def send_ping(self, payload: bytes, result: Any = None) -> None:
        """Send a ping whose round trip in seconds is set on `result`. Never blocks."""
        self._stream.push(self._protocol.encode_control(Opcode.PING, payload))
        while len(self._pings) >= MAX_PINGS:
            del self._pings[next(iter(self._pings))]
        self._pings[payload] = (time.monotonic(), result)

    def begin_close(self, code: int | None, reason: str) -> None:
        """Send a close frame, after which nothing can be sent. Never blocks."""
        self._protocol.send_close(code, reason)
        self._plain_limit = -1
        if self._protocol.output:
            self._send_replies()

    # What blocks

    def finish(self, code: int | None, reason: str, timeout: float | None) -> None:
        """Close, and block until nothing more will come, for `timeout` seconds at the most (RFC 6455 7.1.2)."""
        if not self.over:
            self.begin_close(code, reason)
            self.wait_until(lambda: self.over, timeout)
            if not self.over:
                self._lose("the peer did not answer the close frame (close_timeout)")

    def wait_closed(self) -> None:
        """Block until the TCP connection has ended on both sides, which takes LINGER at the most."""
        if not self._stream.closed:
            self.wait_until(lambda: self._stream.closed, LINGER)
            self._stop()

    def wait_until(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Block until `done`, which is asked whenever something happens, or the time is up."""
        if done():
            return
        hub = self._poller.hub
        waiter = (getcurrent(), done)
        timer = None if timeout is None else hub.loop.timer(timeout)

        def expire() -> None:
            if waiter in self._closers:
                self._closers.remove(waiter)
                waiter[0].switch()

        self._closers.append(waiter)
        if timer is not None:
            timer.start(expire)
        try:
            hub.switch()
        finally:
            if timer is not None:
                timer.close()
            if waiter in self._closers:
                self._closers.remove(waiter)
