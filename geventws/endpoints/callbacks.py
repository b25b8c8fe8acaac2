"""WebSocketApplication: WebSockets with callbacks; an idle connection uses no greenlet.

With a blocking handler, each connection keeps a greenlet and the server's objects for the request. Here the handshake
runs in the request's greenlet, too, but then the socket is taken away from the server: the request ends, and only the
poller holds the connection. When messages arrive, the connection's `CallbackRunner` runs the callbacks in one of the
loop's greenlets until no message is left. So callbacks may block, and those of one connection run one after another.
"""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit

from ..engine.intake import check_read_ahead
from ..engine.loop.greenlets import get_callback_greenlets
from ..engine.loop.poller import get_poller
from ..engine.options import ConnectionOptions, takes
from ..engine.reader import prepare_to_wait, take
from ..frames import Opcode
from ..hosts import find_host, leave_thread
from ..protocol.json import encode
from ..websocket import EXITS, BaseWebSocket, get_connection, keep_packed
from .decorator import is_departure
from .endpoint import ENDPOINT_DEFAULTS, Endpoint, EndpointOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Unpack

    from ..engine.connection import Connection
    from ..handshake.origins import Environ

__all__ = ["CallbackWebSocket", "WebSocketApplication"]

logger: logging.Logger = logging.getLogger("geventws")


_MISSING = {
    "environ": "environ is available only until on_open returns: keep what you need of it in ws.data",
    "wait": "a WebSocketApplication's messages go to on_message and on_bytes",
}


class _Ping(bytes):
    """A ping in the queue of messages."""


class _Pong(bytes):
    """A pong in the queue of messages."""


class CallbackWebSocket(BaseWebSocket):
    """The connection that callbacks get. Its messages go to the application's callbacks.

    `send`, `send_json`, `ping` and `close` may be called from any greenlet of the connection's thread, at any time.

    Attributes:
        application: the `WebSocketApplication`.
        data: for your own use, such as the user of this connection; it starts as None.
        environ: the WSGI environment of the handshake, until `on_open` returns; then it is dropped to save memory.
    """

    __slots__ = ("application", "data")

    application: WebSocketApplication

    def __init__(self, connection: Connection, environ: Environ | None = None) -> None:
        super().__init__(connection, environ)
        self.data: Any = None

    def __getattr__(self, name: str) -> Any:
        """Raise AttributeError; for `environ` and `wait`, say what to use instead."""
        why = _MISSING.get(name, f"{type(self).__name__!r} object has no attribute {name!r}")
        raise AttributeError(why, name=name, obj=self)


class _Gone:
    """The environ of a connection once `on_open` has returned."""

    def unpack(self) -> Environ:
        """Raise AttributeError; `CallbackWebSocket.__getattr__` replaces it by one that says more."""
        raise AttributeError("environ")


_GONE = _Gone()  # one for all connections


