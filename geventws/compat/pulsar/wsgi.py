"""Parts of pulsar.apps.wsgi that pulsar's documentation of WebSockets uses: a handler with middleware, and a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from ...exceptions import HandshakeError
from ...handshake.origins import Environ
from ...hosts import refuse
from ...server.server import WebSocketServer

if TYPE_CHECKING:
    from ...hosts.host import StartResponse

__all__ = ["Config", "LazyWsgi", "WSGIServer", "WsgiHandler", "createServer"]

Middleware: TypeAlias = "Callable[[Environ, StartResponse], Iterable[bytes] | None]"

DEFAULT_BIND = "127.0.0.1:8060"


class Config:
    """Settings as attributes. A name that was not set raises AttributeError; `get` returns a default instead."""

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        self.settings: dict[str, Any] = dict(settings or {})

    def get(self, name: str, default: Any = None) -> Any:
        """Return a setting, or the default."""
        return self.settings.get(name, default)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["settings"][name]
        except KeyError:
            raise AttributeError(f"there is no setting {name!r}") from None

    def __contains__(self, name: object) -> bool:
        return name in self.settings


class WsgiHandler:
    """A WSGI application made of middleware: callables like applications, of which the first that answers is used.

    Args:
        middleware: called with environ and start_response, one after the other; one that returns None leaves the
            request to the next. The last may be any WSGI application. If none answers, that is a 404.
    """

    def __init__(self, middleware: Iterable[Middleware] = ()) -> None:
        self.middleware: list[Middleware] = list(middleware)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request (PEP 3333). For a WebSocket, it blocks until the connection is over."""
        for middleware in self.middleware:
            answer = middleware(environ, start_response)
            if answer is not None:
                return answer
        return refuse(environ, start_response, HandshakeError(404, "there is nothing at this path"))


class LazyWsgi:
    """A WSGI application that is made when its first request comes: derive from it, and override `setup`."""

    _made: Any = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request (PEP 3333)."""
        answer: Iterable[bytes] = self.handler(environ)(environ, start_response)
        return answer

    def handler(self, environ: Environ | None = None) -> Any:
        """Return the application; it is made once, by the request with this environ."""
        if self._made is None:
            self._made = self.setup(environ)
        return self._made

    def setup(self, environ: Environ | None = None) -> Any:
        """Return the application, such as a `WsgiHandler`. It may not block: another request could come meanwhile."""
        raise NotImplementedError


class WSGIServer:
    """A server for a WSGI application. Any other server that geventws supports may be used as well.

    Args:
        callable: the application.
        bind: "host:port".
        settings: kept in `cfg`, which connections have, too.
    """

    def __init__(
        self, callable: Callable[..., Iterable[bytes]], bind: str = DEFAULT_BIND, **settings: Any
    ) -> None:
        self.cfg: Config = Config({"bind": bind, **settings})
        self.callable = callable
        self.server: WebSocketServer = WebSocketServer(_parse_bind(bind), callable, environ={"pulsar.cfg": self.cfg})

    def start(self) -> None:
        """Serve until SIGTERM, `stop` or a KeyboardInterrupt. Blocks."""
        self.server.serve_forever()

    def stop(self) -> None:
        """Close every WebSocket, and stop. Blocks until no connection is left."""
        self.server.stop()


createServer = WSGIServer
"""The name that pulsar 0.4 has for it."""


def _parse_bind(bind: str) -> tuple[str, int]:
    host, _, port = bind.rpartition(":")
    return host.strip("[]"), int(port)
