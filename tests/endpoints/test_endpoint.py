"""The `headers` of a route, and what callbacks add to a 101: none may pass for one of the handshake's own."""

from __future__ import annotations

import pytest
from gevent import pywsgi
from kit.clients import handshake

from geventws import HandshakeError, WebSocketApplication, WebSocketMiddleware, WebSocketServer, WebSocketWSGI

OWN = [
    ("Upgrade", "h2c"),
    ("connection", "close"),
    ("Sec-WebSocket-Accept", "x"),
    ("SEC-WEBSOCKET-PROTOCOL", "chat"),
    ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ("Sec-WebSocket-Version", "13"),
    ("WebSocket-Origin", "http://a.example"),
    ("Content-Length", "0"),
    ("Transfer-Encoding", "chunked"),
]
UNSENDABLE = [("", "a"), ("X Y", "a"), ("X:", "a"), ("X\0", "a"), ("X", "a\0b"), ("X", "a\r\nY: b"), ("X", "\u20ac")]
on_both = pytest.mark.parametrize("server_class", [pywsgi.WSGIServer, WebSocketServer])
wrong = pytest.mark.parametrize("pair", OWN + UNSENDABLE, ids=ascii)


def status(site) -> str:
    with site.dial() as client:
        client.send(handshake(sec_websocket_extensions="permessage-deflate"))
        answer = client.read_head()
        assert b"HTTP/1.1" not in client.rest()
    return answer.status


@wrong
@pytest.mark.parametrize("make", [list, dict, tuple])
def test_a_route_tells_when_it_is_made(pair, make):
    for kind in (lambda **options: WebSocketWSGI(list, **options), WebSocketApplication):
        with pytest.raises(ValueError, match="handshake itself|cannot"):
            kind(headers=make([pair]))


@wrong
@on_both
def test_a_function_is_told_at_the_handshake(serve, hub_errors, server_class, pair):
    def app(environ, start_response):
        environ["wsgi.websocket"].wait()

    endpoints = [WebSocketWSGI(list), WebSocketApplication(), WebSocketMiddleware(app)]
    for endpoint in endpoints:
        endpoint.headers = lambda environ: [("X-Fine", "yes"), pair]
        assert status(serve(endpoint, server_class=server_class)) == "HTTP/1.1 500 Internal Server Error"
    assert [type(error) for error in hub_errors] == [ValueError] * len(endpoints)
    hub_errors.clear()


@pytest.mark.parametrize("pair", UNSENDABLE, ids=ascii)
@on_both
def test_a_refusal_has_no_others_either(serve, hub_errors, server_class, pair):
    def refuse(environ):
        raise HandshakeError(401, "who are you?", [pair])

    assert status(serve(WebSocketWSGI(list, headers=refuse), server_class=server_class)).split()[1] == "500"
    assert [type(error) for error in hub_errors] == [ValueError]
    hub_errors.clear()


def replace(name):
    def change(headers):
        headers[:] = [(key, "x" if key.lower() == name else value) for key, value in headers]

    return change


CHANGES = {
    "nothing tells of the upgrade": lambda headers: headers.pop(0),
    "another accept": replace("sec-websocket-accept"),
    "another extension": replace("sec-websocket-extensions"),
    "no extension": lambda headers: headers.pop(),
    "two upgrades": lambda headers: headers.append(("Upgrade", "websocket")),
    "a length": lambda headers: headers.append(("Content-Length", "0")),
    "a NUL": lambda headers: headers.append(("X", "\0")),
    "no name": lambda headers: headers.append(("", "x")),
}


@on_both
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_callbacks_may_not_change_what_makes_the_101(serve, hub_errors, server_class, change):
    class App(WebSocketApplication):
        def on_handshake(self, environ, headers):
            change(headers)

    assert status(serve(App(), server_class=server_class)) == "HTTP/1.1 500 Internal Server Error"
    assert [type(error) for error in hub_errors] == [ValueError]
    hub_errors.clear()


@on_both
def test_callbacks_may_choose_the_subprotocol(serve, server_class):
    class App(WebSocketApplication):
        def on_handshake(self, environ, headers):
            headers.append(("Sec-WebSocket-Protocol", "news"))
            headers.append(("X-Room", "7"))

    answer = serve(App(), server_class=server_class).dial().open(sec_websocket_protocol="news")
    assert (answer.get("sec-websocket-protocol"), answer.get("x-room")) == ("news", "7")
