"""Tools for testing WebSocket applications without a port, a server process, or waits for timeouts.

    from geventws.testing import connect

    def test_echo():
        with connect(app, "/echo") as ws:
            ws.send("hello")
            assert ws.wait(timeout=1) == "hello"

A `WebSocketServer` serves the application on one end of a pair of sockets, and a real client has the other end. So
handshake, frames, compression and closing are the same as in production. `dial` gives the other end to a `Peer`
instead, which sends whatever bytes the test wants. With `hand_clock`, time passes for connections only when the test
says so.

With `pytest_plugins = ["geventws.testing"]` in conftest.py, there is a fixture `websocket_connect`: it is `connect`,
and closes connections that the test has left open.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

import gevent
from gevent import socket as gsocket

from .client.opening import Opening
from .client.opening import connect as connect_to
from .client.options import CONNECT_DEFAULTS
from .engine.loop import forks
from .engine.loop.poller import Poller, get_poller, set_poller
from .engine.loop.system import SYSTEM, Clock, System
from .engine.options import complete
from .frames import NO_LIMIT, RSV1, Frame, FrameParser
from .server.http_stream import RawSocket
from .server.server import WebSocketServer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .client.options import ConnectOptions, WholeOptions
    from .client.websocket import ClientStreamingWebSocket, ClientWebSocket

__all__ = ["HandClock", "Peer", "connect", "dial", "hand_clock"]

HOST = "testserver"
"""The host of requests, in the Host header."""

TURNS = 16
"""Turns of the loop that are enough for everything that follows a timer: a ping is sent, received and answered."""


@overload
def connect(
    application: Any, path: str = "/", *, streaming: Literal[True], **options: Unpack[WholeOptions]
) -> ClientStreamingWebSocket: ...


@overload
def connect(application: Any, path: str = "/", **options: Unpack[ConnectOptions]) -> ClientWebSocket: ...


def connect(application: Any, path: str = "/", **options: Unpack[ConnectOptions]) -> ClientWebSocket:
    """Open a connection to a WSGI application, in this process and without a port.

    Blocks as `geventws.connect` does, and returns what that returns. The application runs in greenlets of its own.

    Args:
        application: a WSGI application, such as a Flask application or a function decorated by `WebSocketWSGI`.
        path: the path, with the query string if there is one; "/" by default.
        options: those of `geventws.connect`: headers, subprotocols, origin, compression and so on.

    Raises:
        InvalidStatus: the application has refused the handshake; the error has the status, the headers and the body.
        TypeError, ValueError: as `geventws.connect`.
    """
    options["socket"] = _serve(application)
    return connect_to(f"ws://{HOST}{path}", **options)


def dial(application: Any, path: str = "/", **options: Unpack[ConnectOptions]) -> Peer:
    """Open a connection as `connect` does, and return a peer that can send any bytes.

    Compression is offered only if `compression` is given: a peer does not decompress messages.
    """
    options = {"compression": None, **options, "socket": _serve(application)}
    chosen: Any = complete(options, CONNECT_DEFAULTS, "dial")
    socket, _, came = Opening.of(f"ws://{HOST}{path}", chosen).run(chosen["max_redirects"], chosen["open_timeout"])
    forks.release(socket)
    return Peer(socket, came)


def _serve(application: Any) -> Any:
    """Return a socket whose other end the application serves."""
    ours, theirs = gsocket.socketpair()
    server = WebSocketServer((HOST, 80), application, log=None, environ={"SERVER_NAME": HOST, "SERVER_PORT": "80"})
    sock = RawSocket(theirs.family, theirs.type, theirs.proto, theirs.detach())
    sock.setblocking(False)
    server.do_handle(sock, ("127.0.0.1", 0))
    return ours


class Peer:
    """A client that sends any bytes, valid or not. It answers nothing by itself, and reads only in `read_frame`.

    So a peer whose `read_frame` is not called is one that has stalled. A `with` block hangs up at its end.

    Args:
        socket: a gevent socket, after the handshake.
        came: bytes that followed the 101.
    """

    def __init__(self, socket: Any, came: bytes = b"") -> None:
        self.socket = socket  # public, for everything that has no method here
        # parses the application's frames, compressed or not
        self._parser = FrameParser(masked_in=False, max_length=NO_LIMIT, reserved_bits=RSV1)
        self._frames: list[Frame] = self._parser.feed(came)  # received, but not taken yet

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.hang_up()

    def send(self, data: bytes) -> None:
        """Send bytes as they are. Blocks while the application does not read."""
        self.socket.sendall(data)

    def send_frame(self, frame: Frame) -> None:
        """Send a frame, masked as a client's must be. `send(frame.encode())` sends it unmasked."""
        self.send(frame.encode(os.urandom(4)))

    def send_slowly(self, data: bytes) -> None:
        """Send bytes one by one, each in another turn of the loop."""
        for at in range(len(data)):
            self.send(data[at : at + 1])
            gevent.sleep(0)

    def cut(self, data: bytes, size: int) -> None:
        """Send the first `size` bytes of `data`, and hang up."""
        self.send(data[:size])
        self.hang_up()

    def read_frame(self) -> Frame | None:
        """Return the next frame from the application, of any kind; None once it has closed its side of the connection.

        Blocks until there is one. The payload of a compressed message is compressed.
        """
        while not self._frames:
            data = self.socket.recv(65536)
            if not data:
                return None
            self._frames = self._parser.feed(data)
        return self._frames.pop(0)

    def hang_up(self) -> None:
        """Close the socket without a closing handshake. Idempotent."""
        self.socket.close()


