"""WebSocketApplication: WebSockets in callbacks, without a greenlet for a connection that has nothing to do.

A blocking handler costs its connection a greenlet, and the server's objects below it. Here the handshake runs in the
request's greenlet, as ever; then the socket is taken away from the server, so that the request ends, and the connection
lives on in the poller alone. When messages come, `CallbackWebSocket.run` has a greenlet run the callbacks until nothing
is left. So callbacks may block, and those of one connection run one after the other. It is the loop's.
"""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit

from ..engine.loop.greenlets import get_callback_greenlets
from ..engine.loop.poller import get_poller
from ..engine.options import ConnectionOptions, takes
from ..frames import Opcode
from ..hosts import find_host
from ..protocol.json import encode
from ..websocket import EXITS, WebSocket
from .decorator import is_departure
from .endpoint import ENDPOINT_DEFAULTS, Endpoint, EndpointOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Unpack

    from ..engine.loop.greenlets import CallbackGreenlets
    from ..handshake.origins import Environ

__all__ = ["CallbackWebSocket", "WebSocketApplication"]

logger = logging.getLogger("geventws")


class _Ping(bytes):
    """A ping in the queue of messages."""


class _Pong(bytes):
    """A pong in the queue of messages."""


class CallbackWebSocket(WebSocket):
    """The connection that callbacks are given: a `WebSocket` that calls back instead of being waited for.

    `send`, `send_json`, `ping` and `close` may be called from any greenlet of the connection's thread, at any time.

    Attributes:
        application: the `WebSocketApplication`.
        data: yours: whatever belongs to this connection; None at first.
        environ: the WSGI environment of the handshake, until `on_open` has returned. It is large, and then gone.
    """

    __slots__ = ("_closing", "_crew", "_owned", "_serving", "_told", "application", "data")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.application: WebSocketApplication
        self._crew: CallbackGreenlets
        self._owned: Any = None  # the socket, where it is ours to close
        self._serving = True  # callbacks run, or are about to
        self._closing = False  # the application has closed the connection: it wants no more messages
        self._told = False  # on_close was called
        self.data: Any = None
        super().__init__(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        """Say what became of the environ."""
        if name == "environ":
            raise AttributeError("a connection has its environ until on_open has returned: keep what you need in data")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def wait(self, timeout: float | None = None) -> str | bytes | None:
        """Raise TypeError: the messages go to the application's `on_message` and `on_bytes`."""
        raise TypeError("a WebSocketApplication's messages go to on_message and on_bytes")

    @property
    def socket(self) -> Any:
        """The socket, or what stands for it."""
        return self._stream._socket

    def begin(self, application: WebSocketApplication, socket: Any) -> None:
        """Receive, and run `on_open`. Blocks as long as that does; without a socket, until the connection is over.

        Args:
            application: whose callbacks are to be called.
            socket: the connection's, to be closed at its end; None leaves that to the server.
        """
        self.application = application
        self._crew = get_callback_greenlets()
        self._crew.connections += 1
        if socket is not None:
            self._owned = self._stream._socket = socket  # the same C socket, without what was around it
        try:
            self._begin()
        finally:
            del self._environ
            self._rest()
        if socket is None:
            try:
                self.wait_until(lambda: self.over, None)
            finally:  # as for a kill
                self.close(1001)
                self.wait_closed()

    # What the engine calls, in the hub

    def run(self) -> bool:
        """Switch to a greenlet if there is something to call back for; return whether that was so."""
        self._heard = True
        if self._serving:
            if self.inbox:
                self._poller.call(self, self._check_read_ahead)
            return False
        if not (self._arrived or self._messages) and (self._told or not self._attention):
            return False
        self._serving = True
        self._crew.serve(self)
        return True

    def receive_control(self, opcode: int, payload: bytes) -> None:
        """Queue a ping or a pong after the messages, if the application has a callback for it."""
        application, mine = self.application, WebSocketApplication
        name = "on_ping" if opcode == Opcode.PING else "on_pong"
        if getattr(getattr(application, name), "__func__", None) is not getattr(mine, name):
            self._arrived.append((_Ping if opcode == Opcode.PING else _Pong)(payload))

    def begin_close(self, code: int | None, reason: str) -> None:
        """Send a close frame; with that, the application wants no more messages. Never blocks."""
        super().begin_close(code, reason)
        self._closing = True
        self._drop_messages()

    def disown(self) -> None:
        """Leave the connection to the parent, in a forked child, which does not call `on_close` for it."""
        self._told, self._owned = True, None
        super().disown()

    def _finish(self) -> None:
        super()._finish()
        if self._stream.closed and self._owned is not None:
            self._owned.close()
        if not self._serving:
            self._poller.later(self.run)

    # What runs in a greenlet, one at a time

    def serve(self) -> None:
        """Call back until nothing is left to call back for."""
        try:
            while self._arrived or self._messages or self._attention and not self._told:
                if self._arrived or self._messages:
                    self._serve_messages()
                elif not self.over:
                    self._prepare_to_wait()
                else:
                    self._tell()
        except BaseException:
            self._rest()
            raise
        self._serving = False
        if self._corked:
            self._stream.flush()

    def _rest(self) -> None:
        """No callback runs any more; see to what was received meanwhile."""
        self._serving = False
        self._stream.flush()
        self._poller.later(self.run)

    def _serve_messages(self) -> None:
        application, messages = self.application, self._messages
        if not messages:
            self._take()
        while messages:
            message = messages.pop()
            if self._closing:
                continue
            kind = type(message)
            try:
                if kind is str:
                    reply = application.on_message(self, message)
                elif kind is bytes:
                    reply = application.on_bytes(self, message)
                elif kind is _Ping:
                    reply = application.on_ping(self, bytes(message))
                else:
                    reply = application.on_pong(self, bytes(message))
                if reply is not None:
                    self._reply(reply)
            except BaseException as error:
                self._catch(error)

    def _reply(self, reply: Any) -> None:
        self.send(as_message(reply) if isinstance(reply, (dict, list)) else reply)

    def _begin(self) -> None:
        try:
            self.open()
            reply = self.application.on_open(self)
            if reply is not None:
                self._reply(reply)
        except BaseException as error:
            self._catch(error)

    def _tell(self) -> None:
        self._told = True
        try:
            self.application.on_close(self, self._protocol.close_code, self._protocol.close_reason)
        except BaseException as error:
            self._catch(error)
        finally:
            self._crew.leave()
            if self._owned is not None:
                self._owned.leave()

    def _catch(self, error: BaseException) -> None:
        """See to what a callback has raised: an error is reported, all else is raised again."""
        if isinstance(error, EXITS):
            self._hang_up(1011)
            raise error
        if not isinstance(error, Exception):  # a kill, for one
            self.close(1001 if isinstance(error, GreenletExit) else 1011)
            raise error
        if is_departure(self, error):
            return
        try:
            self.application.on_error(self, error)
        except Exception as another:
            if not is_departure(self, another):
                logger.exception("%s: on_error failed", self.peer)
            self.close(1011)


@takes(ENDPOINT_DEFAULTS, EndpointOptions, ConnectionOptions)
class WebSocketApplication(Endpoint):
    """A WSGI application that speaks WebSocket in callbacks. Subclass it, and override what you want to hear of::

        class Echo(WebSocketApplication):
            def on_message(self, ws, message):
                return message

        pywsgi.WSGIServer(("127.0.0.1", 8000), Echo(origins=["https://example.org"])).serve_forever()

    One instance serves all connections; what belongs to one of them goes to `ws.data`. Callbacks may block. Those of
    one connection run in order, one at a time; those of different connections run concurrently, each burst in a
    greenlet of its own. A connection that has nothing to do has no greenlet.

    What `on_open`, `on_message`, `on_bytes`, `on_ping` and `on_pong` return is sent, unless it is None: as
    `WebSocket.send` has it, so an iterable of str or bytes is one message in parts; a dict as JSON. An exception goes
    to `on_error`; but that the peer has left is none.

    Args:
        options: by their names, all but `streaming`; each is an attribute, too, and may be set later, for connections
            to come. With `decode_text=False`, text goes to `on_bytes`, too.

    Raises:
        TypeError: there is no such option, `streaming` is set, or an option is of another type than it has here.
        ValueError: an option is out of its range, or `headers` has one that cannot be sent.
    """

    websocket_class = CallbackWebSocket

    def __init__(self, **options: Unpack[EndpointOptions]) -> None:
        super().__init__(**options)
        if self.streaming:
            raise TypeError("a callback gets a whole message: streaming is for handlers that wait")

    # To be overridden

    def on_handshake(self, environ: Environ, headers: list[tuple[str, str]]) -> None:
        """Called before the handshake is answered. May block.

        Args:
            environ: the request's WSGI environment.
            headers: those of the 101, as pairs; the list may be changed.

        Raises:
            HandshakeError: to refuse, with an HTTP status.
        """

    def on_open(self, ws: CallbackWebSocket) -> Any:
        """Called first, in the request's greenlet, with `ws.environ` at hand for the last time."""

    def on_message(self, ws: CallbackWebSocket, message: str) -> Any:
        """Called for every text message."""

    def on_bytes(self, ws: CallbackWebSocket, data: bytes) -> Any:
        """Called for every binary message."""

    def on_ping(self, ws: CallbackWebSocket, payload: bytes) -> Any:
        """Called for every ping, which has been answered already."""

    def on_pong(self, ws: CallbackWebSocket, payload: bytes) -> Any:
        """Called for every pong, also those that answer keepalive pings."""

    def on_close(self, ws: CallbackWebSocket, code: int, reason: str) -> None:
        """Called last, once for every connection for which `on_open` was called; nothing can be sent any more.

        A forked child does not call it for the connections of its parent.

        Args:
            code: the close code: the peer's, or ours where we failed the connection; 1006 when it was lost.
            reason: the reason that came with it.
        """

    def on_error(self, ws: CallbackWebSocket, error: Exception) -> None:
        """Called when a callback has raised. This one logs a traceback, and closes with 1011.

        An override that does not close the connection lets it go on.
        """
        logger.error("%s: a callback failed", ws.peer, exc_info=error)
        ws.close(1011)

    @property
    def connections(self) -> list[CallbackWebSocket]:
        """The connections of this application that are open now, in this thread: to tell all of them something."""
        channels = get_poller().channels
        return [ws for ws in channels if isinstance(ws, CallbackWebSocket) and ws.application is self and not ws.closed]

    # The request

    def complete_headers(self, environ: Environ, headers: list[tuple[str, str]]) -> None:
        """Add to the headers of a 101, or raise HandshakeError to refuse."""
        super().complete_headers(environ, headers)
        self.on_handshake(environ, headers)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve one request (PEP 3333). Blocks for the handshake and `on_open`.

        Where a middleware hides gunicorn's reader and calls this in another greenlet, it blocks until the connection is
        over.

        Raises:
            NoSocket: the server gives its application no socket.
        """
        host = find_host(environ, start_response)
        ws = self.connect(environ, start_response, host)
        if not isinstance(ws, WebSocket):
            return ws
        assert isinstance(ws, CallbackWebSocket)
        ws.begin(self, host.detach(ws.socket))
        return []


def as_message(reply: dict[str, Any] | list[Any]) -> Any:
    """Return what `send` takes for a dict or a list that a callback returned.

    Until 1.3 a list of anything but parts of a message is JSON, with a DeprecationWarning.
    """
    if isinstance(reply, list):
        if reply and all(isinstance(part, (str, bytes, bytearray, memoryview)) for part in reply):
            return reply
        why = "a callback's list is one message in parts, as for send: use ws.send_json(...) for JSON"
        warnings.warn(why, DeprecationWarning, stacklevel=2)
    return encode(reply)
