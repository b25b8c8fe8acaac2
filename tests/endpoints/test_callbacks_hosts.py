"""WebSocketApplication on every server: the socket is taken away, nothing is parked, and all is closed at the end."""

from __future__ import annotations

import contextvars
import gc
import itertools
import os

import gevent
import gevent.local
import pytest
import websockets.sync.client
from gevent.event import Event
from greenlet import greenlet
from kit.frames import binary, frame, text
from kit.programs.hosts import GUNICORN, Host
from kit.sites.recorder import Recorder, connect

from geventws import HandshakeError, WebSocketApplication
from geventws.server.server import WebSocketServer


class Echo(Recorder):
    """Sends everything back."""

    def note(self, ws, kind, message):
        return message


def count_greenlets():
    gevent.idle()
    gc.collect()
    return sum(issubclass(type(thing), greenlet) and not thing.dead for thing in gc.get_objects())


def count_descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(params=["pywsgi", "WebSocketServer", "pywsgi tls", "WebSocketServer tls"])
def host(request, secure):
    """The options of `serve` for one kind of server."""
    options = {"server_class": WebSocketServer} if "WebSocketServer" in request.param else {}
    return {**options, **(secure if "tls" in request.param else {})}


# The life of a connection


def test_from_the_handshake_to_the_end(serve, host):
    app = Echo(ping_interval=None)
    gc.collect()  # of tests before
    gevent.idle()
    before = count_descriptors()
    site = serve(app, **host)
    assert site.server is not None
    client = site.connect("/x", text("early") + frame(9, b"!") + binary(b"x" * 9000))
    received = [client.read_frame() for _ in range(3)]
    assert [one.payload for one in received if one.opcode != 10] == [b"early", b"x" * 9000]
    site.settle()  # the request has ended
    assert len(site.access.wait()) == 1 and '"GET /x HTTP/1.1" 101 ' in site.access[0]
    for size in (0, 1, 126, 65536, 1 << 20):
        client.send(binary(b"z" * size))
        assert client.read_frame().payload == b"z" * size
    open_now = count_descriptors()
    client.leave(4000, "bye")
    assert app.closed.get() == (4000, "bye")
    assert count_descriptors() == open_now - 2
    site.server.close()
    gevent.idle()
    assert count_descriptors() == before
    assert len(site.access) == 1 and not site.errors


def test_nothing_is_parked(serve, host):
    app = Echo(ping_interval=None)
    site = serve(app, **host)
    first = site.connect(frames=text("a"))
    assert first.read_message() == "a"
    before = count_greenlets()
    clients = [site.connect() for _ in range(20)]
    for client in clients:
        client.send(text("b"))
        assert client.read_message() == "b"
    assert count_greenlets() == before
    for client in [first, *clients]:
        client.leave()


def test_the_server_may_close_first(serve, host):
    client, ws = connect(serve, app := Echo(), **host)
    closing = gevent.spawn(ws.close, 4321, "see you")
    client.expect_close(4321, "see you")
    closing.get()
    assert app.closed.get() == (4321, "see you")


def test_a_peer_that_goes_without_a_word(serve, host, log):
    client, ws = connect(serve, app := Echo(), **host)
    client.reset()
    assert app.closed.get()[0] == 1006 and log() == []


def test_a_slow_reader(serve, host):
    app = Echo()
    app.note = lambda ws, kind, message: message * 1000
    site = serve(app, **host)
    client = site.connect(frames=binary(b"x" * 4000) * 2, receive_buffer=4096)
    for _ in range(2):
        assert len(client.read_frame().payload) == 4_000_000
    client.leave()


def test_upgrade_behind_a_plain_request(serve, host):
    app = Echo()

    def dispatch(environ, start_response):
        if environ["PATH_INFO"] == "/ws":
            return app(environ, start_response)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"page"]

    client = serve(dispatch, **host).dial()
    client.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert client.read_head().status == "HTTP/1.1 200 OK"
    client.expect(b"page")
    client.open(text("a"), "/ws")
    assert client.read_message() == "a"
    client.leave()


def test_behind_middleware(serve, host):
    app = Echo()

    def wrapped(environ, start_response):
        def start(status, headers, exc_info=None):
            return start_response(status, [*headers, ("X-Wrapped", "yes")], exc_info)

        yield from app(environ, start)

    client = serve(wrapped, **host).dial()
    assert client.open(text("a")).get("x-wrapped") == "yes"
    assert client.read_message() == "a"
    client.leave()


def test_a_server_whose_reader_is_hidden(serve):
    """Then the request lasts as long as the connection, as that of a handler does."""
    app = Echo()

    def hiding(environ, start_response):
        def start(*arguments):
            return start_response(*arguments)

        environ["gunicorn.socket"] = environ["wsgi.input"].raw._sock
        greenlet = gevent.spawn(app, environ, start)
        try:
            return greenlet.get()
        finally:
            greenlet.kill()

    site = serve(hiding)
    client = site.connect(frames=text("a"))
    assert client.read_message() == "a"
    assert len(site.pool) == 1
    client.leave()
    assert app.closed.get() == (1000, "")
    site.settle()
    client = site.connect()
    gevent.spawn(site.pool.kill)
    client.expect_close(1001)


# Refusals


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"sec_websocket_version": "12"}, "426"), ({"origin": "https://evil.example"}, "403")],
)
def test_refused(serve, host, changed, status):
    app = Echo()
    client = serve(app, **host).dial()
    with pytest.raises(AssertionError, match=f"HTTP/1.1 {status}"):
        client.open(**changed)
    assert app.calls == []


