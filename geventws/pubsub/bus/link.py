"""Link: one connection to Redis that reconnects for ever.

At most two greenlets work on it. One connects, and reads. Another writes what the kernel does not take at once, or what
goes through TLS. Nobody else waits for Redis: data to be sent is collected in a list, and leaves together at the end of
the loop's turn. So a Redis that is slow, frozen or gone blocks nobody.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import gevent

from ...client.backoff import Backoff
from ...engine.loop.system import SYSTEM
from .connection import UnsupportedServer
from .wire.resp import NOTHING, BadReply, make_reader

if TYPE_CHECKING:
    from ...engine.loop.poller import Poller
    from .connection import Address

CONNECT_TIMEOUT = 5.0
"""Seconds for opening a connection, including TLS and authentication."""

PING_INTERVAL = 10.0
"""Seconds without data from Redis after which it is pinged."""

ANSWER_TIMEOUT = 10.0
"""Seconds that Redis then has to answer, or to send anything else."""

FIRST_DELAY, LAST_DELAY = 0.05, 5.0
"""The longest delay before the first retry, and before later ones, in seconds. Each is drawn evenly from 0 up to it."""

LASTING = 0.1
"""Seconds after which a lost connection is tried again at once. One that is lost sooner was refused, perhaps."""

RECEIVED = 64 * 1024
"""Bytes received at once, at most."""


class End(Protocol):
    """The user of a link. No method blocks."""

    def connected(self) -> None:
        """Note that a new connection is open. What was sent over an earlier one and not answered is lost."""

    def receive(self, reply: Any) -> None:
        """Take a reply."""

    def ping(self) -> None:
        """Ask Redis for a sign of life."""

    def lost(self, error: Exception) -> None:
        """Note that the connection is over."""

    def failed(self, error: Exception) -> None:
        """Note that an attempt to connect has failed."""


class Link:
    """One connection at a time.

    Args:
        address: where Redis is.
        poller: the loop's.
        end: the user.

    Attributes:
        up: whether it is connected.
        connects: how often it has connected.
        closed: whether it has ended for good.
    """

    def __init__(self, address: Address, poller: Poller, end: End) -> None:
        self.up: bool = False
        self.connects: int = 0
        self.closed: bool = False
        self._address = address
        self._poller = poller
        self._end = end
        self._connection: Any = None  # redis-py's
        self._calls: Any = None  # the non-blocking system calls on its socket; None over TLS
        self._out: list[bytes] = []  # data to be sent
        self._will_flush = False  # whether `_flush` is scheduled for the end of the turn
        self._is_writing = False  # whether a greenlet writes
        self._heard = 0.0  # when something was last received
        self._pinged = 0.0  # when Redis was last pinged, or the connection opened
        self._why = ""  # why this side has ended the connection; empty if it has not
        self._greenlet: Any = None  # connects and reads

    def start(self) -> None:
        """Connect, and reconnect whenever needed, in a greenlet of its own."""
        self._greenlet = gevent.spawn(self._run)

    def close(self) -> None:
        """End the link for good."""
        self.closed = True
        self.abort("the bus is closed")
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def drop(self) -> None:
        """Close the connection for good, without the loop: it has no turn any more. Never raises."""
        self.closed = True
        if self._connection is not None:
            with suppress(OSError):
                os.close(self._connection.socket.detach())

    def abort(self, why: str) -> None:
        """End the connection; the user gets `why` as the error, and the next attempt begins."""
        if self._connection is not None:
            self._why = self._why or why
            self._connection.socket.close()

    def send(self, data: bytes) -> None:
        """Send data at the end of the loop's turn, if there is a connection. Never blocks."""
        if self.up:
            self._out.append(data)
            if not self._will_flush:
                self._will_flush = True
                self._poller.later(self._flush)

    def check(self) -> None:
        """Ping a silent Redis; abort the connection if it stays silent. To be called about once a second."""
        now = self._poller.clock.monotonic()
        if not self.up or now - self._heard < PING_INTERVAL:
            return
        if self._pinged <= self._heard:
            self._pinged = now
            self._end.ping()
        elif now - self._pinged >= ANSWER_TIMEOUT:
            self.abort(f"Redis has sent nothing for {now - self._heard:.0f} s")

    # Reading

    def _run(self) -> None:
        backoff = Backoff(FIRST_DELAY, LAST_DELAY, 2.0)
        while not self.closed:
            if self._connect() and self._read() >= LASTING:
                backoff.reset()
            if not self.closed:
                gevent.sleep(backoff.next_delay())

    def _connect(self) -> bool:
        """Try to connect; return whether that has succeeded."""
        try:
            with gevent.Timeout(CONNECT_TIMEOUT):
                self._connection = self._address.connect()
        except gevent.Timeout:
            self._fail(TimeoutError(f"no answer within {CONNECT_TIMEOUT:g} s"))
            return False
        except Exception as error:
            self._fail(error)
            return False
        if self.closed:  # in a forked child, say
            self._connection.socket.close()
        return not self.closed

    def _fail(self, error: Exception) -> None:
        if isinstance(error, UnsupportedServer):
            self.closed = True
        if not self._poller.closed:
            self._end.failed(error)

    def _read(self) -> float:
        """Read until the connection is over; return how many seconds it has lasted."""
        socket, reader = self._connection.socket, make_reader()
        self._calls = None if hasattr(socket, "unwrap") else SYSTEM.get_calls(socket)
        self.up, self.connects = True, self.connects + 1
        began = self._heard = self._pinged = self._poller.clock.monotonic()
        self._why = ""
        error: Exception = ConnectionResetError("Redis has closed the connection")
        try:
            self._end.connected()
            while data := socket.recv(RECEIVED):
                self._heard = self._poller.clock.monotonic()
                reader.feed(data)
                while (reply := reader.gets()) is not NOTHING:
                    self._end.receive(reply)
                    self._poller.turns.spend(1)
        except (OSError, BadReply) as caught:
            error = caught
        except Exception as caught:
            error = BadReply(f"Redis has sent what was not expected ({caught!r})")
        finally:
            self._disconnect(ConnectionAbortedError(self._why) if self._why else error)
        return self._poller.clock.monotonic() - began

    def _disconnect(self, error: Exception) -> None:
        self.up = self._is_writing = False
        self._out.clear()
        self._connection.socket.close()
        self._connection = self._calls = None
        if not self._poller.closed and not self.closed:
            self._end.lost(error)

    # Writing

    def _flush(self) -> None:
        """Send all data, and start a greenlet for what the kernel does not take. Called in the hub; never blocks."""
        self._will_flush = False
        if self._is_writing or not self._out:
            return
        data, sent = b"".join(self._out), 0
        self._out.clear()
        try:
            if self._calls is not None:
                sent = self._calls.send(data)
        except BlockingIOError:
            pass
        except OSError as error:
            self.abort(str(error))
            return
        if sent < len(data):
            self._is_writing = True
            gevent.spawn(self._write, self._connection, data[sent:])

    def _write(self, connection: Any, data: bytes) -> None:
        """Send data, and what is added meanwhile, as long as this is the current connection."""
        try:
            while data and connection is self._connection:
                connection.socket.sendall(data)
                if connection is self._connection:
                    data = b"".join(self._out)
                    self._out.clear()
        except Exception as error:
            if connection is self._connection:
                self.abort(str(error))
        if connection is self._connection:
            self._is_writing = False
