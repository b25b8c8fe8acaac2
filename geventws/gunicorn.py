"""A gunicorn worker that serves with `WebSocketServer`, and drains: `gunicorn -k geventws.gunicorn.Worker`.

gunicorn listens, forks and watches its workers; each of them serves with our deadlines, limits and cheap handshakes.
The environ of a request, what proxies may say about it, and the access log are as with gunicorn's own workers.

When a worker ends, by SIGTERM, because gunicorn reloads, or at `max_requests`, its WebSockets are closed with 1012
(service restart) at the pace of server/draining.py, while gunicorn's other workers take new connections.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Collection
from datetime import timedelta
from ipaddress import ip_address, ip_network
from logging import WARNING
from typing import Any, NamedTuple

import gevent
from gevent.event import Event
from gevent.pywsgi import LoggingLogAdapter
from gunicorn.glogging import Logger
from gunicorn.http.wsgi import base_environ
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import VERSION, GeventWorker

from .frames import CloseCode
from .http.request import MAX_REQUEST_LINE
from .server.http_connection import RequestHandler
from .server.server import WebSocketServer
from .text import WORD, between_quotes, one_line, quoted

__all__ = ["Worker"]

NOTICE = 1.0
"""The most seconds between two signs of life that a worker gives gunicorn."""

RELOAD = 1.0
"""Seconds for a drain if gunicorn reloads because a file has changed."""

LAST = 1.0
"""A worker aborts what is left so many seconds (or a quarter) before `graceful_timeout`: then gunicorn kills it."""


class Forwarders:
    """What gunicorn's settings let proxies say about a request: its scheme, and headers with an underscore.

    Args:
        cfg: gunicorn's settings.
    """

    def __init__(self, cfg: Any) -> None:
        self._schemes = [(_name_key(name), value) for name, value in cfg.secure_scheme_headers.items()]  # for https
        self._headers: Collection[str] = getattr(cfg, "forwarder_headers", ())  # those with an underscore; "*" for all
        self._map = getattr(cfg, "header_map", "drop")  # what to do with others; "dangerous" keeps them
        self._allowed: Collection[str] = cfg.forwarded_allow_ips  # which addresses to trust; "*" for all
        self._networks = list(_read_networks(self._allowed))
        self._script_name = os.environ.get("SCRIPT_NAME", "")  # unless a proxy sends another one
        self._trusts: Callable[[str], bool] = functools.lru_cache(1024)(self._find)

    def apply(self, environ: dict[str, Any], peer: Any, headers: Any) -> None:
        """Add to an environ what a trusted peer says about the request, and the script's name.

        Args:
            environ: the request's.
            peer: the peer's address; not a tuple for a Unix socket, which is trusted.
            headers: the request's, as pywsgi reads them; None if no name has an underscore.

        Raises:
            ValueError: the headers contradict each other, or are not allowed.
        """
        trusted = not isinstance(peer, tuple) or self._trusts(peer[0])
        if trusted:
            self._set_scheme(environ)
        script = self._script_name
        if headers is not None:
            odd = {name.upper(): value for name, value in headers.items() if "_" in name}
            script = self._add_odd(environ, odd, trusted).get("SCRIPT_NAME", script)
        if script:
            if not environ["PATH_INFO"].startswith(script):
                raise ValueError(f"the path {quoted(environ['PATH_INFO'])} is not below {quoted(script)}")
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = script, environ["PATH_INFO"][len(script) :]

    def _find(self, address: str) -> bool:
        try:
            return "*" in self._allowed or any(ip_address(address) in network for network in self._networks)
        except ValueError:
            return False

    def _set_scheme(self, environ: dict[str, Any]) -> None:
        said = {"https" if environ[key] == value else "http" for key, value in self._schemes if key in environ}
        if len(said) > 1:
            raise ValueError("two headers contradict each other on the scheme")
        if said:
            environ["wsgi.url_scheme"] = said.pop()

    def _add_odd(self, environ: dict[str, Any], headers: dict[str, str], trusted: bool) -> dict[str, str]:
        """Add the allowed ones of the headers with an underscore, and return them."""
        named = set(headers) if "*" in self._headers else set(self._headers)
        allowed = set(headers) if self._map == "dangerous" else named if trusted else set()
        if self._map == "refuse" and not allowed.issuperset(headers):
            raise ValueError("a header with an underscore")
        kept = {name: value for name, value in headers.items() if name in allowed}
        for name, value in kept.items():
            key = _name_key(name)
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        return kept


def _name_key(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


def _read_networks(names: Collection[str]) -> Any:
    for name in names:
        try:
            yield ip_network(name, strict=False)
        except ValueError:
            pass  # "*", or a name, which is not an address


class Handler(RequestHandler):
    """Handles the requests of one connection, with gunicorn's environ and access log."""

    server: Any
    environ: Any

    def handle_one_request(self, idle_timeout: float | None = None) -> Any:
        """Receive a request and answer it."""
        self.environ = None  # or the log would take the last request's for that of a refused one
        return super().handle_one_request(idle_timeout)

    def get_environ(self) -> dict[str, Any]:
        """Return the environ of the request, and count the request; ValueError if proxies contradict each other."""
        headers = self.headers  # pywsgi's, of a head that is not plain
        environ = super().get_environ()
        environ["RAW_URI"] = self.path
        self.server.forwarders.apply(environ, self.client_address, headers)
        if not isinstance(self.client_address, tuple):
            environ["REMOTE_ADDR"] = ""
            _name_by_host(environ)
        self.server.worker.count_request()
        return environ

    def log_request(self) -> None:
        """Write gunicorn's line of the access log, if there is one."""
        if self.server.silent:
            return
        environ = self.environ or self._describe()
        fields = [(key[5:].replace("_", "-"), value) for key, value in environ.items() if key.startswith("HTTP_")]
        seen = {key: one_line(value, MAX_REQUEST_LINE) for key, value in environ.items() if isinstance(value, str)}
        took = timedelta(seconds=max(self.time_finish - (self.time_start or self.time_finish), 0))
        status = (self._orig_status or self.status or "000").split()[0]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.response_headers or ()]
        self.server.worker.log.access(Answer(status, headers, self.response_length), fields, seen, took)

    def _describe(self) -> dict[str, Any]:
        """Return what the access log needs of a refused request."""
        method, target, version = (*(self.requestline or "").split(), "-", "-", "-")[:3]
        address = self.client_address[0] if isinstance(self.client_address, tuple) else ""
        words = {"REQUEST_METHOD": method, "RAW_URI": target, "SERVER_PROTOCOL": version, "REMOTE_ADDR": address}
        return {name: between_quotes(word, MAX_REQUEST_LINE) for name, word in words.items()}

    def _log_error(self, kind: Any, error: Any, traceback: Any) -> None:
        """Log the application's errors as gunicorn does; gevent handles exceptions that end the process."""
        if issubclass(kind, Exception):
            said = quoted(self.requestline or "", WORD)
            self.server.worker.log.error("Error handling request %s", said, exc_info=(kind, error, traceback))
        else:
            super()._log_error(kind, error, traceback)


