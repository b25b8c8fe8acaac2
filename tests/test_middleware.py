"""WebSocketMiddleware: when it connects, when it answers with plain HTTP, and how a connection ends."""

from __future__ import annotations

import gevent
import pytest
import raw
from gevent.event import AsyncResult, Event

import geventws
from geventws import ConnectionClosed, HandshakeError
from geventws.middleware import WebSocketMiddleware

PAGE = [("Content-Type", "text/plain"), ("Content-Length", "4")]


def answer_page(environ, start_response):
    """Answer with a page, without looking at the socket."""
    start_response("403 Forbidden", PAGE)
    return [b"page"]


def application(use, *, status: str = "200 OK", body=(b"a body",)):
    """Return an application that calls `use(ws)` and then answers, as frameworks do."""

    def app(environ, start_response):
        use(environ["wsgi.websocket"])
        start_response(status, [("Content-Type", "text/plain")])
        return list(body)

    return app


def echo(ws) -> None:
    while (message := ws.receive()) is not None:
        ws.send(message)


def request(site, data: bytes) -> tuple[raw.Answer, bytes]:
    """Return the answer to a request that gets no 101, and its body; the connection must end."""
    client = site.dial()
    client.send(data)
    answer = client.read_head()
    body = client.rest()
    if answer.get("transfer-encoding") == "chunked":
        body = b"".join(body.split(b"\r\n")[1::2])
    return answer, body


def tracebacks(records):
    return [record for record in records if record.exc_info]


# Connecting


def test_echo(serve):
    site = serve(WebSocketMiddleware(application(echo)))
    client = site.connect("/room", raw.text("early") + raw.binary(b"\0\1"))
    client.expect(b"\x81\x05early\x82\x02\0\1")
    client.leave()
    (line,) = site.access.wait()
    assert '"GET /room HTTP/1.1" 101 ' in line and site.errors == []


