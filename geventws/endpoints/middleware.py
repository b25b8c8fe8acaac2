"""WebSocketMiddleware: puts the connection into the environ of any WSGI application, whatever framework it uses.

The 101 is sent when the application first uses `environ["wsgi.websocket"]`. Until then, the application may answer the
request with a plain HTTP response. So what it passes to `start_response` is held back until it sends a body, or ends.
After the 101, everything that it returns is dropped, as frameworks return a response in any case.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast

from gevent import GreenletExit
from gevent.lock import BoundedSemaphore

from ..engine.options import ConnectionOptions, takes
from ..exceptions import ConnectionClosed, HandshakeError
from ..handshake.server import is_upgrade
from ..hosts import call_application, find_host, leave_thread, show_certificate
from ..hosts.host import EMPTY_INPUT, NO_WRITE
from ..text import one_word
from ..websocket import EXITS, get_connection
from .decorator import is_departure
from .endpoint import ENDPOINT_DEFAULTS, Endpoint, EndpointOptions, logger

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from ..handshake.origins import Environ
    from ..handshake.upgrade import Upgrade
    from ..hosts.host import Host, StartResponse
    from ..websocket import WebSocket

__all__ = ["RequestWebSocket", "WebSocketMiddleware"]


@takes(ENDPOINT_DEFAULTS, EndpointOptions, ConnectionOptions)
class WebSocketMiddleware(Endpoint):
    """A WSGI application that puts a WebSocket into the environ of another one::

        application = WebSocketMiddleware(application, origins=["https://example.org"])

    An opening handshake reaches the application with `environ["wsgi.websocket"]` and
    `environ["wsgi.websocket_version"]` ("13" or "8"). A faulty handshake, or one from a page of a wrong origin, is
    refused without calling the application. Other requests pass through unchanged. The connection is closed when the
    application is done: with 1000, or with 1011 if it raised or its response has a status of 500 or more.

    Args:
        app: the WSGI application. Called in the request's greenlet; it may block.
        options: see `EndpointOptions`; each is an attribute, too, and may be set later, for new connections.

    Raises:
        TypeError: an option is unknown, or its value is of a wrong type.
        ValueError: an option's value is out of range, or `headers` has a header that cannot be sent.
    """

    def __init__(
        self, app: Callable[[Environ, StartResponse], Iterable[bytes]], **options: Unpack[EndpointOptions]
    ) -> None:
        super().__init__(**options)
        self.app = app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request (PEP 3333). Blocks while the application runs, until it answers or is done."""
        if not is_upgrade(environ):
            show_certificate(environ, start_response)
            return call_application(self.app, environ, start_response)
        host = find_host(environ, start_response)
        try:
            upgrade = self.accept(host, environ, start_response)
        except HandshakeError as error:
            return self.refuse(environ, start_response, error)
        served = self._serve(host, environ, start_response, upgrade)
        for data in served:  # run it now: middleware may expect that start_response was called before we return
            return Rest(data, served)
        return []

    def _serve(
        self, host: Host, environ: Environ, start_response: StartResponse, upgrade: Upgrade
    ) -> Generator[bytes]:
        """Run the application, and yield its answer if it is a plain one."""

        def connect() -> WebSocket:
            return cast("WebSocket", self.switch(host, environ, start_response, upgrade))

        ws = RequestWebSocket(environ, upgrade, connect)
        environ["wsgi.input"], environ["wsgi.input_terminated"] = EMPTY_INPUT, True  # a handshake has no body
        environ["wsgi.websocket"] = ws
        environ["wsgi.websocket_version"] = str(upgrade.version)
        answer = Answer(start_response, ws, host.end_with_answer)
        code = 1011
        try:
            yield from self._relay(environ, answer)
            code = 1011 if answer.is_error else 1000
        except GreenletExit:
            code = 1001
            raise
        except EXITS:
            ws.hang_up(code)
            raise
        except HandshakeError as error:
            if ws.connected:
                raise
            yield from self.refuse(environ, start_response, error)
        except Exception as error:
            if not ws.connected:
                raise
            if not is_departure(ws, error):  # type: ignore[arg-type]
                logger.exception("%s: the application failed", get_connection(ws._get()).peer)
        finally:
            environ["wsgi.websocket"] = None  # or the two would keep each other alive
            ws.end(code)
            leave_thread(host)

    def _relay(self, environ: Environ, answer: Answer) -> Iterator[bytes]:
        """Run the application to its end; yield what it returns until it uses the connection."""
        result: Any = self.app(environ, answer.start_response)
        try:
            for data in () if result is None and answer.ws.connected else result:
                if data and answer.begin():
                    yield data
            answer.begin()
        finally:
            if hasattr(result, "close"):
                result.close()