class Answer(NamedTuple):
    """An answer as gunicorn's access log knows it."""

    status: str
    headers: list[tuple[str, str]]
    sent: int


def _name_by_host(environ: dict[str, Any]) -> None:
    """On a Unix socket, take the server's name from the Host header."""
    name, _, port = environ.get("HTTP_HOST", "").partition(":")
    default = "443" if environ["wsgi.url_scheme"] == "https" else "80"
    environ["SERVER_NAME"], environ["SERVER_PORT"] = name, port or (default if name else "")


class Server(WebSocketServer):
    """The server of one of a worker's sockets."""

    close_code: int = CloseCode.SERVICE_RESTART

    def __init__(self, worker: Worker, listener: Any) -> None:
        cfg, log = worker.cfg, worker.log
        handler, silent = worker.wsgi_handler, not _logs_access(log, cfg)
        handler.logs_without_environ = silent  # for all of its kind: a process has one worker
        super().__init__(
            listener,
            worker.wsgi,
            log=None if silent else log,
            error_log=LoggingLogAdapter(log, WARNING),
            handler_class=handler,
            environ={**base_environ(cfg), **_name_server(listener.getsockname())},
            keepalive_timeout=cfg.keepalive,
            max_connections=worker.worker_connections,
            **({"ssl_context": ssl_context(cfg)} if cfg.is_ssl else {}),
        )
        self.worker = worker
        self.forwarders: Forwarders = Forwarders(cfg)

    @property
    def tally(self) -> tuple[int, int]:
        """How many WebSockets the drain has told, and how many connections it has aborted."""
        return (0, 0) if self._drain is None else (self._drain.told, self._drain.aborted)


