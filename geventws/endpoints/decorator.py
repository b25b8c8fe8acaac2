"""WebSocketWSGI: turns a function that handles a WebSocket into a WSGI application."""

from __future__ import annotations

import errno
import functools
import logging
from typing import TYPE_CHECKING, Any, Generic, overload

from gevent import GreenletExit, get_hub, getcurrent

from ..engine.options import ConnectionOptions, takes
from ..exceptions import ConnectionClosed
from ..hosts import find_host, leave_thread
from ..websocket import EXITS, BaseWebSocket, WebSocket, get_connection, keep_packed
from .endpoint import ENDPOINT_DEFAULTS, Endpoint, EndpointOptions, as_origins

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from typing_extensions import Never, Self, TypeVar, Unpack

    from ..handshake.origins import Environ
    from ..hosts.host import StartResponse

    Handler_co = TypeVar(
        "Handler_co", bound=Callable[[Any], object], default=Callable[[Any], object], covariant=True
    )
    Decorated = TypeVar("Decorated", bound=Callable[[Any], object])
else:
    from typing import TypeVar

    Handler_co = TypeVar("Handler_co", covariant=True)

__all__ = ["WebSocketWSGI"]

logger: logging.Logger = logging.getLogger("geventws")

PEER_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN)


class DecoratorOptions(EndpointOptions, total=False):
    """Options of `WebSocketWSGI`.

    kill_on_close: whether the handler is killed, as by `greenlet.kill`, once nothing more will be received: the call in
        which it blocks raises `GreenletExit`. False by default. `ws.ended` is a gentler way to notice the end.
    """

    kill_on_close: bool


DECORATOR_DEFAULTS: DecoratorOptions = {**ENDPOINT_DEFAULTS, "kill_on_close": False}


