"""The driver by itself, below engineio.Server, talked to in raw bytes. The packets are Engine.IO's, version 4."""

from __future__ import annotations

import errno
import importlib
import math
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import engineio
import gevent
import pytest
from gevent.event import AsyncResult
from kit import frames
from kit.clients import RawClient, handshake
from kit.handshakes import KEY

from geventws import NoSocket
from geventws.compat import engineio as driver
from geventws.compat.geventwebsocket import WebSocketHandler
from geventws.endpoints.middleware import WebSocketMiddleware
from geventws.server.server import WebSocketServer

NAME = "engineio.async_drivers.gevent"
OPEN, PING, PONG, MESSAGE, UPGRADE, NOOP = "0", "2", "3", "4", "5", "6"
WEBSOCKET = "/engine.io/?EIO=4&transport=websocket"
POLLING = "/engine.io/?EIO=4&transport=polling"


class Server(engineio.Server):
    """An Engine.IO server that echoes, and remembers the greenlets that will send a ping some time."""

    def __init__(self, **options: Any) -> None:
        self.pings: list[gevent.Greenlet] = []
        super().__init__(async_mode="gevent", monitor_clients=False, **options)
        self.gone = AsyncResult()
        self.on("message", self.send)
        self.on("disconnect", lambda sid, reason: self.gone.set(reason))

    def start_background_task(self, target: Any, *args: Any, **options: Any) -> gevent.Greenlet:
        task = super().start_background_task(target, *args, **options)
        if target.__name__ == "_send_ping":
            self.pings.append(task)
        return task


@pytest.fixture
def install() -> Iterator[Callable[..., None]]:
    """`install`, undone in the end."""
    before = sys.modules.pop(NAME, None)
    yield driver.install
    driver.WebSocketWSGI.options = {}
    sys.modules.pop(NAME, None)
    if before is not None:
        sys.modules[NAME] = before


@pytest.fixture
def make(serve: Any, install: Callable[..., None]) -> Iterator[Callable[..., Any]]:
    """Serve an Engine.IO server with some options; return the site, with the server as an attribute."""
    servers = []

    def make(options: Any = (), around: Callable[..., Any] = lambda app: app, installed: Any = (), **host: Any) -> Any:
        install(**dict(installed))
        eio = Server(**dict(options))
        servers.append(eio)
        site = serve(around(engineio.WSGIApp(eio)), **host)
        site.eio = eio
        return site

    yield make
    for eio in servers:
        gevent.killall(eio.pings)


def get(site: Any, target: str) -> str:
    """Return the body that answers a GET."""
    with site.dial() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = client.read_head()
        assert answer.status == "HTTP/1.1 200 OK"
        return client.rest().decode()


def log_in(site: Any, **changed: str) -> RawClient:
    """Return a client that has got the server's first packet."""
    client = site.connect(WEBSOCKET, **changed)
    assert client.read_message().startswith(OPEN)
    return client


def start_session(site: Any) -> str:
    """Start a session by polling, and return its id."""
    return get(site, POLLING).partition('"sid":"')[2].partition('"')[0]


# Installing


def test_servers_find_the_driver(install):
    install()
    eio = engineio.Server(async_mode="gevent")
    assert eio.async_mode == "gevent" and eio._async["websocket"] is driver.WebSocketWSGI
    assert importlib.import_module(NAME) is driver


def test_servers_that_are_there_get_it_too(install):
    theirs = importlib.import_module(NAME)
    assert theirs is not driver
    eio = engineio.Server(async_mode="gevent")
    install()
    assert importlib.import_module(NAME) is theirs
    assert eio._async["websocket"] is driver.WebSocketWSGI
    install()


def test_driver_has_the_keys_of_engineios_own(install):
    assert driver._async.keys() == importlib.import_module(NAME)._async.keys()


def test_nothing_is_importable_under_another_name():
    script = f"import geventws.compat.engineio, sys; sys.exit({NAME!r} in sys.modules)"
    subprocess.check_call([sys.executable, "-c", script])


def test_no_such_option(install):
    with pytest.raises(TypeError, match="no_such"):
        install(no_such=1)
    assert NAME not in sys.modules


# What a server's settings mean for its WebSockets


def make_route(**settings: Any) -> driver.WebSocketWSGI:
    defaults = {"max_http_buffer_size": 10, "http_compression": True, "compression_threshold": 77}
    timing = {"ping_interval": 25, "ping_timeout": 20}
    return driver.WebSocketWSGI(print, types.SimpleNamespace(**defaults | timing | settings))


def test_options_come_from_the_server(monkeypatch):
    route = make_route()
    assert (route.max_message_size, route.origins, route.ping_interval) == (10, None, None)
    assert route.compression.threshold == 77
    assert make_route(http_compression=False).compression is None
    monkeypatch.setattr(driver.WebSocketWSGI, "options", {"compression": None, "send_timeout": 3})
    assert (make_route().compression, make_route().send_timeout) == (None, 3)


@pytest.mark.parametrize(("size", "limit"), [(1e8, 100_000_000), (math.inf, driver.LARGEST), (7, 7)])
def test_limit_is_a_number_of_bytes(size, limit):
    assert make_route(max_http_buffer_size=size).max_message_size == limit


# Sessions


