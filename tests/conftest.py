"""Fixtures of the tests over real sockets.

A server runs in the test's own thread, on gevent; raw clients run beside it. Clients that block a thread are run in
one of gevent's (`in_thread`). Every test that takes `serve` has a deadline, and must leave nothing behind: no greenlet,
no watcher of the loop, no descriptor, and no error that went to the hub.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.ssl
import pytest
import trustme
from gevent.event import AsyncResult
from kit.clients import RawClient, make_thread_context
from kit.leaks import Traces
from kit.servers.redis import RedisServer
from kit.servers.scripted import Scripted, start_servers, unset_proxies
from kit.sites.site import Site

from geventws import WebSocketWSGI
from geventws.engine.loop.poller import get_poller
from geventws.engine.loop.watchers import HAVE_EPOLL
from geventws.protocol import compressors

DEADLINE = 30.0
"""Seconds that one test may take over sockets; only a failing one takes them."""

TESTS = Path(__file__).parent

START = 10.0
"""Seconds for a thread to start, on a busy machine."""


def pytest_configure(config: pytest.Config) -> None:
    """Let gevent.pywsgi make its SSL context in the way it does, threads stay, and what tests start heed Ctrl-C."""
    config.addinivalue_line("filterwarnings", "ignore:ssl.PROTOCOL_TLS is deprecated:DeprecationWarning")
    gevent.config.threadpool_idle_task_timeout = 3600.0  # or threads go, and come back in the middle of a test
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what runs in the background ignore it


OUTSIDE = (
    "cli/test_main", "cli/test_reload", "cli/test_terminal", "cli/test_watchdog", "cli/test_workers",
    "compat/test_geventwebsocket_gunicorn", "docs/", "handshake/", "hosts/test_pywsgi_bodies", "http/", "interop/",
    "pubsub/bus/wire/test_scripts", "pubsub/rooms/test_script", "rules/", "system/engineio/", "system/frameworks/",
    "system/hosts/", "system/test_browser", "system/test_hostile", "system/test_nginx", "system/test_packaging",
    "system/test_release", "system/test_request_pairs_proxies", "system/test_rooms_workers", "test_exceptions",
    "test_flask", "test_gunicorn", "test_layers", "test_moved", "test_text",
)  # fmt: skip
"""Tests that never notice which core runs, as the beginnings of their paths; none need run on both."""


def is_in(beginnings: tuple[str, ...], path: Path) -> bool:
    """Return whether a path in this folder begins so."""
    return path.relative_to(TESTS).as_posix().startswith(beginnings)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even read what stands in `OUTSIDE` where it is not to run."""
    is_outside = collection_path.is_relative_to(TESTS) and is_in(OUTSIDE, collection_path)
    return True if is_outside and config.option.markexpr == "not outside" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what stands in `OUTSIDE`, and leave out what is about epoll where there is none."""
    if not HAVE_EPOLL:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("epoll")])
        items[:] = [item for item in items if not item.get_closest_marker("epoll")]
    for item in items:
        if is_in(OUTSIDE, item.path):
            item.add_marker(pytest.mark.outside)
    items.sort(key=lambda item: not is_in(LONG, item.path))


LONG = ("cli/", "core/test_build", "core/test_sanitize", "docs/", "system/")
"""Tests of programs and of builds, which begin first: no worker is still at them when the others have nothing left."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A worker more than there are cores, since many tests wait for others."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Leave a file to one worker, which starts its servers once; but no two blocks of the pages share anything."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith("tests/docs/test_readme.py") else super()._split_scope(nodeid)

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the environment's proxies away."""
    unset_proxies(monkeypatch)


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


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    server = RedisServer()
    server.start()
    yield server
    server.stop()


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
    return make_thread_context(certificate["ca_certs"])


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
