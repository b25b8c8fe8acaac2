"""One connection at work: it joins the protocol's state machine, the stream, and the inbox of received messages.

The poller knows a connection as this object. It receives on its own, answers pings and close frames, pauses when the
handler is behind, notices a dead peer, and ends the connection: with the help of intake.py, keepalive.py and
closing.py. It does not run the user's code: that runs in the greenlet that waits in `WebSocket.wait`, or in the runner
of callbacks.

The loop holds the connection, the connection holds the greenlet that waits, and that greenlet's frames hold the
`WebSocket`. The connection itself does not refer to its `WebSocket`: when a client drops that, the connection ends.

The methods that the poller calls run in the hub, or in a greenlet that parks: they never block.
"""

from __future__ import annotations

import errno
from logging import INFO
from typing import TYPE_CHECKING, Any

from ..exceptions import ConnectionClosed, ProtocolError
from ..frames import CloseCode
from ..protocol.memory import measure
from ..protocol.messages import not_utf8
from ..text import one_word
from .closing import Closing, Runner
from .fragments import Fragments, find_plain_limit
from .intake import NOWHERE, check_read_ahead, decode, receive_all, update_fast_path
from .keepalive import Keepalive
from .loop.forks import keep
from .loop.poller import get_poller, switch_to
from .stream import Stream

if TYPE_CHECKING:
    from ..protocol.interface import ConnectionProtocol
    from .options import Timing
    from .published.outlet import Outlet


class Handshake:
    """The facts about a connection that are known from its opening handshake.

    Args:
        address: the peer's, or on a client the URI; for log lines.
        path: the path of the request, on a server.
        protocol: the negotiated subprotocol, or None.
        origin: the Origin header of the request, or None.
        version: the version of the protocol, 13 or 8; 75 or 76 for the drafts.
        trailing_data: bytes that followed the handshake; they are received when the connection is opened.
    """

    __slots__ = ("address", "origin", "path", "protocol", "trailing_data", "version")

    def __init__(
        self,
        address: str = "",
        path: str = "",
        protocol: str | None = None,
        origin: str | None = None,
        version: int = 13,
        trailing_data: bytes = b"",
    ) -> None:
        self.address: str = address
        self.path: str = path
        self.protocol: str | None = protocol
        self.origin: str | None = origin
        self.version: int = version
        self.trailing_data: bytes = trailing_data