class CallbackRunner:
    """Runs the callbacks of one connection, one after another, in one of the loop's greenlets while there is work.

    Args:
        ws: the object that callbacks get.
        application: the application with the callbacks.
    """

    __slots__ = ("_connection", "_greenlets", "_inbox", "_pending", "_serving", "_stopped", "_told", "ws")

    def __init__(self, ws: CallbackWebSocket, application: WebSocketApplication) -> None:
        ws.application = application
        self.ws: CallbackWebSocket = ws  # the object that callbacks get
        self._connection = get_connection(ws)  # its engine
        self._inbox = self._connection.protocol.inbox  # the protocol's own list: received, but not taken yet
        pending = self._connection.protocol.pending
        assert isinstance(pending, list), "a connection bounds what waits"
        self._pending: list[Any] = pending  # taken from the inbox, but not passed on yet; the newest first
        self._greenlets = get_callback_greenlets()  # the loop's; one of them serves us while there is work
        self._serving = True  # whether callbacks run, or are about to
        self._stopped = False  # whether we have closed the connection, so that messages are dropped
        self._told = False  # whether on_close was called
        self._connection.runner = self
        if any(overrides(application, WebSocketApplication, name) for name in ("on_ping", "on_pong")):
            self._connection.keepalive.on_control = self._receive_control

    def begin(self, socket: Any) -> None:
        """Start receiving, and run `on_open`. Blocks while that does; without a socket, until the connection is over.

        Args:
            socket: the connection's socket, to be closed when it ends; None if the server closes it.
        """
        connection = self._connection
        self._greenlets.connections += 1
        if socket is not None:
            connection.owned_socket = connection.stream.socket = socket  # the C socket, without gevent's wrapper
        try:
            self._open()
        finally:
            keep_packed(self.ws, _GONE)
            self._rest()
        if socket is None:
            try:
                connection.closing.wait()
            finally:  # also when this greenlet is killed
                self.ws.close(1001)
                connection.closing.wait_closed()

    # What the engine calls, in the hub or in a greenlet that parks

    def run(self) -> bool:
        """Switch to a greenlet if there is a callback to run; return whether there was."""
        connection = self._connection
        if self._serving:
            if connection.inbox:
                connection.stream.poller.call(connection, check_read_ahead, connection)
            return False
        if not (self._inbox or self._pending) and (self._told or not connection.wait_needs_work):
            return False
        self._serving = True
        self._greenlets.serve(self, connection)
        return True

    def _receive_control(self, opcode: int, payload: bytes) -> None:
        """Queue a ping or a pong after the messages, if the application has a callback for it."""
        if overrides(self.ws.application, WebSocketApplication, "on_ping" if opcode == Opcode.PING else "on_pong"):
            self._inbox.append((_Ping if opcode == Opcode.PING else _Pong)(payload))

    def stop(self) -> None:
        """Drop all further messages, as we have begun to close."""
        self._stopped = True
        self._inbox.clear()
        self._pending.clear()

    def disown(self) -> None:
        """In a forked child: leave the connection to the parent. `on_close` is not called here."""
        self._told, self._connection.owned_socket = True, None

    # What runs in a greenlet, one at a time

    def serve(self) -> None:
        """Run callbacks until none is left to run."""
        connection = self._connection
        try:
            while self._inbox or self._pending or (connection.wait_needs_work and not self._told):
                if self._inbox or self._pending:
                    self._serve_messages()
                elif not connection.ended:
                    prepare_to_wait(connection)
                else:
                    self._tell()
        except BaseException:
            self._rest()
            raise
        self._serving = False
        connection.flush()

    def _rest(self) -> None:
        """Note that no callback runs any more; messages received meanwhile are served later."""
        self._serving = False
        connection = self._connection
        connection.stream.flush()
        connection.stream.poller.later(connection.run)

    def _serve_messages(self) -> None:
        ws, pending = self.ws, self._pending
        application = ws.application
        if not pending:
            take(self._connection, self._inbox, pending)
        while pending:
            message = pending.pop()
            if self._stopped:
                continue
            kind = type(message)
            try:
                if kind is str:
                    reply = application.on_message(ws, message)
                elif kind is bytes:
                    reply = application.on_bytes(ws, message)
                elif kind is _Ping:
                    reply = application.on_ping(ws, bytes(message))
                else:
                    reply = application.on_pong(ws, bytes(message))
                if reply is not None:
                    self._reply(reply)
            except BaseException as error:
                self._catch(error)

    def _reply(self, reply: Any) -> None:
        self.ws.send(as_message(reply) if isinstance(reply, (dict, list)) else reply)

    def _open(self) -> None:
        try:
            self._connection.open()
            reply = self.ws.application.on_open(self.ws)
            if reply is not None:
                self._reply(reply)
        except BaseException as error:
            self._catch(error)

    def _tell(self) -> None:
        self._told = True
        protocol = self._connection.protocol
        self._connection.runner = self._connection.keepalive.on_control = None  # so that no cycle is left
        try:
            self.ws.application.on_close(self.ws, protocol.close_code, protocol.close_reason)
        except BaseException as error:
            self._catch(error)
        finally:
            self._greenlets.leave()
            if self._connection.owned_socket is not None:
                self._connection.owned_socket.leave()

    def _catch(self, error: BaseException) -> None:
        """Report an error that a callback has raised; raise anything else again, such as a kill."""
        ws = self.ws
        if isinstance(error, EXITS):
            self._connection.closing.close_now(1011)
            raise error
        if not isinstance(error, Exception):  # such as a kill
            ws.close(1001 if isinstance(error, GreenletExit) else 1011)
            raise error
        if is_departure(ws, error):
            return
        try:
            ws.application.on_error(ws, error)
        except Exception as another:
            if not is_departure(ws, another):
                logger.exception("%s: on_error failed", self._connection.peer)
            ws.close(1011)