USES = {
    "accept": lambda ws: ws.accept(),
    "wait": lambda ws: ws.wait(),
    "receive": lambda ws: ws.receive(),
    "send": lambda ws: ws.send("a"),
    "ping": lambda ws: ws.ping(),
    "close": lambda ws: ws.close(),
    "iterate": list,
    "with": lambda ws: ws.__enter__(),
    "another": lambda ws: ws.peer,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_the_first_use_connects(serve, use):
    site = serve(WebSocketMiddleware(application(use)))
    client = site.connect(frames=raw.text("b"))
    client.send(raw.close())
    assert b"HTTP" not in client.rest()


def test_what_only_looks_does_not_connect(serve):
    seen = {}

    def app(environ, start_response):
        ws = environ["wsgi.websocket"]
        names = ("path", "origin", "protocol", "version", "closed", "close_code", "close_reason", "latency")
        seen.update({name: getattr(ws, name) for name in names}, same=ws.environ is environ, text=repr(ws))
        seen.update(number=environ["wsgi.websocket_version"], other=hasattr(ws, "_repr_html_"))
        return answer_page(environ, start_response)

    site = serve(WebSocketMiddleware(app, subprotocols=["chat"]))
    answer, _ = request(site, raw.handshake("/a", sec_websocket_protocol="chat", origin="http://127.0.0.1"))
    assert answer.status == "HTTP/1.1 403 Forbidden"
    assert seen == {
        "path": "/a",
        "origin": "http://127.0.0.1",
        "protocol": "chat",
        "version": 13,
        "closed": False,
        "close_code": None,
        "close_reason": None,
        "latency": 0.0,
        "same": True,
        "text": "<WebSocket /a not connected>",
        "number": "13",
        "other": False,
    }


def test_attributes_of_a_connection(serve):
    seen = []

    def use(ws):
        with ws:
            seen.append((ws.closed, repr(ws).startswith("<WebSocket 127.0.0.1")))
            echo(ws)
        seen.append((ws.closed, ws.close_code, ws.close_reason))
        with pytest.raises(ConnectionClosed):
            ws.send("late")

    serve(WebSocketMiddleware(application(use))).connect().leave(4001, "bye")
    assert seen == [(False, True), (True, 4001, "bye")]


def test_two_greenlets_connect_once(serve):
    def use(ws):
        gevent.joinall([gevent.spawn(ws.send, "a"), gevent.spawn(ws.send, "a")], raise_error=True)

    serve(WebSocketMiddleware(application(use))).connect().expect(b"\x81\x01a\x81\x01a")


def test_another_greenlet_may_use_it(serve):
    members, leave = [], Event()

    def use(ws):
        ws.accept()
        members.append(ws)
        leave.wait()

    client = serve(WebSocketMiddleware(application(use))).connect()
    members[0].send("news")
    client.expect(b"\x81\x04news")
    leave.set()
    client.expect_close()


def test_options_are_those_of_a_route(serve):
    options = {"subprotocols": ["b"], "max_message_size": 5, "headers": {"X-A": "b"}, "compression": None}
    site = serve(WebSocketMiddleware(application(echo), **options))
    client = site.dial()
    answer = client.open(sec_websocket_protocol="a, b", sec_websocket_extensions="permessage-deflate")
    assert answer.get("sec-websocket-protocol") == "b" and answer.get("x-a") == "b"
    assert answer.get("sec-websocket-extensions") is None
    client.send(raw.text("123456"))
    client.expect_close(1009, None)


def test_streaming(serve):
    def use(ws):
        ws.send(b"".join(ws.wait_pieces()))

    client = serve(WebSocketMiddleware(application(use), streaming=True)).connect(frames=raw.binary(b"ab"))
    client.expect(b"\x82\x02ab")
    client.expect_close()


def test_over_tls(serve, secure):
    site = serve(WebSocketMiddleware(application(echo)), **secure)
    client = site.connect(frames=raw.text("a"))
    client.expect(b"\x81\x01a")
    client.leave()
    answer, body = request(serve(WebSocketMiddleware(answer_page), **secure), raw.handshake())
    assert (answer.status, body) == ("HTTP/1.1 403 Forbidden", b"page")


# Plain answers


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
    answer, body = request(site, raw.handshake() + raw.text("early"))
    assert (answer.status, body) == ("HTTP/1.1 403 Forbidden", b"page")
    assert answer.headers == [*PAGE, ("Connection", "close")]
    assert len(site.access) == 1 and site.errors == []


def test_plain_answer_without_a_body(serve):
    def app(environ, start_response):
        start_response("204 No Content", [("Connection", "close")])
        return []

    answer, body = request(serve(WebSocketMiddleware(app)), raw.handshake())
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

    answer, body = request(serve(WebSocketMiddleware(app)), raw.handshake())
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
    request(site, raw.handshake("/"))
    client = site.connect("/ws")
    client.expect(b"\x81\x01a")
    client.expect_close()
    site.settle()
    assert closed == [[b"page"], [b"page"]]


def test_bad_handshake_never_reaches_the_application(serve, log):
    site = serve(WebSocketMiddleware(application(echo)))
    answer, _ = request(site, raw.handshake(origin="http://evil.example"))
    assert answer.status == "HTTP/1.1 403 Forbidden"
    answer, _ = request(site, raw.handshake(sec_websocket_version="12"))
    assert answer.status == "HTTP/1.1 426 Upgrade Required"
    assert [record.exc_info for record in log()] == [None, None]


def test_error_before_the_first_use_is_the_servers(serve, hub_errors):
    def app(environ, start_response):
        raise LookupError("before")

    answer, _ = request(serve(WebSocketMiddleware(app)), raw.handshake())
    assert answer.status == "HTTP/1.1 500 Internal Server Error"
    assert isinstance(hub_errors.pop(), LookupError)


def test_application_may_refuse_by_raising(serve, log):
    def app(environ, start_response):
        raise HandshakeError(401, "who are you?")

    answer, body = request(serve(WebSocketMiddleware(app)), raw.handshake())
    assert (answer.status, body) == ("HTTP/1.1 401 Unauthorized", b"who are you?\n")


def test_no_socket(serve):
    result = AsyncResult()

    def app(environ, start_response):
        with pytest.raises(geventws.NoSocket) as caught:
            environ["wsgi.websocket"].wait()
        result.set(str(caught.value))
        return answer_page(environ, start_response)

    def hide(environ, start_response):
        return WebSocketMiddleware(app)({**environ, "wsgi.input": None}, start_response)

    answer, _ = request(serve(hide), raw.handshake())
    assert answer.status == "HTTP/1.1 403 Forbidden" and "gives its application no gevent socket" in result.get()


# The end


@pytest.mark.parametrize("body", [(), (b"a body",), (b"two", b"parts")])
def test_what_is_returned_after_it_was_used_never_gets_there(serve, body):
    client = serve(WebSocketMiddleware(application(lambda ws: ws.send("a"), body=body))).connect()
    client.expect(b"\x81\x01a")
    client.expect_close()


def nothing(environ, start_response):
    environ["wsgi.websocket"].send("a")


def by_generator(environ, start_response):
    start_response("200 OK", [])
    environ["wsgi.websocket"].send("a")
    yield b"a body"
    yield b"another"


def by_write_too_late(environ, start_response):
    write = start_response("200 OK", [])
    environ["wsgi.websocket"].send("a")
    write(b"a body")
    start_response("500 Internal Server Error", [], (None, None, None))
    return [b"a body"]


@pytest.mark.parametrize("app", [nothing, by_generator, by_write_too_late])
def test_ways_to_return(serve, app, log):
    client = serve(WebSocketMiddleware(app)).connect()
    client.expect(b"\x81\x01a")
    client.expect_close()
    assert log() == []


def test_error_closes_with_1011_and_one_traceback(serve, log):
    def use(ws):
        ws.send("a")
        raise LookupError("after")

    site = serve(WebSocketMiddleware(application(use)))
    client = site.connect()
    client.expect(b"\x81\x01a")
    client.expect_close(1011)
    site.settle()
    assert len(tracebacks(log())) == 1 and site.errors == []


def test_peer_that_left_is_no_error(serve, log):
    def use(ws):
        assert ws.wait() is None
        ws.send("late")

    site = serve(WebSocketMiddleware(application(use)))
    site.connect().leave()
    site.settle()
    assert tracebacks(log()) == []


def test_killed_application_closes_with_1001(serve):
    running = AsyncResult()

    def use(ws):
        ws.accept()
        running.set(gevent.getcurrent())
        ws.wait()

    client = serve(WebSocketMiddleware(application(use))).connect()
    running.get().kill(block=False)
    client.expect_close(1001)


def test_nothing_of_a_request_is_left(serve):
    seen = []
    site = serve(WebSocketMiddleware(lambda environ, start: seen.append(environ) or answer_page(environ, start)))
    request(site, raw.handshake())
    assert seen[0]["wsgi.websocket"] is None
