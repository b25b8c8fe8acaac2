"""WebSocket: the connection as a handler sees it, in blocking calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gevent.event import AsyncResult
from greenlet import error as GreenletError
from greenlet import getcurrent

from .engine.keepalive import Timing
from .engine.loop.deadlines import Deadline
from .engine.loop.forks import keep
from .engine.options import LINGER
from .engine.sending import Sender
from .engine.waiters import Waiters
from .exceptions import ConcurrencyError
from .frames import CloseCode
from .protocol.json import send_json, wait_json
from .text import one_word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from gevent.event import Event
    from typing_extensions import Self

    from .protocol.interface import ConnectionProtocol

__all__ = ["WebSocket"]

SLICE = 512
"""Messages that are taken at once: a flood of tiny ones is no reason to keep the loop from its turn."""

SLICE_UNITS = 16
"""What so many count for: see turns.py."""

EXITS = (SystemExit, KeyboardInterrupt)
"""What ends the program, and so waits for no peer."""


class WebSocket(Sender):
    """One WebSocket connection, with calls that block this greenlet only.

    `send`, `ping` and `close` may be called from any greenlet of the connection's thread, also at once; `wait`
    from one at a time. A `gevent.Timeout` or a kill thrown into any of them leaves the connection in step.

    Attributes:
        path: PATH_INFO of the handshake.
        protocol: the negotiated subprotocol, or None.
        origin: the Origin header of the handshake, or None.
        version: the version of the protocol, 13 or 8.
    """

    __slots__ = ("__weakref__", "_environ", "origin", "path", "protocol", "version")

    def __init__(
        self,
        socket: Any,
        protocol: ConnectionProtocol,
        timing: Timing,
        *,
        environ: dict[str, Any] | None = None,
        subprotocol: str | None = None,
        origin: str | None = None,
        version: int = 13,
    ) -> None:
        self._environ: Any = environ if environ is not None else {}  # or packed: see hosts/pywsgi.py
        self.path: str = self.environ.get("PATH_INFO", "")
        self.protocol = subprotocol
        self.origin = origin
        self.version = version
        super().__init__(socket, protocol, timing, self.environ.get("REMOTE_ADDR", ""))

    def __repr__(self) -> str:
        state = f"closed {self.close_code}" if self.closed else "open"
        return f"<WebSocket {self.peer.strip()} {state}>"

    @property
    def peer(self) -> str:
        """Whose connection this is, for log lines: the address, and the path."""
        return f"{one_word(self._address)} {one_word(self.path)}"

    @property
    def environ(self) -> dict[str, Any]:
        """The WSGI environment of the handshake; {} on a client."""
        if not isinstance(self._environ, dict):
            self._environ = self._environ.unpack()
        return self._environ

    # Receiving

    def wait(self, timeout: float | None = None) -> str | bytes | None:
        """Return the oldest message not yet taken. Blocks until there is one.

        Args:
            timeout: seconds to block at the most; None blocks for as long as the connection lives.

        Returns:
            `str` for a text message (`bytes` where the route has `decode_text=False`) and `bytes` for a binary one,
            either may be empty; None once the connection is over and every message was taken, now and on every later
            call.

        Raises:
            TimeoutError: nothing came in time; nothing is lost, and `wait` may be called again.
            ConcurrencyError: another greenlet is in `wait`; or this is another thread than that of the connection.
        """
        messages, arrived = self._messages, self._arrived
        if not messages:
            if not arrived:
                if timeout is None:
                    self._wait_for_more()
                else:
                    self._wait_with_timeout(timeout)
                if not arrived:
                    return None
            if len(arrived) == 1:
                message: str | bytes = arrived[0]
                arrived.clear()
                return message
            self._take()
        return messages.pop()  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages, until the connection is over. Blocks, and raises, as `wait` does."""
        if type(self).wait is not WebSocket.wait:
            others: Iterator[str | bytes] = iter(self.wait, None)
            yield from others
            return
        messages, arrived = self._messages, self._arrived
        while True:
            while messages:
                yield messages.pop()
            if not arrived:
                if self.over:
                    return
                self._wait_for_more()
            if len(arrived) == 1:
                message = arrived[0]
                arrived.clear()
                yield message
                del message  # it may be large, and the next one far
            else:
                self._take()

    def _take(self) -> None:
        """Take what has arrived, the newest first: a list gives from its end at once, and takes no room when empty."""
        self._check_alone()
        arrived = self._arrived
        if len(arrived) > SLICE:
            self._poller.turns.spend(SLICE_UNITS)
        self._messages += arrived[SLICE - 1 :: -1]
        del arrived[:SLICE]

    def _drop_messages(self) -> None:
        """Forget what has come and was not given out."""
        self._arrived.clear()
        self._messages.clear()

    def _check_alone(self) -> None:
        if self._reader is not None:
            raise ConcurrencyError(f"{self._reader!r} is waiting for this connection's messages already")

    def _wait_for_more(self) -> None:
        """Block until there is a message, or none will come."""
        if (self._attention or self._reader is not None) and not self._prepare_to_wait():
            return
        if self._corked:
            self._stream.flush()
        self._reader = getcurrent()
        try:
            self._poller.park(self)
        except BaseException as error:
            self._reader = None
            if isinstance(error, GreenletError):
                self._check_thread()
            raise

    def _prepare_to_wait(self) -> bool:
        """See to what has to be done before this greenlet may wait; return whether anything will come."""
        self._check_alone()
        held_back, self._attention = self._attention, self.over
        if self._protocol.close_reply_pending:
            self.answer()
        if held_back and self._stream.paused:
            self._catch_up()
        return not (self.over or self._arrived)

    def _wait_with_timeout(self, timeout: float) -> None:
        """Block until there is a message, or none will come, or the time is up: TimeoutError."""
        self._check_thread()
        if not self._prepare_to_wait():
            return
        expired = False

        def expire() -> None:
            nonlocal expired
            if self._reader is waiter:
                expired = True
                self._reader = None
                waiter.switch()

        self._stream.flush()
        waiter = self._reader = getcurrent()
        deadline = Deadline(self._poller.clock, max(timeout, 0), self._stream.has_input, expire)
        try:
            self._poller.park(self, patient=False)
        finally:
            self._reader = None
            deadline.close()
        if expired and not self._arrived and not self.over:
            raise TimeoutError(f"no message came within {timeout:g} s")

    def ping(self, payload: bytes | bytearray | memoryview | None = None) -> AsyncResult:
        """Send a ping (RFC 6455 5.5.2). Does not block.

        Args:
            payload: bytes-like, at most 125 bytes; four random ones when None.

        Returns:
            An `AsyncResult` that gets the round trip in seconds with the pong: `ws.ping().get(timeout=5)`. It gets
            `ConnectionClosed` when the connection ends before, and `TimeoutError` when 64 later pings are not answered
            either, or when so much waits to be sent that the ping is not.

        Raises:
            ConnectionClosed: the connection is over, or has begun to close.
            TypeError: the payload is not bytes-like.
            ValueError: it is too long.
        """
        self._check_thread()
        if self._protocol.close_sent or self.over:
            raise self.closed_error()
        result = AsyncResult()
        self.send_ping(os.urandom(4) if payload is None else bytes(memoryview(payload)), result)
        return result

    send_json = send_json
    wait_json = wait_json

    # The end

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection (RFC 6455 7.1.2). Blocks until the peer has answered, for `close_timeout` at the most.

        Idempotent; any greenlet may call it, and a greenlet in `wait` gets the messages that came, then None.

        Args:
            code: 1000, 1001, 1002, 1003, 1007 to 1014, or 3000 to 4999.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ValueError: code or reason may not be sent. Nothing is sent, and the connection lives.
        """
        if code == CloseCode.NO_STATUS_RCVD:  # it says that a close frame had no code: never set by an endpoint (7.4.1)
            raise ValueError(f"close code {code} may not be sent")
        self.finish(code, reason)

    @property
    def ended(self) -> Event:
        """A gevent `Event` that is set when nothing more will be received; made at the first use, and not yours to set.

        To wait for it beside other things, as `gevent.wait([queue_event, ws.ended], count=1)` does, or to have a
        function called: `ws.ended.rawlink(function)`. That one is called in the hub, with the event, must not block,
        and what it raises is reported there. Messages that came before may still be taken, and what is sent is lost.

        While receiving is paused, since the handler is too far behind with its messages, an end is not seen.
        """
        self._waiters = self._waiters or Waiters(self._poller)
        return self._waiters.get_event(self.over)

    def disown(self) -> None:
        """Leave the connection to the parent, in a forked child: here it is over, without anybody being told.

        What was received and not given out is the parent's. Whoever waits for something waits on: see forks.py.
        """
        self._stream.disown()
        keep(self._reader, self._waiters)
        if self._waiters is not None:
            self._waiters.leave()
        self._reader = self._waiters = None
        self._keepalive.forget()
        self._drop_messages()
        self._pong_due = None
        if not self.over:
            self._protocol.close_code = CloseCode.ABNORMAL_CLOSURE.value
            self._protocol.close_reason = "the process has forked"
        self._finish()

    def _go_away(self, code: int) -> None:
        """Begin to close because the server stops. Never blocks."""
        if not self.over:
            self.begin_close(code, "")

    def finish(self, code: int | None, reason: str) -> None:
        """Close, and block until nothing more will come, for `close_timeout` at the most (RFC 6455 7.1.2)."""
        self._check_thread()
        if not self.over:
            self.begin_close(code, reason)
            self.wait_until(lambda: self.over, None)

    def wait_closed(self) -> None:
        """Block until the TCP connection has ended on both sides, which takes LINGER at the most."""
        if not self._stream.closed:
            try:
                self.wait_until(lambda: self._stream.closed, LINGER)
            finally:
                self._stop()  # also when this greenlet is killed: the socket is closed next

    def wait_until(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Block until `done`, which is asked whenever something happens, or the time is up."""
        if not done():
            self._waiters = self._waiters or Waiters(self._poller)
            self._waiters.wait_until(done, timeout)

    def _hang_up(self, code: int) -> None:
        """Send a close frame, and end the connection without waiting for the peer. Never blocks."""
        if not self.over:
            self.begin_close(code, "")
        self._stop()

    def __enter__(self) -> Self:
        """Return the connection, to be closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close with 1000, or with 1011 when the block raised."""
        if kind is not None and issubclass(kind, EXITS):
            self._hang_up(1011)
        else:
            self.close(1000 if kind is None else 1011)

    @property
    def close_code(self) -> int | None:
        """The close code; None while the connection lives.

        The peer's, 1005 where its close frame had none (RFC 6455 7.1.5). Without one, ours where we failed the
        connection: 1002, 1007 or 1009 for a violation, 1011 for a ping without an answer. Otherwise 1006: it was lost.
        """
        return self._protocol.close_code if self.over else None

    @property
    def close_reason(self) -> str | None:
        """The reason that came with `close_code`; None while the connection lives."""
        return self._protocol.close_reason if self.over else None
