"""The client of geventws.compat.pulsar, against its server: what pulsar's own tests check."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import AsyncResult
from gevent.queue import Queue

from geventws import InvalidStatus
from geventws.compat.pulsar import WebSocketProtocol, http, ws, wsgi


class ClientWS(ws.WS):
    def __init__(self):
        self.got = Queue()

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        return lambda websocket, *body: self.got.put((name, *body))


class EchoWS(ws.WS):
    def on_message(self, websocket, message):
        websocket.write(message)


@pytest.fixture
def dial(serve):
    """Serve a handler, and return a client's connection and what its handler gets."""

    def dial(handler, **settings):
        site = serve(wsgi.WsgiHandler(middleware=(ws.WebSocket("/bla", handler),)))
        mine = ClientWS()
        client = http.HttpClient(proxy=None, **settings)
        return client.get(f"ws://127.0.0.1:{site.port}/bla", websocket_handler=mine), mine.got

    return dial


def test_upgrade(dial):
    connection, got = dial(EchoWS(), color="red")
    assert isinstance(connection, WebSocketProtocol) and connection.status_code == 101
    assert dict(connection.headers)["Upgrade"] == "websocket" and connection.raise_for_status() is None
    assert connection.parser.kind == 1 and connection.cfg.color == "red" and connection.handshake.status_code == 101
    assert got.get() == ("on_open",)
    connection.write("Hi there!")
    assert got.get() == ("on_message", "Hi there!")
    connection.write_close()
    assert got.get() == ("on_close",) and connection.close_reason == (1000, "OK")


def test_ping_and_pong(dial):
    class Pinger(EchoWS):
        def on_open(self, websocket):
            websocket.ping("from the server")

    connection, got = dial(Pinger())
    assert [got.get(), got.get()] == [("on_open",), ("on_ping", b"from the server")]
    connection.ping("from the client")
    assert got.get() == ("on_pong", b"from the client")
    connection.write("fragm", final=False)
    connection.write("ents", opcode=0)
    assert got.get() == ("on_message", "fragments")
    connection.write(connection.parser.close(1001), opcode=8, encode=False)
    assert got.get() == ("on_close",) and connection.close_reason == (1001, "going away")


def test_the_server_closes(dial):
    class Closer(ws.WS):
        def on_message(self, websocket, message):
            websocket.write_close(1001)

    connection, got = dial(Closer())
    connection.write("close")
    assert [got.get(), got.get()] == [("on_open",), ("on_close",)]
    assert connection.close_reason == (1001, "going away")


def test_the_server_refuses(serve):
    site = serve(wsgi.WsgiHandler())
    with pytest.raises(InvalidStatus):
        http.HttpClient(proxy=None).get(f"ws://127.0.0.1:{site.port}/nowhere")


def test_the_server_of_the_documentation(warm):
    class Handler(ws.WS):
        def on_open(self, websocket):
            opened.set(websocket)

        def on_close(self, websocket):
            closed.set(websocket.close_reason)

    opened, closed, handler = AsyncResult(), AsyncResult(), Handler()
    server = wsgi.WSGIServer(wsgi.WsgiHandler((ws.WebSocket("/bla", handler),)), bind="127.0.0.1:0", name="mine")
    serving = gevent.spawn(server.start)
    with gevent.Timeout(10):
        while not server.server.started:
            gevent.sleep(0.001)
        client = http.HttpClient(proxy=None).get(f"ws://127.0.0.1:{server.server.server_port}/bla")
        assert opened.get().cfg.name == "mine"
        stopping = gevent.spawn(server.stop)
        assert closed.get()[0] == 1001
        gevent.joinall([serving, stopping])
        assert client.close_reason[0] == 1001