class HandClock:
    """A clock that stands still until a test turns it: see `hand_clock`."""

    def __init__(self) -> None:
        self.now: float = 1000.0  # the time, in seconds
        self.timers: list[HandTimer] = []  # the running timers

    def make_timer(self, seconds: float, repeat: float = 0.0) -> HandTimer:
        """Return a timer that goes by this clock."""
        return HandTimer(self, seconds, repeat)

    def turn(self, seconds: float) -> None:
        """Let so many seconds pass. Timers that are due go off one after another, each with everything that follows.

        Blocks until that is done, but not for the seconds themselves.
        """
        end = self.now + seconds
        while self.timers and min(timer.due for timer in self.timers) <= end:
            timer = min(self.timers, key=lambda timer: timer.due)
            self.now = max(self.now, timer.due)
            gevent.get_hub().loop.run_callback(timer.strike)
            _settle()
        self.now = end
        _settle()


def _settle() -> None:
    """Let the loop turn a few times, so that everything that is due is done, and answered."""
    hub = gevent.get_hub()
    for _ in range(TURNS):
        hub.wait(hub.loop.timer(0))  # with gevent.sleep(0) the loop would not look for input


class HandTimer:
    """A timer of a `HandClock`, with the interface of the engine's `Timer`.

    Args:
        clock: the clock.
        seconds: the seconds until it goes off.
        repeat: the seconds between later times; 0 if it goes off only once.
    """

    def __init__(self, clock: HandClock, seconds: float, repeat: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._repeat = repeat
        self._callback: Callable[[], object] | None = None  # set when it is started
        self.due: float = 0.0  # when it goes off next, once it is started

    def start(self, callback: Callable[..., object], *arguments: Any, update: bool = False) -> None:
        """Call back when the time is up; `update` is ignored."""
        self._callback = functools.partial(callback, *arguments)
        self._set(self._seconds)

    def _set(self, seconds: float) -> None:
        self.due = self._clock.now + seconds
        self._clock.timers.append(self)

    def strike(self) -> None:
        """Call back now."""
        self.close()
        if self._repeat:
            self._set(self._repeat)
        if self._callback is not None:
            self._callback()

    def close(self) -> None:
        """Never call back. Idempotent."""
        if self.pending:
            self._clock.timers.remove(self)

    stop = close

    @property
    def pending(self) -> bool:
        """Whether it is still to go off."""
        return self in self._clock.timers

    active = pending


@contextlib.contextmanager
def hand_clock(system: System = SYSTEM) -> Iterator[HandClock]:
    """Give connections that are opened in this block, on either side, a clock that the test turns::

        with hand_clock() as clock, connect(app, ping_interval=None) as ws:
            clock.turn(20)  # the server's ping_interval

    Keepalive pings, `ping_timeout`, `close_timeout`, `send_timeout` and `wait(timeout)` go by this clock. The
    application's own `gevent.sleep` still takes real time.

    Args:
        system: makes the engine's system calls.
    """
    hub, before = gevent.get_hub(), get_poller()
    clock = HandClock()  # only for timers: `run_callback` below stays the loop's
    poller = Poller(hub, system, Clock(lambda: clock.now, clock.make_timer, hub.loop.run_callback))
    set_poller(poller)
    try:
        yield clock
    finally:
        set_poller(before)
        poller.let_go()


try:
    import pytest
except ImportError:  # other test runners do without the fixture
    pass
else:

    @pytest.fixture
    def websocket_connect() -> Iterator[Callable[..., ClientWebSocket]]:
        """`connect`; connections that the test has left open are closed at its end."""
        with contextlib.ExitStack() as opened:
            yield lambda application, path="/", **options: opened.enter_context(connect(application, path, **options))