class Connection:
    """One connection at work: see the module.

    Args:
        socket: a connected gevent socket; its owner closes it, once the connection has ended.
        protocol: the protocol's state.
        timing: the clocks.
        handshake: what is known from the handshake.
        owned_socket: the same socket, if the connection itself is to close it.
    """

    __slots__ = (  # fmt: skip
        "_closing", "alive_since_tick", "ended", "fast_path", "fd", "fragments", "handshake", "inbox", "keepalive",
        "outlet", "owned_socket", "protocol", "reader", "runner", "stream", "wait_needs_work",
    )

    def __init__(
        self,
        socket: Any,
        protocol: ConnectionProtocol,
        timing: Timing,
        handshake: Handshake,
        *,
        owned_socket: Any = None,
    ) -> None:
        # What it joins
        self.fd: int = socket.fileno()  # the socket's descriptor, by which the poller knows us
        self.handshake: Handshake = handshake  # facts from the handshake, such as the peer's address
        self.protocol: ConnectionProtocol = protocol  # the state machine: what was sent, and what may be sent
        # all bytes go through it, in both directions
        self.stream: Stream = Stream(socket, self, get_poller(), timing.send_timeout)
        self.keepalive: Keepalive = Keepalive(timing, self.stream.poller.clock)  # pings and pongs
        # Receiving
        protocol.pending = []
        self.inbox: list[Any] = protocol.inbox  # where the poller puts messages: the protocol's own list, or NOWHERE
        self.fast_path: int = 0  # the word of `find_fast_path` that was set last
        self.alive_since_tick: bool = False  # whether something was received since `tick` last looked
        self.reader: Any = None  # the greenlet that waits for a message
        self.wait_needs_work: bool = False  # whether `prepare_to_wait` has work to do before a greenlet may wait
        self.runner: Runner | None = None  # passes the messages to callbacks; None if a greenlet waits for them
        # Sending
        self.fragments: Fragments | None = None  # the message that is being sent in parts
        self.outlet: Outlet | None = None  # for messages that others send to it; made when first used
        # The end
        self.ended: bool = False  # whether nothing more will be received
        self.owned_socket: Any = owned_socket  # the socket to close when the connection has ended
        self._closing: Closing | None = None  # made when first used
        self.stream.plain_limit = find_plain_limit(self)

    def open(self) -> None:
        """Start receiving, beginning with the bytes that followed the handshake."""
        self.stream.open()
        self.keepalive.start(self)
        data, self.handshake.trailing_data = self.handshake.trailing_data, b""
        if data:
            self.receive_data(memoryview(bytearray(data)))
        else:
            update_fast_path(self)
        if self.stream.more():  # the server's reader may have taken a part of a TLS record
            self.readable()

    @property
    def peer(self) -> str:
        """The peer, for log lines: its address and the path of the handshake; on a client, the URI."""
        return f"{one_word(self.handshake.address)} {one_word(self.handshake.path)}".strip()

    @property
    def closing(self) -> Closing:
        """The end of the connection: what brings it about, and who waits for it. Made when first used."""
        if self._closing is None:
            self._closing = Closing(self)
        return self._closing

    @property
    def closed(self) -> bool:
        """Whether the connection is closed or closing, so that nothing can be sent any more."""
        return self.ended or self.protocol.close_sent

    def closed_error(self) -> ConnectionClosed:
        """Return the error that says how the connection ended."""
        return ConnectionClosed(self.protocol.close_code, self.protocol.close_reason)

    @property
    def held(self) -> int:
        """Bytes that are held for this connection, besides itself: see memory.py."""
        waiting = measure(self.protocol.inbox) + measure(self.protocol.pending)
        if self._closing is not None:
            waiting += self._closing.measure()
        return waiting + self.protocol.measure() + self.stream.measure() + self.keepalive.measure()

    # What the poller calls

    def refuse_text(self) -> None:
        """Fail the connection for a whole text message that is not UTF-8."""
        self.protocol.fail(not_utf8())
        self.after_receiving()

    def receive_data(self, data: memoryview) -> None:
        """Have the protocol decode received bytes."""
        decode(self, data)

    def readable(self) -> None:
        """Receive once; over TLS, until nothing is left that TLS has received already."""
        receive_all(self)

    def writable(self) -> None:
        """Go on sending."""
        self.stream.writable()
        if self.outlet is not None and not self.stream.blocked:
            self.outlet.drained()
        if self.protocol.output and not self.stream.blocked:
            self.send_replies()

    def receive_eof(self, number: int) -> None:
        """Note that the stream has ended. Without a close frame before, the connection was lost (RFC 6455 7.1.5)."""
        self.stream.close()
        self.on_closed()

    def receive_error(self) -> None:
        """Close with 1011 after an error of ours, once the messages received before are taken."""
        protocol = self.protocol
        protocol.fail(ProtocolError("an internal error", CloseCode.INTERNAL_ERROR))
        self.after_receiving()
        if protocol.close_sent and not self.ended:
            self.closing.shut_down()

    def run(self) -> bool:
        """Switch to the greenlet that waits, if there is a message for it; return whether there was."""
        self.alive_since_tick = True
        reader = self.reader
        if reader is None:
            if self.runner is not None:
                return self.runner.run()
            if self.inbox:
                self.stream.poller.call(self, check_read_ahead, self)
        elif self.inbox or (self.wait_needs_work and (self.protocol.inbox or self.ended)):
            self.reader = None
            switch_to(reader)
            return True
        return False

    def flush(self) -> None:
        """Send the frames that the handler has left corked."""
        if self.stream.corked:
            self.stream.flush()

    def disown(self) -> None:
        """In a forked child: leave the connection to the parent. Here it is over, and the peer does not notice.

        Messages that were not taken are the parent's. Greenlets that wait for something go on waiting: see forks.py.
        """
        protocol = self.protocol
        self.stream.disown()
        keep(self.reader)
        self.reader = None
        if self.runner is not None:
            self.runner.disown()
        if self._closing is not None:
            self._closing.disown()
        self.keepalive.forget()
        for messages in (protocol.inbox, protocol.pending):
            if messages:
                messages.clear()
        protocol.output = ()
        if not self.ended:
            protocol.close_code = CloseCode.ABNORMAL_CLOSURE.value
            protocol.close_reason = "the process has forked"
        self.on_closed()

    def send_timed_out(self) -> None:
        """End the connection, as the peer accepts too little data."""
        timeout = self.keepalive.timing.send_timeout
        log = self.stream.poller.log
        log.tell(INFO, "%s took less than 64 KB in %g s (send_timeout): aborted", self.peer, timeout)
        self.closing.abort("the peer takes no bytes, or too few")

    # After receiving

    def after_receiving(self) -> None:
        """Send the replies, pass on the control frames, and see whether the connection has to end."""
        protocol = self.protocol
        if protocol.controls:
            controls, protocol.controls = protocol.controls, ()
            self.keepalive.receive_controls(controls, self.stream.poller.call_out)
        if protocol.output:
            self.send_replies(last=protocol.end_due and not self.ended)
        if protocol.close_reply_pending and not self.ended:
            self.inbox = NOWHERE
            if protocol.inbox or protocol.pending:
                self.wait_needs_work = True
                self.closing.reply_later()
            else:
                self.closing.reply()
        elif protocol.end_due and not self.ended:
            self.closing.shut_down()
        update_fast_path(self)

    def send_replies(self, last: bool = False) -> None:
        """Send pongs and close frames. While sending is blocked, only the newest pong is kept (RFC 6455 5.5.3).

        With `last`, the stream ends right after them: they leave in one packet with its end.
        """
        protocol, stream = self.protocol, self.stream
        if stream.blocked and not protocol.close_sent:
            protocol.output = protocol.output[-1:]
            return
        data = b"".join(protocol.output)
        protocol.output = ()
        if last:
            stream.corked.append(data)
        else:
            stream.push(data)

    def send_control(self, opcode: int, payload: bytes) -> None:
        """Send a ping or a pong, or drop it if nothing can be sent any more. Does not block.

        Raises:
            ValueError: the payload is longer than 125 bytes.
        """
        frame = self.protocol.encode_control(opcode, payload)
        if not self.closed:
            self.stream.push(frame)

    def discard(self) -> None:
        """Drop all further messages: see `Closing.discard`."""
        self.closing.discard()

    def on_closed(self) -> None:
        """Note that nothing more will be received, and wake all greenlets that wait."""
        stream = self.stream
        stream.plain_limit = -1
        if self.outlet is not None:
            self.outlet.end()
        if not self.ended:
            self.ended = self.wait_needs_work = True
            self.protocol.receive_eof()
            self.keepalive.end(self.closed_error)
            self.inbox = NOWHERE
        if self.reader is not None or self.runner is not None:
            stream.poller.later(self.run)
        if self._closing is not None:
            self._closing.on_closed()
        if stream.closed and self.owned_socket is not None:
            self.owned_socket.close()

    def go_away(self, code: int) -> None:
        """Begin to close because the server stops. Never blocks."""
        if not self.ended:
            self.closing.begin(code, "")

    # The clock of keepalive.py

    def tick(self) -> None:
        """Send a ping if it is due, or end the connection if the peer is dead. Never raises."""
        self.stream.poller.call(self, self._tick)

    def _tick(self) -> None:
        stream = self.stream
        if self.closed:
            return
        if stream.abandoned:
            self.receive_eof(errno.EBADF)
            return
        # Bytes that arrived while something else held the loop up are a sign of life, too.
        alive, self.alive_since_tick = self.alive_since_tick or stream.paused or stream.has_input(), False
        if self.keepalive.tick(self, alive):
            return
        timeout = self.keepalive.timing.ping_timeout
        stream.poller.log.tell(INFO, "%s sent nothing for %g s after a ping (ping_timeout)", self.peer, timeout)
        self.closing.begin(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")  # in case the peer is there after all
        self.closing.abort("keepalive ping timeout", CloseCode.INTERNAL_ERROR)
