"""geventws.compat.geventwebsocket: what code written for gevent-websocket relies on, in raw bytes."""

from __future__ import annotations

import importlib
import logging

import gevent
import pytest
from gevent import pywsgi
from gevent.event import Event
from kit import frames
from kit.clients import handshake

import geventws
from geventws.compat import geventwebsocket
from geventws.compat.geventwebsocket import (
    FrameTooLargeException,
    ProtocolError,
    WebSocketError,
    WebSocketHandler,
    WebSocketServer,
)
from geventws.compat.geventwebsocket.websocket import WebSocket

MODULES = {
    "exceptions": ["WebSocketError", "ProtocolError", "FrameTooLargeException"],
    "handler": ["WebSocketHandler", "Client"],
    "server": ["WebSocketServer"],
    "resource": ["Resource", "WebSocketApplication"],
    "websocket": ["WebSocket", "Stream", "MSG_SOCKET_DEAD", "MSG_ALREADY_CLOSED", "MSG_CLOSED"],
    "protocols.base": ["BaseProtocol"],
    "gunicorn.workers": ["GeventWebSocketWorker"],
}


def tracebacks(records) -> list[logging.LogRecord]:
    return [record for record in records if record.exc_info]


@pytest.fixture
def sockets(serve):
    """Serve a function of `ws` as gevent-websocket's document does: a handler_class on a plain pywsgi server."""

    def sockets(use, **options):
        def app(environ, start_response):
            use(environ["wsgi.websocket"])

        return serve(app, handler_class=WebSocketHandler, **options)

    return sockets


@pytest.fixture
def join(sockets):
    """The same, and return a client that has shaken hands."""

    def join(use, frames: bytes = b"", path: str = "/", **changed):
        return sockets(use).connect(path, frames, **changed)

    return join


