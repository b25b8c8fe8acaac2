"""One connection at work: the protocol's state machine on a stream, with its clocks.

It receives without being asked, answers pings and closes, keeps the peer's pace, notices a dead peer, and ends what has
to end. What it does not do is run anybody's code: `WebSocket` (a greenlet that waits) and `WebSocketApplication`
(callbacks) decide that, in `run`.

All callbacks run in the hub, and nothing blocks.
"""

from __future__ import annotations

import errno
from collections import deque
from functools import partial
from logging import INFO
from typing import TYPE_CHECKING, Any

from ..exceptions import ConnectionClosed, ProtocolError
from ..frames import CloseCode, Opcode
from ..protocol.memory import measure, read_ahead
from ..protocol.messages import not_utf8
from .intake import decode, find_fast_path, receive
from .keepalive import Keepalive, Timing
from .loop.deadlines import Deadline
from .loop.poller import get_poller, switch_to
from .options import LINGER
from .stream import Stream
from .waiters import Waiters

if TYPE_CHECKING:
    from ..protocol.interface import ConnectionProtocol

READ_AHEAD = 64
"""Messages received ahead of a busy handler, past which receiving pauses. Their bytes are bounded, too: memory.py."""

_NOWHERE: deque[Any] = deque(maxlen=0)


