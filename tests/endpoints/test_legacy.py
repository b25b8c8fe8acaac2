"""legacy.py: drafts 75 and 76 on real servers, through `support_legacy_versions`."""

from __future__ import annotations

import logging

import gevent
import pytest
from gevent import pywsgi
from gevent import socket as gsocket
from kit.sites.eventlet import CHALLENGE, RESPONSE, connect, read_head, request75, request76

from geventws import ConnectionClosed, WebSocketWSGI
from geventws.endpoints import legacy
from geventws.server.server import WebSocketServer

both = pytest.mark.parametrize("handshake", [request75, request76])
OPTIONS = {"support_legacy_versions": True, "origins": None}


def echo(ws) -> None:
    """Send everything back."""
    for message in ws:
        ws.send(message)


def status(site, handshake: bytes) -> str:
    client = site.dial()
    client.send(handshake)
    return client.read_head().status


@both
def test_off_unless_asked_for(serve, handshake, log):
    assert status(serve(WebSocketWSGI(echo, origins=None)), handshake()) == "HTTP/1.1 426 Upgrade Required"
    (line,) = log()
    assert "support_legacy_versions" in line.getMessage()


@both
@pytest.mark.parametrize("server_class", [pywsgi.WSGIServer, WebSocketServer])
def test_echo(serve, handshake, server_class):
    site = serve(WebSocketWSGI(echo, **OPTIONS), server_class=server_class)
    client = connect(site, handshake() + b"\x00early\xff\x00and la")
    client.expect(b"\x00early\xff")
    client.send(b"ter\xff")
    client.expect(b"\x00and later\xff")


@both
def test_refusals(serve, handshake):
    assert status(serve(WebSocketWSGI(echo, support_legacy_versions=True)), handshake()) == "HTTP/1.1 403 Forbidden"
    site = serve(WebSocketWSGI(echo, **OPTIONS))
    assert status(site, handshake(Origin=None)) == "HTTP/1.1 400 Bad Request"
    assert status(site, handshake(**{"Content-Length": "8"})) == "HTTP/1.1 400 Bad Request"
    assert status(site, request76(**{"Sec-WebSocket-Key1": "no number"})) == "HTTP/1.1 400 Bad Request"


def test_client_that_leaves_instead_of_its_challenge(serve):
    client = serve(WebSocketWSGI(echo, **OPTIONS)).dial()
    client.send(request76()[:-3])
    client.shut_down()
    assert client.read_head().status == "HTTP/1.1 400 Bad Request"


def test_client_that_keeps_its_challenge(serve, monkeypatch):
    monkeypatch.setattr(legacy, "CHALLENGE_TIMEOUT", 0.02)
    assert status(serve(WebSocketWSGI(echo, **OPTIONS)), request76()[:-1]) == "HTTP/1.1 400 Bad Request"


@both
def test_target_behind_a_function_that_hides_it(serve, handshake):
    application = WebSocketWSGI(echo, **OPTIONS)

    def middleware(environ, start_response):
        return application(environ, lambda *arguments: start_response(*arguments))

    client = serve(middleware).dial()
    client.send(handshake("/a%20b?c"))
    assert b"Location: ws://localhost:8080/a%20b?c\r\n" in read_head(client)


@both
def test_headers_and_subprotocol(serve, handshake):
    def tell(ws):
        ws.send(f"{ws.protocol} {ws.origin} {ws.version}")

    site = serve(WebSocketWSGI(tell, subprotocols=["ws"], headers={"X-More": "yes"}, **OPTIONS))
    client = site.dial()
    client.send(handshake(**{"WebSocket-Protocol": "ws"}))
    head = read_head(client)
    assert b"WebSocket-Protocol: ws\r\n" in head and b"X-More: yes\r\n" in head
    if handshake is request76:
        client.expect(RESPONSE)
    client.expect(b"\x00ws http://localhost %s\xff" % (b"76" if handshake is request76 else b"75"))


@pytest.mark.parametrize(("handshake", "end"), [(request75, b""), (request76, b"\xff\x00")])
def test_the_handlers_end(serve, handshake, end, log):
    for handler in (lambda ws: None, lambda ws: ws.close(1001, "away"), lambda ws: 1 / 0):
        site = serve(WebSocketWSGI(handler, close_timeout=30, **OPTIONS))
        client = connect(site, handshake())
        assert client.read(len(end)) == end
        if end:
            client.send(end)
        assert client.rest() == b""
        client.close()
        assert '" 101 ' in site.access.wait()[0]
    assert [record.levelno for record in log()] == [logging.ERROR]


@pytest.mark.parametrize(("handshake", "end"), [(request75, b""), (request76, b"\xff\x00")])
def test_the_peers_end(serve, handshake, end):
    ends = []

    def wait(ws):
        ends.append((ws.wait(), ws.close_code))
        with pytest.raises(ConnectionClosed):
            ws.send("late")

    client = connect(serve(WebSocketWSGI(wait, **OPTIONS)), handshake())
    client.send(b"\xff\x00")
    assert client.rest() == end
    assert ends == [(None, 1005)]


def test_too_long_a_message(serve, log):
    client = connect(serve(WebSocketWSGI(echo, max_message_size=3, **OPTIONS)), request76())
    client.send(b"\x00123\xff\x001234")
    client.expect(b"\x00123\xff\xff\x00")
    assert client.rest() == b""
    assert "max_message_size" in log()[0].getMessage()


@both
def test_parts_and_pieces(serve, handshake):
    def double(ws):
        while (pieces := ws.wait_pieces()) is not None:
            pieces = list(pieces)
            ws.send(iter(pieces + pieces))

    client = connect(serve(WebSocketWSGI(double, streaming=True, **OPTIONS)), handshake())
    client.send(b"\x00ab\xff\x00\xff")
    client.expect(b"\x00abab\xff\x00\xff")


def test_there_are_no_pings(serve):
    raised = []

    def ping(ws):
        with pytest.raises(ValueError, match="no control frames"):
            ws.ping()
        gevent.sleep(0.05)  # several intervals
        raised.append(ws.environ["options"](gsocket.SOL_SOCKET, gsocket.SO_KEEPALIVE))

    def application(environ, start_response):
        environ["options"] = environ["wsgi.input"].raw._sock.getsockopt
        return WebSocketWSGI(ping, ping_interval=0.01, **OPTIONS)(environ, start_response)

    client = connect(serve(application), request76())
    client.expect(b"\xff\x00")
    assert raised == [1]


def test_challenge_in_parts(serve):
    client = serve(WebSocketWSGI(echo, **OPTIONS)).dial()
    handshake = request76() + b"\x00a\xff"
    for at in range(0, len(handshake), 7):
        client.send(handshake[at : at + 7])
        gevent.sleep(0)
    assert CHALLENGE in handshake and read_head(client)
    client.expect(RESPONSE + b"\x00a\xff")