def request(site, data: bytes = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") -> tuple[str, bytes]:
    client = site.dial()
    client.send(data)
    return client.read_head().status, client.rest()


# The names


@pytest.mark.parametrize("module", MODULES)
def test_names_stand_where_they_stood(module):
    found = importlib.import_module(f"geventws.compat.geventwebsocket.{module}")
    for name in MODULES[module]:
        assert getattr(found, name) is getattr(geventwebsocket, name)


def test_errors_are_errors_of_the_system():
    assert issubclass(WebSocketError, OSError) and issubclass(WebSocketError, geventws.WebSocketError)
    assert issubclass(ProtocolError, WebSocketError) and issubclass(FrameTooLargeException, ProtocolError)
    assert str(WebSocketError("Socket is dead")) == "Socket is dead"


def test_opcodes():
    names = ("CONTINUATION", "TEXT", "BINARY", "CLOSE", "PING", "PONG")
    assert [getattr(WebSocket, f"OPCODE_{name}") for name in names] == [0, 1, 2, 8, 9, 10]


# The handler and its environ


def test_document_example(serve):
    """The low level one of its README."""

    def websocket_app(environ, start_response):
        if environ["PATH_INFO"] == "/echo":
            ws = environ["wsgi.websocket"]
            message = ws.receive()
            ws.send(message)

    client = serve(websocket_app, handler_class=WebSocketHandler).connect("/echo")
    client.send(frames.text("hello"))
    client.expect(b"\x81\x05hello")
    client.expect_close()


def test_over_tls(sockets, secure):
    client = sockets(lambda ws: ws.send(ws.receive()), **secure).connect(frames=frames.text("a"))
    client.expect(b"\x81\x01a")
    client.expect_close()


def test_other_requests_are_the_applications(serve):
    def app(environ, start_response):
        assert "wsgi.websocket" not in environ
        start_response("200 OK", [("Content-Length", "4"), ("Connection", "close")])
        return [b"page"]

    site = serve(app, handler_class=WebSocketHandler)
    assert request(site) == ("HTTP/1.1 200 OK", b"page")
    assert request(site, handshake(upgrade="h2c", connection="Upgrade"))[1] == b"page"
    assert request(site, handshake(connection="keep-alive"))[1] == b"page"
    assert request(site, handshake(method="POST", connection="Upgrade"))[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "changed, status",
    [
        ({"version": "HTTP/1.0"}, "400 Bad Request"),
        ({"sec_websocket_version": None}, "426 Upgrade Required"),
        ({"sec_websocket_version": "12"}, "426 Upgrade Required"),
        ({"sec_websocket_key": None}, "400 Bad Request"),
        ({"sec_websocket_key": "short"}, "400 Bad Request"),
        ({"content_length": "5"}, "400 Bad Request"),
    ],
)
def test_refusals_have_a_body_and_end_the_connection(sockets, changed, status):
    answer, body = request(sockets(lambda ws: None), handshake(**changed))
    assert answer == f"HTTP/1.1 {status}" and body


def test_there_is_no_origin_check_and_no_compression(join):
    changed = {"origin": "http://elsewhere.example", "sec_websocket_extensions": "permessage-deflate"}
    client = join(lambda ws: ws.send(ws.origin * 100), **changed)
    assert client.read_message() == "http://elsewhere.example" * 100


def test_environ_and_attributes(serve):
    seen = {}

    def app(environ, start_response):
        ws = environ["wsgi.websocket"]
        assert start_response("200 OK", []) is not None
        seen.update({name: getattr(ws, name) for name in ("path", "origin", "protocol", "version", "closed")})
        seen.update(number=environ["wsgi.websocket_version"], same=ws.environ is environ)
        handler = ws.handler
        assert isinstance(handler, WebSocketHandler) and handler.websocket is ws and ws.stream.handler is handler
        assert ws.logger is handler.logger and handler.environ is environ
        ws.current_app.on_close("nothing happens")
        ws.close()
        assert ws.environ is environ and ws.path == "/a"  # they stay
        return [b"never sent"]

    client = serve(app, handler_class=WebSocketHandler).connect("/a", sec_websocket_protocol="x, y", origin="http://b")
    client.expect_close()
    assert seen == {
        "path": "/a",
        "origin": "http://b",
        "protocol": "x, y",
        "version": "13",
        "closed": False,
        "number": "13",
        "same": True,
    }


def test_handshake_is_answered_before_the_application_acts(join):
    go = Event()
    client = join(lambda ws: go.wait())
    go.set()
    client.expect_close()


def test_result_is_iterated_and_closed_but_never_sent(serve):
    done = []

    class Result:
        def __iter__(self):
            done.append("iterated")
            yield b"body"

        def close(self):
            done.append("closed")

    client = serve(lambda environ, start: Result(), handler_class=WebSocketHandler).connect()
    client.expect_close()
    assert done == ["iterated", "closed"]


def test_application_that_fails(join, log):
    def use(ws):
        raise LookupError

    join(use).expect_close(1011)
    assert len(tracebacks(log())) == 1


def test_prevented_call_leaves_the_connection_to_the_handler(serve):
    class Handler(WebSocketHandler):
        prevent_wsgi_call = True

        def handle_one_response(self):
            super().handle_one_response()
            self.websocket.send("ack")
            assert self.websocket.receive() == "go on"

    client = serve(lambda environ, start: 1 / 0, handler_class=Handler).connect()
    client.expect(b"\x81\x03ack")
    client.send(frames.text("go on"))
    client.expect_close()


def test_websocket_class_and_options(serve):
    class Shouting(WebSocket):
        def send(self, message, binary=None):
            super().send(message.upper(), binary)

    class Handler(WebSocketHandler):
        websocket_class = Shouting
        websocket_options = {**WebSocketHandler.websocket_options, "max_message_size": 5}

    def app(environ, start_response):
        ws = environ["wsgi.websocket"]
        while (message := ws.receive()) is not None:
            ws.send(message)

    client = serve(app, handler_class=Handler).connect(frames=frames.text("hello"))
    client.expect(b"\x81\x05HELLO")
    client.send(frames.text("hello!"))
    client.expect_close(1009, None)


# The server and its clients


def test_clients_are_there_while_they_live(serve):
    members = {}

    def app(environ, start_response):
        ws = environ["wsgi.websocket"]
        members.update(clients=ws.handler.server.clients, active=ws.handler.active_client)
        while (message := ws.receive()) is not None:
            for client in ws.handler.server.clients.values():
                client.ws.send(message)

    site = serve(app, handler_class=WebSocketHandler)  # a server without that attribute
    first, second = site.connect(), site.connect()
    second.send(frames.text("to all"))
    for client in (first, second):
        client.expect(b"\x81\x06to all")
    clients = members["clients"]
    assert site.server.clients is clients and members["active"] in clients.values()
    assert set(clients) == {client.socket.getsockname() for client in (first, second)}
    assert all(clients[address].address == address for address in clients)
    first.leave()
    second.leave()
    site.settle()
    assert clients == {}


def test_clients_on_a_unix_socket_do_not_replace_each_other(serve, tmp_path):
    listener = gevent.socket.socket(gevent.socket.AF_UNIX)
    path = str(tmp_path / "socket")
    listener.bind(path)
    listener.listen()
    server = pywsgi.WSGIServer(
        listener, lambda environ, start: environ["wsgi.websocket"].receive(), handler_class=WebSocketHandler, log=None
    )
    server.start()
    clients = []
    try:
        for _ in range(2):
            client = gevent.socket.socket(gevent.socket.AF_UNIX)
            clients.append(client)
            client.connect(path)
            client.sendall(handshake())
            assert client.recv(9) == b"HTTP/1.1 "
        assert len(server.clients) == 2
        for client in clients:
            client.sendall(frames.close())
            while client.recv(4096):
                pass
    finally:
        for client in clients:
            client.close()
        server.stop()


def test_pre_start_hook_may_ask_for_plain_http(serve):
    seen = []

    def hook(handler):
        seen.append(handler.environ["PATH_INFO"])
        return handler.environ["PATH_INFO"] == "/plain"

    def app(environ, start_response):
        start_response("200 OK", [("Connection", "close"), ("Content-Length", "4")])
        return [b"page"]

    site = serve(app, server_class=WebSocketServer, pre_start_hook=hook)
    assert request(site, handshake("/plain")) == ("HTTP/1.1 200 OK", b"page")
    site.connect("/ws").expect_close()
    assert seen == ["/plain", "/ws"]


def test_access_log_has_the_connection(serve):
    """Where gevent-websocket kept it back."""
    site = serve(lambda environ, start: None, server_class=WebSocketServer)
    site.connect("/ws").expect_close()
    assert '"GET /ws HTTP/1.1" 101' in site.access.wait()[0]


def test_debug_logs_more(monkeypatch):
    monkeypatch.setattr(logging.getLogger("geventws"), "level", logging.NOTSET)
    server = WebSocketServer(("127.0.0.1", 0), debug=True)
    assert server.debug and server.logger.isEnabledFor(logging.DEBUG)
