"""Fixtures of the tests over real sockets.

A server runs in the test's own thread, on gevent; raw clients run beside it. Clients that block a thread are run in
one of gevent's (`in_thread`). Every test that takes `serve` has a deadline, and must leave nothing behind: no greenlet,
no watcher of the loop, no descriptor, and no error that went to the hub.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.ssl
import pytest
import trustme
from gevent import pywsgi
from gevent.event import AsyncResult, Event
from gevent.pool import Pool
from greenlet import greenlet
from kit.clients import RawClient
from kit.servers.scripted import Scripted, start_servers, unset_proxies

from geventws import WebSocketWSGI
from geventws.engine.loop.poller import get_poller
from geventws.engine.loop.watchers import HAVE_EPOLL
from geventws.protocol import compressors

DEADLINE = 10.0
"""Seconds that one test may take over sockets; only a failing one takes them."""

START = 10.0
"""Seconds for a thread to start, on a busy machine."""

SETTLE = 3.0
"""Seconds in which every connection of a test has to be over once its clients are gone."""


def pytest_configure(config: pytest.Config) -> None:
    """Let gevent.pywsgi make its SSL context in the way it does, threads stay, and what tests start heed Ctrl-C."""
    config.addinivalue_line("filterwarnings", "ignore:ssl.PROTOCOL_TLS is deprecated:DeprecationWarning")
    gevent.config.threadpool_idle_task_timeout = 3600.0  # or threads go, and come back in the middle of a test
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what runs in the background ignore it


OUTSIDE = [
    "test_browser", "test_nginx", "test_pywsgi_bodies", "test_request_pairs_proxies", "test_layers", "test_packaging",
    "test_readme", "test_types", "engineio", "frameworks", "rules",
]  # fmt: skip
"""Files and folders whose tests never notice which core runs; nothing else need run on both."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what stands in `OUTSIDE`, and leave out what is about epoll where there is none."""
    if not HAVE_EPOLL:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("epoll")])
        items[:] = [item for item in items if not item.get_closest_marker("epoll")]
    for item in items:
        if item.path.stem in OUTSIDE or item.path.parent.name in OUTSIDE:
            item.add_marker(pytest.mark.outside)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the environment's proxies away."""
    unset_proxies(monkeypatch)


class Lines(list):
    """A server's log: the lines, and a way to wait for them."""

    def __init__(self) -> None:
        super().__init__()
        self._written = Event()

    def write(self, data: str) -> None:
        """Take what the server logs."""
        self.extend(line for line in data.splitlines() if line)
        self._written.set()

    def wait(self, count: int = 1) -> list[str]:
        """Block until there are that many lines."""
        while len(self) < count:
            self._written.clear()
            assert self._written.wait(SETTLE), f"no line {count} in {self}"
        return list(self)


class Site:
    """A pywsgi server in this thread: where it is, who is connected, what it logged."""

    def __init__(self, application: Any, *, tls: Any = None, server_class: Any = pywsgi.WSGIServer, **options: Any):
        self.access, self.errors = Lines(), Lines()
        self.pool = Pool()
        self.tls = tls
        options = {"log": self.access, "error_log": self.errors, "spawn": self.pool, **options}
        self.server = server_class(("127.0.0.1", 0), application, **options)
        self.server.start()
        self.port: int = self.server.server_port
        self._clients: list[RawClient] = []

    def dial(self, **options: Any) -> RawClient:
        """Return a client that has said nothing yet."""
        client = RawClient(self.port, self.tls, **options)
        self._clients.append(client)
        return client

    def connect(self, path: str = "/", frames: bytes = b"", receive_buffer: int = 0, **changed: Any) -> RawClient:
        """Return a client that has shaken hands."""
        client = self.dial(receive_buffer=receive_buffer)
        client.open(frames, path, **changed)
        return client

    def settle(self) -> None:
        """Block until no connection is left, as far as the server sees it."""
        assert self.pool.join(SETTLE), f"still running: {list(self.pool)}"

    def close(self) -> None:
        """Stop. What still runs when the clients are gone is an error, and is killed."""
        for client in self._clients:
            client.close()
        self.server.close()
        done = self.pool.join(SETTLE)
        left = list(self.pool)
        self.pool.kill()
        assert done, f"left running: {left}"


class Traces:
    """What a test may leave behind in this process."""

    def __init__(self) -> None:
        self.hub = gevent.get_hub()
        gc.collect()
        gc.freeze()  # what is there now is not this test's, and need not be looked at again
        self._before = self._count()

    def _count(self) -> dict[str, set[Any]]:
        # type() and not isinstance(), which asks a weak proxy for the class of what may be gone
        greenlets = (thing for thing in gc.get_objects() if issubclass(type(thing), greenlet))
        return {
            "greenlets": {f"{type(thing)} at {id(thing):#x}" for thing in greenlets if not thing.dead},
            "watchers": set(range(self.hub.loop.activecnt)),
            "descriptors": set(range(len(os.listdir("/proc/self/fd")))),  # a new epoll set may have any number
        }

    def left(self) -> dict[str, set[Any]]:
        """Return what there is now and was not at first."""
        return {name: new for name, now in self._count().items() if (new := now - self._before[name])}

    def check(self) -> None:
        """Nothing is left, at the latest when the callbacks that are due have run."""
        gevent.idle()
        if self.left():
            gc.collect()
            gevent.sleep(0.05)
        assert self.left() == {}


