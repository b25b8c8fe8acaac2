"""Resource and WebSocketApplication of geventws.compat.geventwebsocket: paths, callbacks and subprotocols."""

from __future__ import annotations

import logging
from collections import OrderedDict

import pytest
from kit import frames
from kit.clients import handshake

from geventws.compat.geventwebsocket import BaseProtocol, Resource, WebSocketApplication, WebSocketServer


def tracebacks(records) -> list[logging.LogRecord]:
    return [record for record in records if record.exc_info]


@pytest.fixture
def serve_resource(serve):
    """Serve a Resource on a WebSocketServer."""

    def serve_resource(apps, **options):
        return serve(Resource(apps), server_class=WebSocketServer, **options)

    return serve_resource


def request(site, data: bytes = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") -> tuple[str, bytes]:
    client = site.dial()
    client.send(data)
    return client.read_head().status, client.rest()


class Noting(WebSocketApplication):
    """Keeps what happens, and sends back."""

    events: list = []

    def on_open(self):
        self.events.append("open")

    def on_message(self, message):
        self.events.append(message)
        self.ws.send(message)

    def on_close(self, reason):
        self.events.append(("close", reason))


@pytest.fixture
def events(monkeypatch):
    monkeypatch.setattr(Noting, "events", [])
    return Noting.events


def plain(environ, start_response):
    start_response("200 OK", [("Content-Length", "4")])
    return [b"page"]


def test_document_example_with_classes(serve_resource, events):
    client = serve_resource({"/": Noting}).connect(frames=frames.text("a") + frames.binary(b"b"))
    client.expect(b"\x81\x01a\x82\x01b")
    client.leave(1000, "bye")
    assert events == ["open", "a", bytearray(b"b"), ("close", "bye")]


def test_default_callback_sends_back(serve_resource, log):
    client = serve_resource([("/", WebSocketApplication)]).connect(frames=frames.text("a"))
    client.expect(b"\x81\x01a")
    client.leave()
    assert tracebacks(log()) == []


def test_paths(serve_resource, events):
    site = serve_resource(OrderedDict([("^/chat$", Noting), ("^/chat", plain), ("/other", plain)]))
    site.connect("/chat").leave()
    assert events == ["open", ("close", None)]
    for path in ("/chat", "/chat/page", "/other"):
        head = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        assert request(site, head.encode()) == ("HTTP/1.1 200 OK", b"page")
    assert request(site)[0] == "HTTP/1.1 404 Not Found"
    for path in ("/other", "/nothing"):
        assert request(site, handshake(path))[0] == "HTTP/1.1 404 Not Found"


def test_broadcast_from_an_application(serve_resource):
    class Chat(WebSocketApplication):
        def on_message(self, message):
            assert self.ws.handler.active_client.ws is self.ws and self.ws.current_app is self
            assert self.protocol.server is self.ws.handler.server and self.protocol.handler is self.ws.handler
            for client in self.ws.handler.server.clients.values():
                client.ws.send(message)

    site = serve_resource({"/": Chat})
    first, second = site.connect(), site.connect()
    first.send(frames.text("hi"))
    for client in (first, second):
        client.expect(b"\x81\x02hi")
        client.leave()


@pytest.mark.parametrize("offered, agreed", [("chat", "chat"), ("a, chat", "chat"), ("xchatx", None), (None, None)])
def test_subprotocol(serve_resource, offered, agreed):
    class Protocol(BaseProtocol):
        PROTOCOL_NAME = "chat"

        def on_message(self, message):
            self.app.on_message(message.upper())

    class Chat(WebSocketApplication):
        protocol_class = Protocol

    client = serve_resource({"/": Chat}).dial()
    assert client.open(frames.text("a"), sec_websocket_protocol=offered).get("sec-websocket-protocol") == agreed
    client.expect(b"\x81\x01A")
    client.leave()


def test_callback_that_closes(serve_resource, events, log):
    class Closing(Noting):
        def on_message(self, message):
            self.ws.close(4000, "enough")

    serve_resource({"/": Closing}).connect(frames=frames.text("a")).expect_close(4000, "enough")
    assert events == ["open", ("close", "enough")] and tracebacks(log()) == []


def test_callback_that_fails(serve_resource, events, log):
    """Where gevent-websocket never called `on_close`."""

    class Failing(Noting):
        def on_message(self, message):
            raise LookupError

    serve_resource({"/": Failing}).connect(frames=frames.text("a")).expect_close(1011)
    assert events == ["open", ("close", None)] and len(tracebacks(log())) == 1