def test_session_by_websocket_alone(make):
    site = make()
    client = log_in(site)
    for packet in (MESSAGE + "hello", b"\x00\xff", MESSAGE + "\u20ac" * 1000):
        client.send(frames.text(packet) if isinstance(packet, str) else frames.binary(packet))
        assert client.read_message() == packet
    client.leave()
    assert site.eio.gone.get() == "transport close"
    site.settle()
    assert site.access.wait()[0].count('" 101 ') == 1 and not site.errors


def test_upgrade(make):
    site = make()
    sid = start_session(site)
    client = site.connect(f"{WEBSOCKET}&sid={sid}", frames.text(PING + "probe"))
    assert client.read_message() == PONG + "probe"
    client.send(frames.text(UPGRADE) + frames.text(MESSAGE + "hello"))
    assert [client.read_message(), client.read_message()] == [NOOP, MESSAGE + "hello"]
    client.send(frames.close(1000))
    assert client.rest() == b"\x88\x02\x03\xe8"  # and no HTTP response behind it
    site.settle()
    assert not site.errors


def test_large_enough_and_too_large(make):
    site = make({"max_http_buffer_size": 1000})
    client = log_in(site)
    client.send(frames.text(MESSAGE + "x" * 999))
    assert client.read_message() == MESSAGE + "x" * 999
    client.send(frames.text(MESSAGE + "x" * 1000))
    client.expect_close(1009, None)
    assert site.eio.gone.get() == "transport close"


@pytest.mark.parametrize(("options", "installed", "expected"), [
    ({}, {}, True),
    ({"http_compression": False}, {}, False),
    ({}, {"compression": None}, False),
])  # fmt: skip
def test_compression(make, options, installed, expected):
    site = make(options, installed=installed)
    with site.dial() as client:
        answer = client.open(path=WEBSOCKET, sec_websocket_extensions="permessage-deflate")
        assert (answer.get("sec-websocket-extensions") is not None) == expected
        assert client.read_message().startswith(OPEN)
        client.leave()


def test_origins_are_engineios_affair(make):
    site = make({"cors_allowed_origins": ["https://shop.example"]})
    log_in(site, origin="https://shop.example").leave()
    with site.dial() as client:
        client.send(handshake(WEBSOCKET, origin="https://evil.example"))
        assert client.read_head().status.startswith("HTTP/1.1 400")


@pytest.mark.parametrize("session", [False, True])
def test_faulty_handshake_is_refused(make, session):
    site = make()
    target = f"{WEBSOCKET}&sid={start_session(site)}" if session else WEBSOCKET
    with site.dial() as client:
        client.send(handshake(target, sec_websocket_version="12"))
        assert client.read_head().status == "HTTP/1.1 426 Upgrade Required"
    assert not site.errors


def test_upgrade_that_is_never_finished_ends_and_the_session_goes_on(make):
    site = make({"ping_interval": 0.2, "ping_timeout": 0.1})
    sid = start_session(site)
    client = site.connect(f"{WEBSOCKET}&sid={sid}")
    client.expect_close(1000)
    assert get(site, f"{POLLING}&sid={sid}") == PING
    assert not site.errors


def test_peer_that_is_silent_behind_the_upgrade(make):
    site = make({"ping_interval": 0.2, "ping_timeout": 0.1})
    client = log_in(site)
    assert client.read_message() == PING
    client.expect_close(1000)
    assert site.eio.gone.get() == "transport close"


def test_disconnect_by_the_server(make):
    site = make()
    client = log_in(site)
    gevent.spawn(site.eio.disconnect, next(iter(site.eio.sockets)))
    assert client.read_message() == "1"
    client.expect_close(1000)
    assert site.eio.gone.get() == "server disconnect"


def test_end_as_engineio_knows_it(serve):
    ends = AsyncResult()

    def handler(connection: driver.Connection) -> None:
        assert connection.wait() == "last" and connection.wait() is None and connection.wait() is None
        try:
            connection.send("too late")
        except OSError as error:
            connection.close()
            ends.set(error.errno)

    server = types.SimpleNamespace(
        max_http_buffer_size=10, http_compression=False, compression_threshold=1, ping_interval=5, ping_timeout=5
    )
    client = serve(lambda *request: driver.WebSocketWSGI(handler, server)(*request)).connect(frames=frames.text("last"))
    client.leave()
    assert ends.get() == errno.EPIPE


# Servers


def test_websocket_server_drains(make):
    site = make(server_class=WebSocketServer)
    client = log_in(site)
    stopping = gevent.spawn(site.server.stop)
    client.expect_close(1001)
    stopping.get()
    assert site.eio.gone.get() == "transport close"


@pytest.mark.parametrize("host", [{"around": WebSocketMiddleware}, {"handler_class": WebSocketHandler}], ids=str)
def test_connection_that_stands_in_the_environ(make, host):
    site = make(**host)
    client = log_in(site)
    client.send(frames.text(MESSAGE + "hello"))
    assert client.read_message() == MESSAGE + "hello"
    client.leave()
    assert site.eio.gone.get() == "transport close"
    site.settle()
    assert not site.errors


def test_server_without_a_socket():
    with pytest.raises(NoSocket, match="gevent"):
        make_route()({**handshake_environ(), "SERVER_SOFTWARE": "another/1.0"}, None)


def handshake_environ() -> dict[str, Any]:
    """Return a handshake that has nothing but its headers."""
    return {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "PATH_INFO": "/engine.io/",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
    }
