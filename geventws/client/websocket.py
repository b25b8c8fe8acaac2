"""A WebSocket that owns its socket, for those that no server looks after: see opening.py.

The descriptor is closed when the connection has ended, however it ends. And when nobody has a hold of a connection any
more, it ends: the loop, which would keep it for ever, knows it by a `_Link` alone, and that does not keep it alive. It
is kept while a greenlet waits in it, for such a greenlet may have nobody else to keep it.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from ..engine.connection import Connection
from ..streaming import StreamingWebSocket
from ..text import one_word
from ..websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.options import Timing
    from ..handshake.upgrade import Upgrade
    from ..protocol.interface import ConnectionProtocol

NEVER = 1e8
"""Seconds, three years: a send_timeout of None. The timer itself keeps a greenlet that waits to send."""

_waiting: dict[int, Any] = {}  # greenlets, each of which keeps the connection that it waits in
_reader_slot: Any = Connection.__dict__["_reader"]
_nowhere: deque[Any] = deque(maxlen=0)


class _Link:
    """What the poller holds of a connection, as its channel. Once the connection is gone, it takes what it is given."""

    __slots__ = ("_connection", "fd")

    def __init__(self, connection: Any) -> None:
        self.fd = connection.fd
        self._connection = weakref.ref(connection)

    @property
    def inbox(self) -> Any:
        connection = self._connection()
        return _nowhere if connection is None else connection.inbox

    def run(self) -> bool:
        connection = self._connection()
        return connection is not None and connection.run()

    def __getattr__(self, name: str) -> Any:
        connection = self._connection()
        return _ignore if connection is None else getattr(connection, name)


def _ignore(*_arguments: Any) -> None:
    """Stand for any method of a connection that is gone."""


class OwnedWebSocket(WebSocket):
    """A `WebSocket` that closes its socket by itself. Without a reference to it, it is closed with a ResourceWarning.

    Attributes:
        response_headers: the headers of the server's 101, as pairs.
        on_control: a function of opcode and payload for the pings and pongs that come, or None. It is called in the
            hub or in a greenlet that waits for messages, and must not block: gevent's calls that would, raise.
    """

    # No __slots__, which would let no class be this and a StreamingWebSocket.

    def __init__(
        self, socket: Any, protocol: ConnectionProtocol, timing: Timing, upgrade: Upgrade, name: str, path: str
    ) -> None:
        socket.settimeout(0.0)
        if timing.send_timeout is None:
            timing = timing._replace(send_timeout=NEVER)
        super().__init__(
            socket, protocol, timing, subprotocol=upgrade.protocol, origin=upgrade.origin, version=upgrade.version
        )
        self._address = name
        self.path = path
        self.response_headers = upgrade.headers
        self.on_control: Callable[[int, bytes], object] | None = None
        self._stream.channel = _Link(self)
        self._socket = socket

    @property
    def peer(self) -> str:
        """Whose connection this is, for log lines: the URI, or what else it was opened with."""
        return one_word(self._address)

    @property
    def _reader(self) -> Any:
        """The greenlet that waits for a message."""
        return _reader_slot.__get__(self)

    @_reader.setter
    def _reader(self, greenlet: Any) -> None:
        _reader_slot.__set__(self, greenlet)
        if greenlet is None:
            _waiting.pop(id(self), None)
        else:
            _waiting[id(self)] = greenlet

    def wait_until(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Block until `done`, which is asked whenever something happens, or the time is up."""
        greenlet = getcurrent()
        _waiting[id(greenlet)] = greenlet
        try:
            super().wait_until(done, timeout)
        finally:
            del _waiting[id(greenlet)]

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection (RFC 6455 7.1.2), and its socket.

        Blocks until the server has answered, for `close_timeout` at the most, and has hung up, for another second at
        the most. All else is as `WebSocket.close` has it.
        """
        super().close(code, reason)
        self.wait_closed()

    def receive_control(self, opcode: int, payload: bytes) -> None:
        """Take note of a ping or a pong."""
        if self.on_control is not None:
            self._poller.call_out(self.on_control, opcode, payload)

    def _finish(self) -> None:
        super()._finish()
        if self._stream.closed:
            self._socket.close()

    def _set_clock(self, seconds: float | None, callback: Any) -> None:
        """The clocks of an open connection do not keep it alive; those of its end do."""
        if callback is not None and not self._protocol.close_sent:
            callback = _weakly(callback)
        super()._set_clock(seconds, callback)

    def __del__(self) -> None:
        """Close what nobody can reach any more. This runs anywhere, in any thread: the loop does it, in its own."""
        if not hasattr(self, "_socket") or self._stream.closed or sys.is_finalizing():
            return
        if not self.closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)
        poller = self._stream.poller
        try:
            poller.loop.run_callback_threadsafe(self._lose, "it was not closed")
        except ValueError:
            self._socket._sock.close()  # the loop has been destroyed, and gevent's own close needs it


class OwnedStreamingWebSocket(OwnedWebSocket, StreamingWebSocket):
    """One that receives messages piece by piece."""


def _weakly(method: Any) -> Callable[[], None]:
    """Return a callback that calls a method while its object lives."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        target = reference()
        if target is not None:
            target()

    return call