def _name_server(address: Any) -> dict[str, Any]:
    """Return the environ's items about the server: as in pywsgi, but without a name lookup."""
    named = {"SERVER_NAME": str(address[0])} if isinstance(address, tuple) else {}
    return {"wsgi.multithread": True, "SERVER_SOFTWARE": VERSION, **named}


def _logs_access(log: Any, cfg: Any) -> bool:
    """Whether requests are logged: by an access log, or a logger of another kind, such as that for statsd."""
    if type(log).access is not Logger.access:
        return True
    asked = (getattr(cfg, name, None) for name in ("accesslog", "logconfig", "logconfig_dict", "logconfig_json"))
    return any(asked) or bool(cfg.syslog and not cfg.disable_redirect_access_to_syslog)


class Worker(GeventWorker):  # type: ignore[misc]
    """Serves with `WebSocketServer`. These settings of gunicorn's have another meaning here:

    * `worker_connections` is `max_connections`: over it, a single worker answers 503. One of several leaves the
      connections to the others.
    * `keepalive` is `keepalive_timeout`.
    * `graceful_timeout`, less one second, is the time for the drain.

    The hooks `pre_request` and `post_request` are not called, and the limits of a request's head are the server's own.
    """

    server_class: type[Server] = Server
    wsgi_handler: type[Handler] = Handler
    alive: bool  # gunicorn's: whether it is to go on
    nr: int  # likewise: how many requests there were

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ending: Event | None = None  # set when it is to end; made in the worker's own process

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse settings that change what is read from a connection, and that this worker does not support.

        Raises:
            RuntimeError: says which one, for gunicorn to show.
        """
        if str(getattr(cfg, "proxy_protocol", "off")) not in ("off", "False"):
            raise RuntimeError("geventws.gunicorn.Worker does not speak the PROXY protocol (--proxy-protocol)")
        if getattr(cfg, "protocol", "http") != "http":
            raise RuntimeError("geventws.gunicorn.Worker speaks HTTP only (--protocol)")
        if "h2" in getattr(cfg, "http_protocols", ()):
            raise RuntimeError("geventws.gunicorn.Worker speaks HTTP/1.1 only (--http-protocols)")
        hooks = [cfg.settings[name] for name in ("pre_request", "post_request")]
        if any(hook.get() is not hook.default for hook in hooks):
            log.warning("geventws.gunicorn.Worker calls neither pre_request nor post_request")

    def init_process(self) -> None:
        """Serve, in a process that has just been forked. Blocks.

        SIGTERM is handled from here on. gunicorn itself sets its handler only after all the work here; until then the
        parent's handler would put the signal into a queue that nobody reads in this process.
        """
        signal.signal(signal.SIGTERM, self.handle_exit)
        super().init_process()

    def run(self) -> None:
        """Serve until the worker is to end, then drain. Blocks."""
        self._ending = Event()
        servers = [self.server_class(self, listener) for listener in self.sockets]
        try:
            for server in servers:
                if self.cfg.workers > 1:
                    server.most_refused = 0  # refuse nothing that another worker can take
                server.start()
            while self.alive:
                self.notify()
                self._ending.wait(self.pause)
            self._drain(servers)
        finally:
            for server in servers:
                server.stop(0)  # gunicorn does not want to wait

    def _drain(self, servers: list[Server]) -> None:
        stops = [gevent.spawn(server.stop, self._get_grace()) for server in servers]
        while not all(stop.ready() for stop in stops):
            gevent.joinall(stops, timeout=self.pause)
            self.notify()
        told, aborted = map(sum, zip(*(server.tally for server in servers), strict=True))
        self.log.info("Worker drained (pid: %d): told %d WebSockets, aborted %d connections", self.pid, told, aborted)

    def _get_grace(self) -> float:
        grace = float(self.cfg.graceful_timeout)
        return RELOAD if self.cfg.reload else grace - min(LAST, grace / 4)

    @property
    def pause(self) -> float:
        """Seconds between two signs of life: not more than half of gunicorn's timeout, which is 0 for none."""
        return min(NOTICE, self.timeout or NOTICE)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to end, at SIGTERM."""
        super().handle_exit(sig, frame)
        if self._ending is not None:
            gevent.get_hub().loop.run_callback_threadsafe(self._ending.set)

    def count_request(self) -> None:
        """Count a request, and begin to end when there were `max_requests`."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive and self._ending is not None:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            self._ending.set()
