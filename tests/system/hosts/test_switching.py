"""The way from start_response to the first frame, and what may go wrong on it: no page lands among frames, and no frame
among pages."""

from __future__ import annotations

import gevent
import pytest
from gevent import pywsgi
from kit import frames
from kit.apps.mounts import MOUNTS, WAYS
from kit.clients import RawClient, handshake
from kit.sites.eventlet import RESPONSE, request76

from geventws import WebSocketApplication, WebSocketMiddleware, WebSocketServer, WebSocketWSGI

on_both = pytest.mark.parametrize("server_class", [pywsgi.WSGIServer, WebSocketServer])
in_all_ways = pytest.mark.parametrize("way", WAYS, ids=MOUNTS)


@WebSocketWSGI
def echo(ws):
    for message in ws:
        ws.send(message)


def page_of(client: RawClient, status: str = "500 Internal Server Error") -> bytes:
    """Return the body of the one answer, which ends the connection."""
    answer = client.read_head()
    assert answer.status == f"HTTP/1.1 {status}"
    body = client.rest()
    assert len(body) == int(answer.get("content-length")) and b"HTTP/1.1" not in body
    return body


@on_both
def test_an_error_before_the_101_has_left_is_a_page(serve, server_class, hub_errors, capsys):
    def failing(environ, start_response):
        def start(status, headers, exc_info=None):
            start_response(status, headers, exc_info)
            raise LookupError("the middleware's own")

        return echo(environ, start)

    site = serve(failing, server_class=server_class)
    with site.dial() as client:
        client.send(handshake() + frames.text("early"))
        assert page_of(client) == b"Internal Server Error"
    (line,) = site.access.wait()
    assert " 500 " in line
    assert [type(error) for error in hub_errors] == [LookupError]
    hub_errors.clear()


@on_both
def test_a_start_response_of_another_greenlet_that_returns_nothing_is_told(serve, server_class, hub_errors):
    def apart(environ, start_response):
        def start(*arguments):
            start_response(*arguments)

        environ.pop("geventws.upgrade", None)
        return gevent.spawn(echo, environ, start).get()

    site = serve(apart, server_class=server_class)
    with site.dial() as client:
        client.send(handshake())
        page_of(client)
    assert "start_response returned None" in str(hub_errors[-1])
    hub_errors.clear()


def test_an_application_that_writes_to_nothing_is_told(serve, hub_errors):
    """Its pages go out all the same where it returns them."""

    def app(environ, start_response):
        write = start_response("403 Forbidden", [("Content-Length", "4")])
        if environ["PATH_INFO"] == "/writes":
            write(b"page")
        return [b"page"]

    middleware = WebSocketMiddleware(app)

    def forgetful(environ, start_response):
        def start(*arguments):
            start_response(*arguments)

        return middleware(environ, start)

    site = serve(forgetful)
    for path, status in (("/", "403 Forbidden"), ("/writes", "500 Internal Server Error")):
        with site.dial() as client:
            client.send(handshake(path))
            page_of(client, status)
    assert "start_response returned None" in str(hub_errors[-1])
    hub_errors.clear()


@in_all_ways
@on_both
def test_a_refusal_with_a_body_to_drop(serve, log, server_class, way):
    """It arrives, and what follows is not read as a request."""
    site = serve(way(echo), server_class=server_class)
    with site.dial() as client:
        client.send(handshake("/a/ws", content_length="5") + b"hello" + handshake("/a/second"))
        assert b"the request has a body" in page_of(client, "400 Bad Request")
    (line,) = site.access.wait()
    site.settle()
    assert "/a/ws HTTP/1.1" in line and " 400 " in line and len(site.access) == 1
    assert len(log()) == 1 and site.errors == []


@in_all_ways
@on_both
def test_a_refusal(serve, log, server_class, way):
    site = serve(way(echo), server_class=server_class)
    with site.dial() as client:
        client.send(handshake("/a/ws", origin="http://evil.example"))
        assert client.read_head().status.split()[1] in ("403", "200")  # some have an answer of their own
    assert len(log()) == 1


@in_all_ways
@on_both
def test_a_handler_that_fails(serve, log, server_class, way):
    @WebSocketWSGI
    def handler(ws):
        ws.send("before")
        raise LookupError("the handler's own")

    site = serve(way(handler), server_class=server_class)
    client = site.connect("/a/ws")
    client.expect(b"\x81\x06before")
    client.expect_close(1011)
    (line,) = site.access.wait()
    assert " 101 " in line and len(log()) == 1 and site.errors == []


@in_all_ways
@on_both
def test_a_server_that_kills_its_handlers(serve, server_class, way):
    class Idle(WebSocketApplication):
        """The request is over by then."""

    for app in (echo, Idle(), WebSocketMiddleware(lambda environ, start: environ["wsgi.websocket"].wait())):
        site = serve(way(app), server_class=server_class)
        client = site.connect("/a/ws")
        stopping = gevent.spawn(site.server.stop, 0.01)
        if server_class is pywsgi.WSGIServer and isinstance(app, Idle):
            client.leave()
        else:
            client.expect_close(1001)
        stopping.get()


@in_all_ways
@on_both
def test_the_challenge_of_draft_76(serve, server_class, way):
    legacy = WebSocketWSGI(echo.handler, support_legacy_versions=True, origins=None)
    site = serve(way(legacy), server_class=server_class)
    with site.dial() as client:
        client.send(request76("/a/ws") + b"\x00early\xff")
        assert client.read_head().status == "HTTP/1.1 101 WebSocket Protocol Handshake"
        client.expect(RESPONSE + b"\x00early\xff")
        client.send(b"\xff\x00")
        assert client.rest() == b"\xff\x00"
