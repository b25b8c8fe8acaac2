"""geventws.compat.eventlet with drafts 75 and 76: what eventlet's documentation and its tests of them say."""

from __future__ import annotations

import contextlib
import errno
import re

import gevent
import pytest
from gevent import pywsgi
from gevent import socket as gsocket
from gevent.pool import Pool
from kit.clients import RawClient
from kit.sites.eventlet import (
    CHALLENGE,
    KEYS,
    RESPONSE,
    Recorded,
    assert_refused,
    connect,
    demo,
    read_head,
    request,
    request13,
    request75,
    request76,
)

from geventws.compat import eventlet
from geventws.compat.eventlet import websocket, wsgi
from geventws.endpoints import legacy
from geventws.server.server import WebSocketServer
from geventws.websocket import get_connection

REPLY_75 = (
    b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
    b"Upgrade: WebSocket\r\n"
    b"Connection: Upgrade\r\n"
    b"WebSocket-Origin: http://localhost\r\n"
    b"WebSocket-Location: ws://localhost:8080/echo\r\n\r\n"
)
REPLY_76 = (
    b"HTTP/1.1 101 WebSocket Protocol Handshake\r\n"
    b"Upgrade: WebSocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Origin: http://localhost\r\n"
    b"Sec-WebSocket-Protocol: ws\r\n"
    b"Sec-WebSocket-Location: ws://localhost:8080/echo\r\n\r\n" + RESPONSE
)

both = pytest.mark.parametrize("handshake", [request75, request76])


@pytest.fixture
def application():
    return Recorded(websocket.WebSocketWSGI(demo))


@pytest.fixture
def site(serve, application):
    return serve(application)


# The handshake


def test_plain_request_is_refused(site):
    assert_refused(site, request())


@both
def test_half_an_upgrade_is_refused(site, handshake):
    assert_refused(site, handshake(Connection=None))
    assert_refused(site, handshake(Upgrade=None))


@pytest.mark.parametrize("bad", [{"Sec-WebSocket-Key2": None}, {"Sec-WebSocket-Key1": "1"}, {"Origin": None}])
def test_bad_draft_76_is_refused(site, bad):
    assert_refused(site, request76(**bad))


def test_missing_challenge_is_refused(site, monkeypatch):
    monkeypatch.setattr(legacy, "CHALLENGE_TIMEOUT", 0.02)
    assert_refused(site, request76()[:-1])


@both
def test_drafts_are_refused_where_they_are_off(serve, handshake):
    assert_refused(serve(websocket.WebSocketWSGI.configured(demo)), handshake())
    application = websocket.WebSocketWSGI.configured(support_legacy_versions=True)(demo)
    connect(serve(application), handshake())


@pytest.mark.parametrize(("handshake", "reply"), [(request75(), REPLY_75), (request76(), REPLY_76)])
def test_reply_is_exact(site, handshake, reply):
    client = site.dial()
    client.send(handshake)
    client.expect(reply)


def test_reply_75_names_no_subprotocol(site):
    client = site.dial()
    client.send(request75(**{"WebSocket-Protocol": "ws"}) + b"\x00hello\xff")
    client.expect(REPLY_75 + b"\x00hello\xff")


def test_reply_76_without_a_subprotocol_names_the_default(site):
    client = site.dial()
    client.send(request76(**{"Sec-WebSocket-Protocol": None}))
    client.expect(REPLY_76.replace(b"Protocol: ws", b"Protocol: default"))


def test_challenge_may_come_late_and_in_parts(site):
    client = site.dial()
    handshake = request76()
    for part in (handshake[:-8], CHALLENGE[:3], CHALLENGE[3:]):
        client.send(part)
        gevent.sleep(0)
    client.expect(REPLY_76)


@both
@pytest.mark.parametrize("query", ["?query_string", "?", ""])
def test_location_has_the_query_as_it_was_asked_for(site, handshake, query):
    client = site.dial()
    client.send(handshake("/echo" + query))
    (location,) = re.findall(rb"WebSocket-Location: (.*)\r\n", read_head(client))
    assert location == b"ws://localhost:8080/echo" + query.encode()