@pytest.fixture(scope="session")
def warm() -> None:
    """Make what a hub keeps for good: its poller, all its threads, and what imports and logs make once."""
    with contextlib.closing(gevent.socket.socket()) as socket:
        socket.bind(("127.0.0.1", 0))
    threads = gevent.get_hub().threadpool
    all_there = threading.Barrier(threads.maxsize)
    gevent.joinall([threads.spawn(all_there.wait, START) for _ in range(threads.maxsize)], raise_error=True)
    get_poller()
    gevent.sleep(0)


@pytest.fixture
def hub_errors(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The errors that nobody caught; a test that expects some clears the list."""
    hub = gevent.get_hub()
    errors: list[BaseException] = []
    handle_error = hub.handle_error

    def note(context: Any, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, gevent.GreenletExit):
            return
        errors.append(error)
        if isinstance(error, hub.SYSTEM_ERROR) or isinstance(error, KeyboardInterrupt):
            handle_error(context, kind, error, traceback)

    monkeypatch.setattr(hub, "handle_error", note, raising=False)
    return errors


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    """What geventws logged, from INFO on."""
    caplog.set_level(logging.INFO, "geventws")
    return lambda: [record for record in caplog.records if record.name.startswith("geventws")]


@pytest.fixture
def serve(warm: None, hub_errors: list[BaseException]) -> Iterator[Callable[..., Site]]:
    """Serve a WSGI application; see the module."""
    traces = Traces()
    deadline = gevent.Timeout.start_new(DEADLINE)
    sites: list[Site] = []

    def serve(application: Any, **options: Any) -> Site:
        site = Site(application, **options)
        sites.append(site)
        return site

    try:
        yield serve
        for site in sites:
            site.close()
        sites.clear()
    finally:
        deadline.close()
    traces.check()
    assert hub_errors == []


@pytest.fixture
def join(serve: Callable[..., Site]) -> Callable[..., RawClient]:
    """Serve a handler, shake hands, and return the client, with its site as an attribute."""

    def join(handler, frames=b"", path="/", changed=None, receive_buffer=0, **options) -> RawClient:
        site = serve(WebSocketWSGI(handler, **options))
        client = site.connect(path, frames, receive_buffer, **(changed or {}))
        client.site = site
        return client

    return join


@pytest.fixture
def scripted(serve: Callable[..., Site]) -> Iterator[Callable[..., Scripted]]:
    """Start a server with a script; see scripted.py."""
    yield from start_servers()


@pytest.fixture
def inside(join: Callable[..., RawClient]) -> Callable[..., Any]:
    """Run a function of `ws` as a handler, beside a function of the client; return what the first returns."""

    def inside(handler, client=lambda client: client.leave(), **options):
        result = AsyncResult()

        def run(ws) -> None:
            try:
                result.set(handler(ws))
            except BaseException as error:
                result.set_exception(error)
                raise

        raw_client = join(run, **options)
        client(raw_client)
        return result.get()

    return inside


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority for these tests."""
    return trustme.CA()


@pytest.fixture(scope="session")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """certfile, keyfile and ca_certs for 127.0.0.1, as paths."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1", "localhost")
    paths = {name: str(folder / f"{name}.pem") for name in ("certfile", "keyfile", "ca_certs")}
    issued.private_key_pem.write_to_path(paths["keyfile"])
    for blob in issued.cert_chain_pems:
        blob.write_to_path(paths["certfile"], append=True)
    authority.cert_pem.write_to_path(paths["ca_certs"])
    return paths


@pytest.fixture(scope="session")
def tls(certificate: dict[str, str]) -> Any:
    """A client's context that trusts the certificate, for gevent's sockets."""
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificate["ca_certs"])
    return context


@pytest.fixture(scope="session")
def secure(certificate: dict[str, str], tls: Any) -> dict[str, Any]:
    """What makes a server, and its clients, speak TLS: `serve(application, **secure)`."""
    return {"tls": tls, "certfile": certificate["certfile"], "keyfile": certificate["keyfile"]}


@pytest.fixture(scope="session")
def thread_tls(certificate: dict[str, str]) -> ssl.SSLContext:
    """The same for clients in threads of their own."""
    return ssl.create_default_context(cafile=certificate["ca_certs"])


def in_thread(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run a function that blocks its thread, and return its result; the loop goes on meanwhile."""
    return gevent.get_hub().threadpool.apply(function, arguments, options)


@pytest.fixture(name="in_thread")
def in_thread_fixture() -> Callable[..., Any]:
    """Run a blocking client in a thread: `in_thread(function, *arguments)`."""
    return in_thread


DEFLATES = [None, compressors.isal_zlib] if compressors.isal_zlib else [None]


@pytest.fixture(params=DEFLATES, ids=lambda module: module.__name__ if module else "zlib")
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compress with each library that there is."""
    monkeypatch.setattr(compressors, "isal_zlib", request.param)
    compressors.get_compressors.cache_clear()
    yield
    compressors.get_compressors.cache_clear()