@takes(ENDPOINT_DEFAULTS, EndpointOptions, ConnectionOptions)
class WebSocketApplication(Endpoint):
    """A WSGI application that handles WebSockets with callbacks. Subclass it, and override the callbacks you need::

        class Echo(WebSocketApplication):
            def on_message(self, ws, message):
                return message

        pywsgi.WSGIServer(("127.0.0.1", 8000), Echo(origins=["https://example.org"])).serve_forever()

    One instance serves all connections; store what belongs to a single connection in `ws.data`. Callbacks may block.
    Those of one connection run in order, one at a time; those of different connections run concurrently, in different
    greenlets. An idle connection has no greenlet.

    What `on_open`, `on_message`, `on_bytes`, `on_ping` and `on_pong` return is sent, unless it is None: a dict as JSON,
    anything else as `WebSocket.send` sends it, so an iterable of str or bytes is one message in parts. Exceptions go to
    `on_error`, except the `ConnectionClosed` of a peer that has left.

    Args:
        options: see `EndpointOptions`, all but `streaming`; each is an attribute, too, and may be set later, for new
            connections. With `decode_text=False`, text goes to `on_bytes`, too.

    Raises:
        TypeError: an option is unknown, or its value is of a wrong type; or `streaming` is set.
        ValueError: an option's value is out of range, or `headers` has a header that cannot be sent.
    """

    websocket_class: type[BaseWebSocket] = CallbackWebSocket

    def __init__(self, **options: Unpack[EndpointOptions]) -> None:
        super().__init__(**options)
        if self.streaming:
            raise TypeError("a WebSocketApplication gets whole messages: the option streaming is for handlers")

    # To be overridden

    def on_handshake(self, environ: Environ, headers: list[tuple[str, str]]) -> None:
        """Called before the handshake is answered. May block.

        Args:
            environ: the request's WSGI environment.
            headers: the headers of the 101, as pairs; the method may change the list.

        Raises:
            HandshakeError: to refuse, with an HTTP status.
        """

    def on_open(self, ws: CallbackWebSocket) -> Any:
        """Called first, in the request's greenlet. `ws.environ` is available only until it returns."""

    def on_message(self, ws: CallbackWebSocket, message: str) -> Any:
        """Called for every text message."""

    def on_bytes(self, ws: CallbackWebSocket, data: bytes) -> Any:
        """Called for every binary message."""

    def on_ping(self, ws: CallbackWebSocket, payload: bytes) -> Any:
        """Called for every ping. It has been answered already."""

    def on_pong(self, ws: CallbackWebSocket, payload: bytes) -> Any:
        """Called for every pong, including the answers to keepalive pings."""

    def on_close(self, ws: CallbackWebSocket, code: int, reason: str) -> None:
        """Called last, once for each connection for which `on_open` was called. Nothing can be sent any more.

        A forked child does not call it for the connections of its parent.

        Args:
            code: the close code: see `WebSocket.close_code`.
            reason: the reason that came with it.
        """

    def on_error(self, ws: CallbackWebSocket, error: Exception) -> None:
        """Called when a callback has raised. By default it logs a traceback, and closes with 1011.

        If an override does not close the connection, it goes on.
        """
        logger.error("%s: a callback failed", get_connection(ws).peer, exc_info=error)
        ws.close(1011)

    @property
    def connections(self) -> list[CallbackWebSocket]:
        """The open connections of this application in this thread, for instance to send a message to all of them."""
        runners = [channel.runner for channel in get_poller().channels if channel is not None]
        found = [runner.ws for runner in runners if isinstance(runner, CallbackRunner)]
        return [ws for ws in found if ws.application is self and not ws.closed]

    # The request

    def complete_headers(self, environ: Environ, headers: list[tuple[str, str]]) -> None:
        """Add to the headers of a 101, or raise HandshakeError to refuse."""
        super().complete_headers(environ, headers)
        self.on_handshake(environ, headers)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve one request (PEP 3333). Blocks for the handshake and `on_open`.

        Under gunicorn, if middleware hides the reader and calls this in another greenlet, it blocks until the
        connection is over.

        Raises:
            NoSocket: the server gives its application no socket.
        """
        host = find_host(environ, start_response)
        ws = self.connect(environ, start_response, host)
        if not isinstance(ws, BaseWebSocket):
            return ws
        assert isinstance(ws, CallbackWebSocket)
        CallbackRunner(ws, self).begin(host.detach(get_connection(ws).stream.socket))
        leave_thread(host)
        return []


def as_message(reply: dict[str, Any] | list[Any]) -> Any:
    """Return the message for a dict or a list that a callback returned.

    Until 1.3 a list of anything but parts of a message is sent as JSON, with a DeprecationWarning.
    """
    if isinstance(reply, list):
        if reply and all(isinstance(part, (str, bytes, bytearray, memoryview)) for part in reply):
            return reply
        why = "a callback's list is one message in parts, as for send: use ws.send_json(...) for JSON"
        warnings.warn(why, DeprecationWarning, stacklevel=2)
    return encode(reply)


def overrides(thing: object, base: type, name: str) -> bool:
    """Whether an object overrides a method of its base class."""
    return getattr(getattr(thing, name), "__func__", None) is not getattr(base, name)