def test_protocol_and_origin_attributes(serve):
    def tell(ws):
        ws.send(f"{ws.protocol} {ws.origin} {ws.path} {ws.version} {ws.environ['REQUEST_METHOD']}")

    site = serve(websocket.WebSocketWSGI(tell))
    connect(site, request75(**{"WebSocket-Protocol": "old"})).expect(b"\x00old http://localhost /echo 75 GET\xff")
    connect(site, request76()).expect(b"\x00None http://localhost /echo 76 GET\xff\xff\x00")


def test_origin_checker_is_asked(serve):
    asked = []
    application = websocket.WebSocketWSGI(demo)
    application.origin_checker = lambda host, origin: asked.append((host, origin))
    assert_refused(serve(application), request75(), "403 Forbidden")
    assert asked == [("localhost:8080", "http://localhost")]


# Messages


@both
def test_echo_and_a_message_in_two_segments(site, handshake):
    client = connect(site, handshake())
    client.send(b"\x00hello\xff")
    client.expect(b"\x00hello\xff")
    client.send(b"\x00start")
    gevent.sleep(0)
    client.send(b" end\xff")
    client.expect(b"\x00start end\xff")


@both
def test_frame_behind_the_handshake_arrives(site, handshake):
    connect(site, handshake() + b"\x00early\xff").expect(b"\x00early\xff")


@pytest.mark.parametrize(("handshake", "end"), [(request75, b""), (request76, b"\xff\x00")])
def test_messages_and_the_end(site, handshake, end):
    client = connect(site, handshake("/range"))
    assert client.rest() == b"".join(b"\x00msg %d\xff" % number for number in range(10)) + end


@both
def test_broken_connection_is_no_error(site, application, handshake):
    connect(site, handshake("/range")).reset()
    connect(site, handshake("/range")).close()
    site.settle()
    assert not application.raised


def test_client_closes(site, application):
    client = connect(site, request76())
    client.send(b"\xff\x00")
    assert client.rest() == b"\xff\x00"
    client.close()
    site.settle()
    assert not application.raised


def test_invalid_frame_raises(site, application):
    client = connect(site, request76())
    client.send(b"\xef\x00")
    assert client.rest() == b"\xff\x00"
    client.close()
    site.settle()
    (error,) = application.raised
    assert isinstance(error, ValueError)


def test_server_closes(site):
    assert connect(site, request76("/nowhere")).rest() == b"\xff\x00"
    assert connect(site, request75("/nowhere")).rest() == b""


@both
def test_error_of_the_handler_goes_on_to_the_server(site, application, handshake):
    client = connect(site, handshake("/error"))
    assert client.rest() in (b"", b"\xff\x00")  # and no HTTP response
    client.close()
    site.settle()
    assert [error.args for error in application.raised] == [(errno.ENOTSOCK,)]


@both
def test_limit(site, handshake):
    client = connect(site, handshake())
    client.send(b"\x00" + bytes(8 << 20))
    client.send(b"\xff")
    assert len(client.read((8 << 20) + 2)) == (8 << 20) + 2
    client.send(b"\x00" + bytes((8 << 20) + 1))
    assert client.rest() in (b"", b"\xff\x00")


def test_generator_around_it(serve):
    application = websocket.WebSocketWSGI(demo)

    def wrapped(environ, start_response):
        yield from application(environ, start_response)

    client = connect(serve(wrapped), request76("/range"))
    assert client.rest() == b"".join(b"\x00msg %d\xff" % number for number in range(10)) + b"\xff\x00"


@both
def test_tls(serve, certificate, tls, handshake):
    files = {name: certificate[name] for name in ("certfile", "keyfile")}
    site = serve(websocket.WebSocketWSGI(demo), tls=tls, **files)
    client = site.dial()
    client.send(handshake())
    assert b"Location: wss://localhost:8080/echo\r\n" in read_head(client)
    if handshake is request76:
        client.expect(RESPONSE)
    for part in (b"\x00hello", b" you\xff"):
        client.send(part)
        gevent.sleep(0)
    client.expect(b"\x00hello you\xff")


@pytest.mark.parametrize("server_class", [pywsgi.WSGIServer, WebSocketServer])
def test_answer_76_is_one_write(serve, certificate, tls, server_class):
    """eventlet's client reads once: over TLS, that is one record."""
    files = {name: certificate[name] for name in ("certfile", "keyfile")}
    client = serve(websocket.WebSocketWSGI(demo), tls=tls, server_class=server_class, **files).dial()
    client.send(request76())
    assert client.read_some().endswith(b"\r\n\r\n" + RESPONSE)
    client.send(b"\x00hello\xff")
    client.expect(b"\x00hello\xff")