@takes(DECORATOR_DEFAULTS, DecoratorOptions, EndpointOptions, ConnectionOptions)
class WebSocketWSGI(Endpoint, Generic[Handler_co]):
    """A WSGI application that answers the opening handshake and runs `handler` on the connection.

    It decorates a function, with or without options, and can be used wherever a WSGI application can::

        @WebSocketWSGI
        def echo(ws):
            for message in ws:
                ws.send(message)

        @WebSocketWSGI(subprotocols=["chat"], origins=["https://example.org"])
        def chat(ws): ...

    When the handler returns, the connection is closed with 1000. When it raises, the connection is closed with 1011,
    and the traceback is logged.

    To set options later, keep a reference to this object: do not use `server.application`. If the object is itself the
    application of a `pywsgi.WSGIServer`, its bound `__call__` takes its place there, to save memory per connection.

    Args:
        handler: called with the `WebSocket`, in the request's greenlet. Its result is ignored.
        max_frame_length: eventlet's name for `max_message_size`.
        options: see `EndpointOptions` and `DecoratorOptions`; each is an attribute, too, and may be set later, for new
            connections.

    Raises:
        TypeError: `handler` cannot be called; an option is unknown, or its value is of a wrong type.
        ValueError: an option's value is out of range, or `headers` has a header that cannot be sent.
    """

    _defaults = DECORATOR_DEFAULTS
    handler: Handler_co
    kill_on_close: bool

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Return the application; if called with options only, a decorator that makes it."""
        handler, *limit = arguments or [options.pop("handler", None)]
        if handler is None:
            options.update(zip(("max_frame_length",), limit, strict=False))
            return functools.partial(cls, **options)  # type: ignore[return-value]
        if not callable(handler):
            raise TypeError(f"a handler is a function, not {type(handler).__name__}")
        return super().__new__(cls)

    @overload
    def __init__(
        self, handler: Handler_co, max_frame_length: int | None = None, **options: Unpack[DecoratorOptions]
    ) -> None: ...

    @overload
    def __init__(
        self: WebSocketWSGI[Never],
        handler: None = None,
        max_frame_length: int | None = None,
        **options: Unpack[DecoratorOptions],
    ) -> None: ...

    def __init__(self, handler: Any = None, max_frame_length: int | None = None, **options: Any) -> None:
        if max_frame_length is not None:
            options["max_message_size"] = max_frame_length
        super().__init__(**options)
        self.handler = handler
        functools.update_wrapper(self, handler, updated=())

    @classmethod
    def configured(
        cls,
        handler: Callable[[WebSocket], object] | None = None,
        supported_protocols: Collection[str] | None = None,
        origin_checker: Callable[[str, str], object] | None = None,
        support_legacy_versions: bool = False,
        **options: Any,
    ) -> Any:
        """Return the application, or a decorator that makes it, from eventlet's option names and our own.

        Args:
            handler: as for the class; None makes a decorator.
            supported_protocols: the same as `subprotocols`.
            origin_checker: a function of the Host and the Origin header ("" without one) that returns whether to accept
                the connection.
            support_legacy_versions: as for the class.
            options: any other option of the class.
        """
        if supported_protocols is not None:
            options["subprotocols"] = supported_protocols
        if origin_checker is not None:
            options["origins"] = as_origins(origin_checker)
        options["support_legacy_versions"] = support_legacy_versions
        return cls(handler, **options)

    @overload
    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]: ...

    @overload
    def __call__(self: WebSocketWSGI[Never], environ: Decorated, /) -> WebSocketWSGI[Decorated]: ...

    def __call__(self, environ: Any, start_response: Any = None) -> Any:
        """Serve one request (PEP 3333). Blocks until the connection is over.

        Raises:
            NoSocket: the server gives its application no socket.
        """
        host = find_host(environ, start_response)
        ws = self.connect(environ, start_response, host)
        if not isinstance(ws, BaseWebSocket):
            return ws
        assert isinstance(ws, WebSocket)
        packed = host.save_room(self)
        if packed is not None:
            keep_packed(ws, packed)
        left = host if host.ends_thread else None
        del environ, host
        try:
            get_connection(ws).open()
            self.run(ws)
        finally:
            if packed is not None:
                packed.give_back(ws.environ)
            if left is not None:
                leave_thread(left)
        return []

    def run(self, ws: WebSocket) -> None:
        """Run the handler, then close the connection, even if the handler raised."""
        code, connection = 1011, get_connection(ws)
        try:
            if self.kill_on_close:
                with _KillOnClose(ws):
                    self.handler(ws)
            else:
                self.handler(ws)
            code = 1000
        except GreenletExit:
            code = 1001
            raise
        except EXITS:
            connection.closing.close_now(code)
            raise
        except Exception as error:
            if not is_departure(ws, error):
                logger.exception("%s: the handler failed", connection.peer)
        finally:
            try:
                ws.close(code)
            finally:
                connection.closing.wait_closed()


class _KillOnClose:
    """Kills the greenlet in this block when nothing more will be received. The block catches the GreenletExit."""

    def __init__(self, ws: WebSocket) -> None:
        self._ended = ws.ended  # set when nothing more will be received
        self._greenlet = getcurrent()  # the handler's
        why = f"{get_connection(ws).peer}: the connection is over (option: kill_on_close)"
        self._kill = GreenletExit(why)  # the exception that is raised in it
        self._due: Any = None  # the loop's callback that will raise it

    def _strike(self, _event: object) -> None:
        self._due = get_hub().loop.run_callback(self._greenlet.throw, self._kill)

    def __enter__(self) -> None:
        self._ended.rawlink(self._strike)

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        self._ended.unlink(self._strike)
        if self._due is not None:
            self._due.stop()
        return error is self._kill


def is_departure(ws: BaseWebSocket, error: Exception) -> bool:
    """Whether a handler's error only says that the peer has left."""
    return ws.closed and (
        isinstance(error, ConnectionClosed) or (isinstance(error, OSError) and error.errno in PEER_GONE)
    )