class Rest:
    """A plain answer whose first part was produced already.

    Args:
        first: that part.
        others: the generator of the others; it is closed with this.
    """

    def __init__(self, first: bytes, others: Generator[bytes]) -> None:
        self._parts = itertools.chain([first], others)
        self.close: Callable[[], None] = others.close

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over all parts."""
        return self._parts


class Answer:
    """Holds back what the application passes to `start_response`, while it may still use the connection.

    Args:
        start_response: the server's.
        ws: the connection.
        end: called when a plain answer begins; the connection ends with it.
    """

    def __init__(self, start_response: StartResponse, ws: RequestWebSocket, end: Callable[[], object]) -> None:
        self.ws = ws
        self._end = end
        self._start_response = start_response
        self._head: tuple[Any, ...] | None = None  # the last status, headers and error from the application
        self._begun = False  # whether a plain answer has begun: its head was sent
        self._write: Callable[[bytes], object] | None = None  # the server's; some middleware returns none

    @property
    def is_error(self) -> bool:
        """Whether the application answered with an error: a framework may have caught the exception."""
        return self._head is not None and self._head[0].startswith("5")

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """As in PEP 3333. The connection ends after the answer: frames may follow, which must not be read as HTTP."""
        if not any(name.lower() == "connection" for name, _ in headers):
            headers = [*headers, ("Connection", "close")]
        self._head = (status, headers, exc_info)
        if self._begun:
            self._write = self._start_response(*self._head)
        return self.write

    def write(self, data: bytes) -> None:
        """As in PEP 3333. Data is dropped once the connection was used."""
        if self.begin() and self._begun:
            if self._write is None:
                raise TypeError(NO_WRITE)
            self._write(data)

    def begin(self) -> bool:
        """Begin a plain answer, unless the connection was used; return whether there is one."""
        if self.ws.connected:
            return False
        if not self._begun and self._head is not None:
            self._begun = True
            self.ws.give_up("the request was answered without it")
            self._end()
            self._write = self._start_response(*self._head)
        return True


class RequestWebSocket:
    """The `WebSocket` of a request, connected when it is first used.

    It has all methods and attributes of a `WebSocket` (or `StreamingWebSocket`). Reading the attributes below,
    `closed`, `close_code`, `close_reason` or `latency` does not connect. Everything else does: `accept`, `wait`,
    `receive`, `send`, `ping`, `close`, `ended`, iteration, `with`; it raises `ConnectionClosed` if the request was
    answered with HTTP instead.

    Args:
        environ: the request's.
        upgrade: the answer to its handshake.
        connect: sends the 101, and returns the connection.

    Attributes:
        environ: the WSGI environment of the handshake.
        path: its PATH_INFO.
        origin: its Origin header, or None.
        protocol: the negotiated subprotocol, or None.
        version: the version of the protocol, 13 or 8; 75 or 76 for the drafts.
    """

    def __init__(self, environ: Environ, upgrade: Upgrade, connect: Callable[[], WebSocket]) -> None:
        self.environ = environ
        self.path: str = environ.get("PATH_INFO", "")
        self.origin: str | None = upgrade.origin
        self.protocol: str | None = upgrade.protocol
        self.version: int = upgrade.version
        self._connect = connect
        self._ws: WebSocket | None = None  # the connection, once there is one
        self._lock = BoundedSemaphore(1)  # held by the greenlet that connects
        # the attributes that are known without a connection
        self._state: dict[str, Any] = {"closed": False, "close_code": None, "close_reason": None, "latency": 0.0}

    def __repr__(self) -> str:
        return f"<WebSocket {one_word(self.path)} not connected>" if self._ws is None else repr(self._ws)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._ws is None and name in self._state:
            return self._state[name]
        return getattr(self._get(), name)

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages, until the connection is over."""
        return iter(self._get())

    def __enter__(self) -> Self:
        """Connect, and close the connection at the end of the block."""
        self.accept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close with 1000, or with 1011 if the block raised."""
        self._get().__exit__(kind, error, traceback)

    @property
    def connected(self) -> bool:
        """Whether the handshake was answered with 101."""
        return self._ws is not None

    def accept(self) -> WebSocket:
        """Answer the handshake with 101 now; return the connection. Idempotent.

        Raises:
            ConnectionClosed: the client has left, or the request was answered with HTTP.
            NoSocket: the server gives its application no socket.
        """
        return self._get()

    @property
    def on_drain(self) -> Callable[[Any], object] | None:
        """The same as `WebSocket.on_drain`."""
        return self._get().on_drain

    @on_drain.setter
    def on_drain(self, function: Callable[[Any], object] | None) -> None:
        self._get().on_drain = function

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """Another name for `WebSocket.wait`."""
        return self._get().wait(timeout)

    def _get(self) -> WebSocket:
        if self._ws is None:
            with self._lock:
                return self._ws or self._open()
        return self._ws

    def _open(self) -> WebSocket:
        if self._state["closed"]:
            raise ConnectionClosed(self._state["close_code"], self._state["close_reason"])
        try:
            ws = self._connect()
            get_connection(ws).open()
        except OSError:
            self.give_up("the client left during its handshake")
            raise ConnectionClosed(1006, self._state["close_reason"]) from None
        self._ws = ws
        self.__dict__.update(wait=ws.wait, receive=ws.wait, send=ws.send)  # saves the look-up each time
        return ws

    def give_up(self, reason: str) -> None:
        """Make it impossible to connect: from now on, that raises `ConnectionClosed` with this reason."""
        if self._ws is None and not self._state["closed"]:
            self._state.update(closed=True, close_code=1006, close_reason=reason)

    def hang_up(self, code: int) -> None:
        """End the connection, if there is one, without waiting for the peer."""
        if self._ws is not None:
            get_connection(self._ws).closing.close_now(code)

    def end(self, code: int) -> None:
        """Close the connection if there is one, and block until it has ended."""
        self.give_up("the request is over")
        if self._ws is not None:
            try:
                self._ws.close(code)
            finally:
                get_connection(self._ws).closing.wait_closed()
