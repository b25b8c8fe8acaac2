"""How a connection ends (RFC 6455 section 7), and who waits for that.

    begin       we close: we have sent a close frame, and the peer has `close_timeout` to reply with its own
    reply       the peer has closed, or violated the protocol: we reply with its code, or with one that says why we fail
    shut_down   nothing is left to send: the stream ends, at once or when the peer has hung up, in LINGER s at most
    abort       the connection is lost, or we drop it: no closing handshake

Whichever of these comes first, `Connection.on_closed` is called when nothing more will be received, and again when the
socket is closed. The protocol knows what may be sent when; this module has the clocks, and the greenlets that wait.
"""

from __future__ import annotations

from logging import INFO
from typing import TYPE_CHECKING, Any, Protocol

from gevent.event import Event

from ..exceptions import ConnectionClosed
from ..frames import CloseCode
from ..protocol.memory import measure
from .intake import NOWHERE, Taker, catch_up
from .loop.deadlines import Deadline
from .loop.forks import keep
from .loop.waiters import Waiters
from .options import LINGER

if TYPE_CHECKING:
    from collections.abc import Callable

    from .keepalive import Keepalive


class Runner(Protocol):
    """Passes the messages of a connection to callbacks. No method may block."""

    def run(self) -> bool:
        """Switch to a greenlet that runs callbacks, if there are some to run; return whether there were.

        Called whenever something was received, and when nothing more will be.
        """

    def stop(self) -> None:
        """Drop all further messages, as we have begun to close."""

    def disown(self) -> None:
        """Leave the connection to the parent, in a forked child."""


class Subscribed(Protocol):
    """The outlet for messages that others send to a connection."""

    def end(self) -> None:
        """Note that the connection takes no more messages."""


class Ending(Taker, Protocol):
    """The connection that ends: see `Connection`, which has these described."""

    keepalive: Keepalive
    runner: Runner | None

    @property
    def outlet(self) -> Subscribed | None:
        """What others send to it."""
    @property
    def peer(self) -> str:
        """Whose it is, for log lines."""

    def send_replies(self, last: bool = False) -> None:
        """Send the frames in the protocol's output."""

    def on_closed(self) -> None:
        """Note that nothing more will come."""

    def closed_error(self) -> ConnectionClosed:
        """Return the error that says how the connection ended."""


