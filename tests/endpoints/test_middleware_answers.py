"""WebSocketMiddleware and plain HTTP: other requests, and applications that refuse the socket."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import AsyncResult
from kit import frames
from kit.clients import handshake
from kit.sites.middleware import PAGE, answer_page, application, echo, request

import geventws
from geventws import ConnectionClosed, HandshakeError
from geventws.endpoints.middleware import WebSocketMiddleware


def test_other_requests_pass_through(serve):
    def app(environ, start_response):
        assert not [key for key in environ if key.startswith("wsgi.websocket")]
        return answer_page(environ, start_response)

    wrapped = WebSocketMiddleware(app)
    environ = {"REQUEST_METHOD": "POST", "wsgi.input": None}
    assert wrapped(environ, lambda *_: None) == [b"page"]
    client = serve(wrapped).dial()
    for _ in range(2):  # kept alive
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_head().headers == PAGE
        assert client.read(4) == b"page"


def by_write(environ, start_response):
    start_response("403 Forbidden", PAGE)(b"page")
    return []


def by_parts(environ, start_response):
    start_response("200 OK", PAGE)
    yield b""
    start_response("403 Forbidden", PAGE, (None, None, None))
    yield b"pa"
    yield b"ge"


@pytest.mark.parametrize("app", [answer_page, by_write, by_parts])
def test_plain_answer_to_a_handshake(serve, app):
    site = serve(WebSocketMiddleware(app))
    answer, body = request(site, handshake() + frames.text("early"))
    assert (answer.status, body) == ("HTTP/1.1 403 Forbidden", b"page")
    assert answer.headers == [*PAGE, ("Connection", "close")]
    assert len(site.access) == 1 and site.errors == []


def test_plain_answer_without_a_body(serve):
    def app(environ, start_response):
        start_response("204 No Content", [("Connection", "close")])
        return []

    answer, body = request(serve(WebSocketMiddleware(app)), handshake())
    assert (answer.status, answer.headers, body) == ("HTTP/1.1 204 No Content", [("Connection", "close")], b"")


def test_connection_is_not_to_be_had_after_a_plain_answer(serve):
    kept, raised = [], []

    def app(environ, start_response):
        kept.append(environ["wsgi.websocket"])
        start_response("200 OK", [])
        yield b"page"
        try:
            kept[0].send("a")
        except ConnectionClosed as error:
            raised.append(error.code)

    answer, body = request(serve(WebSocketMiddleware(app)), handshake())
    assert (answer.status, body, raised) == ("HTTP/1.1 200 OK", b"page", [1006])
    assert kept[0].closed
    with pytest.raises(ConnectionClosed, match="answered"):
        kept[0].wait()


def test_result_is_closed(serve):
    closed = []

    class Body(list):
        def close(self):
            closed.append(self)

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/ws":
            environ["wsgi.websocket"].send("a")
        start_response("200 OK", [])
        return Body([b"page"])

    site = serve(WebSocketMiddleware(app))
    request(site, handshake("/"))
    client = site.connect("/ws")
    client.expect(b"\x81\x01a")
    client.expect_close()
    site.settle()
    assert closed == [[b"page"], [b"page"]]


def test_bad_handshake_never_reaches_the_application(serve, log):
    site = serve(WebSocketMiddleware(application(echo)))
    answer, _ = request(site, handshake(origin="http://evil.example"))
    assert answer.status == "HTTP/1.1 403 Forbidden"
    answer, _ = request(site, handshake(sec_websocket_version="12"))
    assert answer.status == "HTTP/1.1 426 Upgrade Required"
    assert [record.exc_info for record in log()] == [None, None]


def test_error_before_the_first_use_is_the_servers(serve, hub_errors):
    def app(environ, start_response):
        raise LookupError("before")

    answer, _ = request(serve(WebSocketMiddleware(app)), handshake())
    assert answer.status == "HTTP/1.1 500 Internal Server Error"
    assert isinstance(hub_errors.pop(), LookupError)


def test_application_may_refuse_by_raising(serve, log):
    def app(environ, start_response):
        raise HandshakeError(401, "who are you?")

    answer, body = request(serve(WebSocketMiddleware(app)), handshake())
    assert (answer.status, body) == ("HTTP/1.1 401 Unauthorized", b"who are you?\n")


def test_no_socket(serve):
    result = AsyncResult()

    def app(environ, start_response):
        with pytest.raises(geventws.NoSocket) as caught:
            environ["wsgi.websocket"].wait()
        result.set(str(caught.value))
        return answer_page(environ, start_response)

    def hide(environ, start_response):
        def start(*arguments):
            return start_response(*arguments)

        site = WebSocketMiddleware(app)
        return gevent.spawn(lambda: list(site({**environ, "wsgi.input": None}, start))).get()

    answer, _ = request(serve(hide), handshake())
    assert answer.status == "HTTP/1.1 403 Forbidden"
    assert "another greenlet" in result.get() and "geventws runs on" not in result.get()