class Connection:
    """The engine below WebSocket: see the module.

    Args:
        socket: a connected gevent socket; whoever gave it closes it, after `end`.
        protocol: the protocol's state.
        timing: the clocks.
        address: the peer's, for log lines.
    """

    __slots__ = (  # fmt: skip
        "_address", "_arrived", "_attention", "_clock", "_corked", "_heard", "_keepalive", "_limit", "_messages",
        "_plain_limit", "_poller", "_pong_due", "_protocol", "_reader", "_stream", "_timing", "_waiters",
        "early", "fd", "inbox", "over",
    )

    def __init__(self, socket: Any, protocol: ConnectionProtocol, timing: Timing, address: str = "") -> None:
        self.fd: int = socket.fileno()
        self._address = address
        self.early = b""  # bytes that came along with the handshake
        self.inbox: Any = protocol.inbox  # where the poller puts messages
        self._arrived = protocol.inbox
        self._messages: list[Any] = []  # what was taken of them at once, the newest first
        protocol.pending = self._messages
        self.over = False  # nothing more will be received
        self._protocol = protocol
        self._timing = timing
        self._stream = Stream(socket, self, get_poller(), timing.send_timeout)
        self._poller = self._stream.poller
        self._corked = self._stream.corked
        self._reader: Any = None  # the greenlet that waits for a message
        self._attention = False  # something is to be done before a greenlet may wait
        self._waiters: Waiters | None = None  # who waits for the end
        self._keepalive = Keepalive(timing, self._poller.clock)
        self._heard = False  # something came since the clock last looked
        self._pong_due: bytes | None = None  # the newest ping that came while sending was blocked
        self._limit = 0  # what the poller has been told
        self._plain_limit = -1  # the largest payload that is sent just as it is; -1 for none
        self._clock: Any = None

    def open(self, early: bytes = b"") -> None:
        """Begin to receive, with the bytes that came along with the handshake."""
        self._stream.open()
        self._set_clock(self._keepalive.start(), self._tick)
        early, self.early = early or self.early, b""
        if early:
            self.receive_data(memoryview(bytearray(early)))
        else:
            self._set_limit()
        if self._stream.more():  # the server's reader may have taken a part of a TLS record
            self.readable()

    @property
    def peer(self) -> str:
        """Whose connection this is, for log lines."""
        return self._address

    @property
    def _held(self) -> int:
        """Bytes that are held for this connection, besides itself: see memory.py."""
        waiting = measure(self._arrived) + measure(self._messages)
        return waiting + self._protocol.measure() + self._stream.measure() + self._keepalive.measure()

    # What the poller calls, in the hub

    def refuse_text(self) -> None:
        """Take a whole text message that is not UTF-8."""
        self._protocol.fail(not_utf8())
        self.after_receiving()

    def receive_data(self, data: memoryview) -> None:
        """Take bytes as they came."""
        decode(self, self._protocol, self._poller.turns, data)

    def readable(self) -> None:
        """Receive once, or until what TLS holds back is taken."""
        while receive(self, self._protocol, self._stream, self._limit):
            pass

    def writable(self) -> None:
        """Go on sending."""
        self._stream.writable()
        if self._pong_due is not None and not self._stream.blocked:
            self._stream.push(self._pong_due)
            self._pong_due = None

    def receive_eof(self, number: int) -> None:
        """Take the end of the stream. Without a close frame before it, the connection was lost (RFC 6455 7.1.5)."""
        self._stream.close()
        self._finish()

    def receive_error(self) -> None:
        """Say 1011 for what was raised in here, after what came before, and end."""
        protocol = self._protocol
        protocol.fail(ProtocolError("an internal error", CloseCode.INTERNAL_ERROR))
        self.after_receiving()
        if protocol.close_sent and not self.over:
            self._end()

    def run(self) -> bool:
        """Switch to the greenlet that waits for a message, if there is one for it; return whether that was so."""
        self._heard = True
        reader = self._reader
        if reader is None:
            if self.inbox:
                self._poller.call(self, self._check_read_ahead)
        elif self._arrived or self.over:
            self._reader = None
            switch_to(reader)
            return True
        return False

    def flush(self) -> None:
        """Send what the handler has left corked."""
        if self._corked:
            self._stream.flush()

    def send_timed_out(self) -> None:
        """The peer takes too little: give the connection up."""
        timeout = self._timing.send_timeout
        self._poller.log.tell(INFO, "%s took less than 64 KB in %g s (send_timeout): aborted", self.peer, timeout)
        self._lose("the peer takes no bytes, or too few")

    # Receiving

    def after_receiving(self) -> None:
        """Send the replies, tell what the control frames said, and see whether it is the end."""
        protocol = self._protocol
        if protocol.controls:
            self._take_controls()
        if protocol.output:
            self._send_replies(last=protocol.end_due and not self.over)
        if protocol.close_reply_pending and not self.over:
            self.inbox = _NOWHERE
            if self._arrived or self._messages:
                self._attention = True
                self._set_clock(LINGER, self.answer)  # the handler may answer what came before
            else:
                self.answer()
        elif protocol.end_due and not self.over:
            self._end()
        self._set_limit()

    def _send_replies(self, last: bool = False) -> None:
        """Send pongs and close frames; where sending is blocked, only the newest pong is kept (5.5.3).

        The `last` ones are left to `_end`, which follows.
        """
        output = self._protocol.output
        if self._stream.blocked and not self._protocol.close_sent:
            self._pong_due = output[-1]
        else:
            data = b"".join([self._pong_due or b"", *output])
            if last:
                self._corked.append(data)
            else:
                self._stream.push(data)
            self._pong_due = None  # it may not come after a close frame
        self._protocol.output = ()

    def _take_controls(self) -> None:
        controls, self._protocol.controls = self._protocol.controls, ()
        for opcode, payload in controls:
            if opcode == Opcode.PONG:
                self._keepalive.take_pong(payload)
            self.receive_control(opcode, payload)

    def receive_control(self, opcode: int, payload: bytes) -> None:
        """Take note of a ping (answered already) or a pong: for subclasses. Called in the hub, must not block."""

    def _set_limit(self) -> None:
        """Tell the poller whether whole messages may skip the protocol."""
        if self._stream.closed:
            return
        limit = 0 if self._stream.paused else find_fast_path(self._protocol)
        if limit != self._limit:
            self._limit = limit
            # what TLS has, and what only the protocol can inflate, is received in `readable`, and split there
            extension = self._protocol.extension
            if not self._stream.opaque and (extension is None or extension.fast_path):
                self._poller.set_fast_path(self._stream.channel, limit)

    def _check_read_ahead(self) -> None:
        """Pause receiving when the handler is too far behind."""
        if self._stream.paused or self.over:
            return
        inbox, messages = self.inbox, self._messages
        limit = read_ahead(self._protocol.max_message_size)
        if len(inbox) + len(messages) >= READ_AHEAD or measure(inbox) + measure(messages) > limit:
            self.hold_back()

    def hold_back(self) -> None:
        """Receive and decode no more until the handler has taken what waits."""
        if self._protocol.close_sent:
            self._discard()
            return
        self._attention = True
        self._pause()

    def go_on_later(self) -> None:
        """Receive and decode no more until the next turn."""
        self._pause()
        self._poller.turns.later(partial(self._poller.call, self._stream.channel, self._go_on))

    def _pause(self) -> None:
        if not self._stream.paused:
            self._stream.pause()
            self._set_limit()

    def _go_on(self) -> None:
        if self._stream.paused and not self._attention:  # else the handler has taken that over
            self._catch_up()
            self._poller.clock.run_callback(self.run)

    def _catch_up(self) -> None:
        """Go on with what was kept, and then receive again."""
        if decode(self, self._protocol, self._poller.turns):
            self._stream.resume()
            self._set_limit()
            if self._stream.more():
                self.readable()

    # The end

    def answer(self) -> None:
        """Answer the peer's close frame, or its violation of the rules, and end the connection."""
        protocol = self._protocol
        if self.over or not protocol.close_reply_pending:
            return
        protocol.reply_to_close()
        self._send_replies(last=True)
        error = protocol.failure
        if error is not None:
            code, why = error.close_code, f"{error} ({error.option})" if error.option else str(error)
            self._poller.log.tell(INFO, "%s: closed with %d: %s", self.peer, code, why)
        self._end()

    def _end(self) -> None:
        """End the stream (RFC 6455 7.1.1): at once where the peer has nothing more to say; otherwise we end our side,
        and give it a moment to read why and to end its own."""
        stream = self._stream
        stream.flush_last()
        if self._protocol.ends_first and not stream.blocked:
            self._stop()
            return
        stream.end()
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
            self._protocol.receive_eof()
            self._keepalive.end(self.closed_error)
            self.inbox = _NOWHERE
        if self._reader is not None:
            self._poller.later(self.run)
        if self._waiters is not None:
            self._waiters.wake_soon()

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
            self._clock = self._poller.clock.timer(seconds)
            self._clock.start(self._poller.call, self._stream.channel, callback, update=True)

    def _tick(self) -> None:
        """Send a keepalive ping, or give a peer up that is gone."""
        if self.over or self._protocol.close_sent:
            return
        if self._stream.abandoned:
            self.receive_eof(errno.EBADF)
            return
        # What has come while something else held the loop up is a sign of life, too.
        alive, self._heard = self._heard or self._stream.paused or self._stream.has_input(), False
        wait = self._keepalive.tick(alive, self._push_ping)
        if wait is not None:
            self._set_clock(wait, self._tick)
            return
        timeout = self._timing.ping_timeout
        self._poller.log.tell(INFO, "%s sent nothing for %g s after a ping (ping_timeout)", self.peer, timeout)
        self.begin_close(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")  # should it be there after all
        self._lose("keepalive ping timeout", CloseCode.INTERNAL_ERROR)

    def _push_ping(self, payload: bytes) -> None:
        if not self._stream.blocked:  # after what the peer does not take it would be no ping
            self._stream.push(self._protocol.encode_control(Opcode.PING, payload))

    def send_ping(self, payload: bytes, result: Any) -> None:
        """Send a ping whose round trip in seconds is set on `result`. Never blocks."""
        frame = self._protocol.encode_control(Opcode.PING, payload)
        if not self._stream.has_room:
            result.set_exception(TimeoutError("the peer takes no bytes: the ping was not sent"))
            return
        self._stream.push(frame)
        self._keepalive.note(payload, result)

    @property
    def latency(self) -> float:
        """Seconds that the last answered ping took to come back, 0.0 before."""
        return self._keepalive.latency

    def begin_close(self, code: int | None, reason: str) -> None:
        """Send a close frame, after which nothing can be sent, and give the peer `close_timeout`. Never blocks."""
        begun = self._protocol.close_sent
        self._protocol.send_close(code, reason)
        self._plain_limit = -1
        if self._protocol.output:
            self._send_replies()
        if self._protocol.end_due:
            self._end()  # the peer has closed already, or has none to wait for: draft 75 has no closing frame
            return
        if not begun:
            self._set_clock(None, None)
            if self._timing.close_timeout is not None:
                call = self._poller.call, self._stream.channel, self._close_timed_out
                self._clock = Deadline(self._poller.clock, self._timing.close_timeout, self._stream.has_input, *call)
        if self._stream.paused:
            self._discard()

    def _close_timed_out(self) -> None:
        self._lose("the peer did not answer the close frame (close_timeout)")

    def _discard(self) -> None:
        """Drop the messages still to come: the handler has closed, and is too far behind to take them."""
        self._protocol.pending = ()
        self.inbox = self._protocol.inbox = _NOWHERE
        self._catch_up()