def test_on_handshake(serve, host):
    class App(Echo):
        def on_handshake(self, environ, headers):
            if environ["PATH_INFO"] == "/no":
                raise HandshakeError(401, "who are you?", headers=[("WWW-Authenticate", "Basic")])
            headers.append(("X-Path", environ["PATH_INFO"]))

    site = serve(App(headers={"X-More": "1"}), **host)
    answer = (client := site.dial()).open(path="/yes")
    assert (answer.get("x-path"), answer.get("x-more")) == ("/yes", "1")
    client.leave()
    with pytest.raises(AssertionError, match="HTTP/1.1 401") as caught:
        site.dial().open(path="/no")
    assert "WWW-Authenticate" in str(caught.value)


# WebSocketServer knows of the connections


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def own(request, secure):
    """The options of `serve` for our own server."""
    return {"server_class": WebSocketServer, "spawn": "default", **(secure if request.param else {})}


def test_a_drain_closes_with_1001(serve, own):
    app = Echo()
    site = serve(app, **own)
    client = site.connect()
    stopping = gevent.spawn(site.server.stop)
    client.expect_close(1001)
    stopping.get()
    assert app.closed.get() == (1001, "")


def test_a_drain_does_not_wait_for_ever(serve, own):
    app = Echo()
    site = serve(app, **own)
    site.connect()
    site.server.stop(0.05)
    assert app.closed.get()[0] == 1006


def test_a_connection_counts_until_its_end(serve, own):
    app = Echo()
    site = serve(app, max_connections=1, **own)
    client = site.connect()
    with site.dial() as refused:
        refused.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert refused.read_head().status == "HTTP/1.1 503 Service Unavailable"
    client.leave()
    assert app.closed.get()
    while site.server._connections:
        gevent.sleep(0.001)
    client = site.connect()
    client.leave()


# Greenlets are lent, and come back as they were


names = contextvars.ContextVar("names")
here = gevent.local.local()


def leave_context():
    names.set("mine")


def leave_local():
    here.name = "mine"


def leave_attribute():
    gevent.getcurrent().name = "mine"


def leave_timeout():
    gevent.Timeout(0.02).start()


def leave_kill():
    gevent.spawn_later(0.02, gevent.kill, gevent.getcurrent())


def leave_kill_behind_a_switch():
    gevent.sleep(0)
    leave_kill()


@pytest.mark.parametrize(
    "leave",
    [leave_context, leave_local, leave_attribute, leave_timeout, leave_kill, leave_kill_behind_a_switch],
)
def test_nothing_is_left_for_the_next_connection(serve, leave, hub_errors):
    class App(WebSocketApplication):
        def on_message(self, ws, message):
            if message == "leave":
                leave()
            else:
                found = names.get(None), getattr(here, "name", None), getattr(gevent.getcurrent(), "name", None)
                Event().wait(0.05)
                return str(found)

    site = serve(App(ping_interval=None))
    first, second = site.connect(), site.connect()
    first.send(text("leave"))
    first.send(frame(9))
    first.read_frame()
    gevent.idle()
    second.send(text("look"))
    assert second.read_message() == "(None, None, None)"
    first.leave()
    second.leave()
    assert {type(error) for error in hub_errors} <= {gevent.Timeout}  # of a timeout that finds its greenlet dead
    hub_errors.clear()


def test_a_greenlet_serves_again(serve):
    class App(WebSocketApplication):
        def on_message(self, ws, message):
            greenlets.append(id(gevent.getcurrent()))
            return message

    greenlets = []
    site = serve(App(ping_interval=None))
    clients = [site.connect() for _ in range(3)]
    for client in clients * 3:
        client.send(text("a"))
        client.expect(b"\x81\x01a")
    assert len(greenlets) == 9 and len(set(greenlets)) == 1
    for client in clients:
        client.leave()


# gunicorn


numbers = itertools.count()
COMMAND = [word.replace("apps.hosted", "apps.callbacks") for word in GUNICORN]


@pytest.fixture(scope="module")
def gunicorns(certificate, tls):
    """Every gevent worker, with and without TLS, started at once."""
    keys = certificate["certfile"], certificate["keyfile"]
    kinds = itertools.product(["gevent", "gevent_pywsgi"], [False, True])
    started = {
        (worker, secure): Host([*COMMAND, "-k", worker], *((keys, tls) if secure else ())) for worker, secure in kinds
    }
    yield started
    for host in started.values():
        host.terminate()
    assert [host.wait() for host in started.values()] == [0] * len(started)


@pytest.mark.parametrize("path", ["echo", "wrapped"])
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("worker", ["gevent", "gevent_pywsgi"])
def test_gunicorn(gunicorns, worker, secure, path, thread_tls):
    host = gunicorns[worker, secure].listening()
    target = f"/{path}/{next(numbers)}"
    url = f"{'wss' if secure else 'ws'}://127.0.0.1:{host.port}{target}"
    with websockets.sync.client.connect(url, ssl=thread_tls if secure else None, proxy=None) as client:
        assert client.recv(timeout=5) == "open"
        host.wait_for(f'"GET {target} HTTP/1.1" 101')  # the request has ended
        for message in ("a", b"b", "z" * 100_000):
            client.send(message)
            assert client.recv(timeout=5) == message
        client.close(4001, "bye")
        assert (client.close_code, client.close_reason) == (4001, "bye")
    host.wait_for(f"closed {target} 4001 bye")
    assert not [line for line in host.lines if "Traceback" in line]