# The server of the documentation's example


class Dialer:
    """A server that this test did not start by `serve`."""

    def __init__(self, port, tls=None):
        self.port, self.tls = port, tls

    def dial(self):
        return RawClient(self.port, self.tls)


def test_server_ends_idle_connections(serve):
    listener = eventlet.listen(("127.0.0.1", 0))
    lines: list[str] = []
    log = type("Log", (), {"write": staticmethod(lines.append)})
    server = gevent.spawn(wsgi.server, listener, websocket.WebSocketWSGI(demo), log, max_size=10, debug=False)
    client = connect(Dialer(listener.getsockname()[1]), request76())
    client.send(b"\x00idle\xff")
    client.expect(b"\x00idle\xff")
    server.kill(timeout=3)
    assert client.rest() == b"\xff\x00"
    assert server.dead and '"GET /echo HTTP/1.1" 101' in lines[0]
    client.close()


@pytest.mark.parametrize("handshake", [request75, request76, request13])
def test_killed_server_has_no_idle_handler_a_second_later(serve, handshake):
    """Though the client does not end its side."""
    pool, listener = Pool(), eventlet.listen(("127.0.0.1", 0))

    def run():
        with contextlib.suppress(KeyboardInterrupt):
            wsgi.server(listener, websocket.WebSocketWSGI(demo), custom_pool=pool, log_output=False)

    server = gevent.spawn(run)
    client = connect(Dialer(listener.getsockname()[1]), handshake())
    server.kill(KeyboardInterrupt, block=False)
    ended = pool.join(timeout=1)
    client.close()
    server.join()
    assert ended


def test_server_over_tls(serve, certificate, tls):
    files = {name: certificate[name] for name in ("certfile", "keyfile")}
    listener = eventlet.listen(("127.0.0.1", 0))
    secure = eventlet.wrap_ssl(listener, server_side=True, **files)
    server = gevent.spawn(wsgi.server, secure, websocket.WebSocketWSGI(demo), log_output=False)
    client = connect(Dialer(listener.getsockname()[1], tls), request13("/nowhere"))
    assert client.rest() == b"\x88\x00"
    client.close()
    server.kill(timeout=3)


def test_server_knows_eventlets_options():
    with pytest.raises(TypeError, match="max_sise"):
        wsgi.server(None, demo, max_sise=3)
    with pytest.raises(ValueError, match="server"):
        eventlet.wrap_ssl(None)


# The object by itself


@pytest.fixture
def pair(serve):
    ours, theirs = gsocket.socketpair()
    ws = websocket.WebSocket(ours, {"HTTP_ORIGIN": "http://localhost", "HTTP_WEBSOCKET_PROTOCOL": "ws", **KEYS})
    yield ws, theirs
    theirs.close()
    get_connection(ws).closing.wait_closed()


def test_object_receives(pair):
    ws, peer = pair
    assert (ws.version, ws.protocol, ws.origin, ws.path) == (76, "ws", "http://localhost", "")
    peer.sendall(b"\x00hello\xff\x00\xff")
    assert ws.wait() == "hello"
    assert ws.wait() == ""
    peer.shutdown(gsocket.SHUT_WR)
    assert ws.wait() is None and ws.wait() is None


def test_object_sends_what_can_be_a_string(pair):
    ws, peer = pair
    for message in ("hello", b"bytes", 10, None, ["a"], "\xe9"):
        ws.send(message)
    expected = b"\x00hello\xff\x00bytes\xff\x0010\xff\x00None\xff\x00['a']\xff\x00\xc3\xa9\xff"
    assert peer.recv(100) == expected
    with pytest.raises(ValueError, match="text only"):
        ws.send(b"\xff")


def test_object_closes(pair):
    ws, peer = pair
    ws.close()
    ws.close()
    assert ws.websocket_closed and ws.wait() is None
    assert peer.recv(100) == b"\xff\x00" and peer.recv(100) == b""
    with pytest.raises(BrokenPipeError) as caught:
        ws.send("late")
    assert caught.value.errno == errno.EPIPE


def test_object_refuses_what_is_no_frame_on_every_wait(pair):
    ws, peer = pair
    peer.sendall(b"\x00good\xffbad")
    assert ws.wait() == "good"
    for _ in range(2):
        with pytest.raises(ValueError, match="0x62"):
            ws.wait()