class Closing:
    """The end of one connection. It is made when that begins, or when somebody waits for it: few connections have one.

    Only `close`, `wait` and `wait_closed` block, and they block only this greenlet.
    """

    __slots__ = ("_connection", "_event", "_timer", "_untaken", "_waiters")

    def __init__(self, connection: Ending) -> None:
        self._connection: Ending | None = connection  # None once its socket is closed, so that no cycle is left
        self._event: Event | None = None  # set when nothing more will be received; made when asked for
        self._timer: Any = None  # takes the next step, unless the peer acts before
        self._untaken: tuple[Any, ...] = ()  # messages that the handler may still take, while later ones are dropped
        self._waiters: Waiters | None = None  # greenlets that wait for the end, or for the closed socket
        self._let_go()

    # The steps

    def begin(self, code: int | None, reason: str) -> None:
        """Send a close frame, after which nothing can be sent, and give the peer `close_timeout` to reply (7.1.2).

        Raises:
            ValueError: the code or the reason may not be sent. Nothing is sent, and the connection stays open.
        """
        connection = self._connection
        if connection is None:
            return
        protocol, begun = connection.protocol, connection.protocol.close_sent
        if connection.outlet is not None:
            connection.outlet.end()
        protocol.send_close(code, reason)
        connection.stream.plain_limit = -1
        if protocol.output:
            connection.send_replies()
        if connection.stream.blocked:
            connection.stream.overtaken = True  # greenlets may wait there to send
        if protocol.end_due:
            self.shut_down()  # the peer has closed already; or no reply will come, as draft 75 has no closing frame
            return
        if not begun:
            self._wait_for_reply(connection)
        if connection.runner is not None:
            connection.runner.stop()
        if connection.stream.paused:
            self.discard()

    def _wait_for_reply(self, connection: Ending) -> None:
        """Give the peer `close_timeout` to reply, from now on. Whatever has arrived by then is still read."""
        self._stop_timer(connection)
        timeout, poller = connection.keepalive.timing.close_timeout, connection.stream.poller
        if timeout is not None:
            why = "the peer did not answer the close frame (close_timeout)"
            call = poller.call, connection, self.abort, why
            self._timer = Deadline(poller.clock, timeout, connection.stream.has_input, *call)

    def discard(self) -> None:
        """Drop all further messages: the handler has closed, and is too far behind to take them."""
        connection = self._connection
        if connection is not None:
            protocol = connection.protocol
            self._untaken = self._untaken or (protocol.inbox, protocol.pending)
            protocol.pending = ()
            connection.inbox = protocol.inbox = NOWHERE
            catch_up(connection)

    def measure(self) -> int:
        """Return how many bytes the handler may still take, while all else is dropped."""
        return sum(map(measure, self._untaken))

    def reply_later(self) -> None:
        """Reply once the handler has taken the messages before, as it may answer them; at most LINGER s later."""
        self._call_after(LINGER, self.reply)

    def reply(self) -> None:
        """Answer the peer's close frame, or say why the connection fails, and end the stream (5.5.1, 7.1.7)."""
        connection = self._connection
        if connection is None or connection.ended or not connection.protocol.close_reply_pending:
            return
        protocol = connection.protocol
        protocol.reply_to_close()
        connection.send_replies(last=True)
        error = protocol.failure
        if error is not None:
            code, why = error.close_code, f"{error} ({error.option})" if error.option else str(error)
            connection.stream.poller.log.tell(INFO, "%s: closed with %d: %s", connection.peer, code, why)
        self.shut_down()

    def shut_down(self, linger: float = LINGER) -> None:
        """End the stream (7.1.1): at once if the peer has nothing more to send. Otherwise end our side, and give the
        peer `linger` seconds to read why, and to end its own side."""
        connection = self._connection
        if connection is None:
            return
        stream = connection.stream
        stream.flush_last()
        stream.overtaken = True
        if connection.protocol.ends_first and not stream.blocked:
            self.hang_up()
            return
        stream.end()
        if stream.paused:
            stream.resume()
        self._call_after(linger, self.hang_up)
        connection.on_closed()

    def hang_up(self) -> None:
        """End both sides now, and close the socket: the peer has hung up, or was too slow to do so."""
        connection = self._connection
        if connection is not None:
            connection.stream.hang_up()
            connection.on_closed()

    def abort(self, reason: str, code: int = CloseCode.ABNORMAL_CLOSURE) -> None:
        """End the connection without a closing handshake. Its close code then says so (7.1.7)."""
        connection = self._connection
        if connection is not None and not (connection.protocol.close_received or connection.ended):
            connection.protocol.close_code, connection.protocol.close_reason = int(code), reason
        self.hang_up()

    def close_now(self, code: int) -> None:
        """Send a close frame, and end the connection without waiting for the peer, as the program ends."""
        if self._connection is not None and not self._connection.ended:
            self.begin(code, "")
        self.hang_up()

    def _call_after(self, seconds: float, step: Callable[[], None]) -> None:
        connection = self._connection
        if connection is not None:
            self._stop_timer(connection)
            self._timer = connection.stream.poller.clock.timer(seconds)
            self._timer.start(connection.stream.poller.call, connection, step, update=True)

    def _stop_timer(self, connection: Ending) -> None:
        connection.keepalive.stop()  # a connection that ends is not kept alive
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    # Who waits

    def close(self, code: int | None, reason: str) -> None:
        """Close, and block until nothing more will be received, for `close_timeout` at most."""
        if self._connection is not None and not self._connection.ended:
            self.begin(code, reason)
            self.wait()

    def wait(self, timeout: float | None = None) -> None:
        """Block until nothing more will be received, or so many seconds have passed."""
        self._wait_until(self._has_ended, timeout)

    def wait_closed(self, timeout: float = LINGER) -> None:
        """Block until the TCP connection has ended on both sides; after `timeout` seconds we end it."""
        connection = self._connection
        if connection is not None and not connection.stream.closed:
            try:
                self._wait_until(self._has_closed, timeout)
            finally:
                self.hang_up()  # also when this greenlet is killed: the socket is closed next

    def get_event(self) -> Event:
        """Return an event that is set when nothing more will be received; the same one each time."""
        if self._event is None:
            self._event = Event()
            if self._has_ended():
                self._event.set()
        return self._event

    def _has_ended(self) -> bool:
        return self._connection is None or self._connection.ended

    def _has_closed(self) -> bool:
        return self._connection is None or self._connection.stream.closed

    def _wait_until(self, done: Callable[[], bool], timeout: float | None) -> None:
        connection = self._connection
        if connection is not None and not done():
            self._waiters = self._waiters or Waiters(connection.stream.poller)
            self._waiters.wait_until(done, timeout)

    def on_closed(self) -> None:
        """Have the loop run those who wait: nothing more will be received, or the socket is closed."""
        connection = self._connection
        if connection is None:
            return
        if connection.stream.closed:
            self._stop_timer(connection)
        if self._event is not None:
            self._event.set()
        if self._waiters is not None:
            self._waiters.wake_soon()
        self._let_go()

    def disown(self) -> None:
        """In a forked child: let greenlets wait for good. The connection and all messages are the parent's."""
        if self._waiters is not None:
            self._waiters.leave()
        keep(self._event)
        self._event = None
        for messages in self._untaken:
            messages.clear()

    def _let_go(self) -> None:
        """Forget the connection once its socket is closed."""
        connection = self._connection
        if connection is not None and connection.ended and connection.stream.closed:
            self._connection = None
