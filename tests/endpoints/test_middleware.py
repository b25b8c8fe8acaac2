"""WebSocketMiddleware: when it connects, and how a connection ends."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import AsyncResult, Event
from kit import frames
from kit.clients import handshake
from kit.sites.middleware import answer_page, application, echo, request

from geventws import ConnectionClosed
from geventws.endpoints.middleware import WebSocketMiddleware
from geventws.server.server import WebSocketServer


def tracebacks(records):
    return [record for record in records if record.exc_info]


# Connecting


def test_echo(serve):
    site = serve(WebSocketMiddleware(application(echo)))
    client = site.connect("/room", frames.text("early") + frames.binary(b"\0\1"))
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
    "another": lambda ws: ws.ended.is_set(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_the_first_use_connects(serve, use):
    site = serve(WebSocketMiddleware(application(use)))
    client = site.connect(frames=frames.text("b"))
    client.send(frames.close())
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
    answer, _ = request(site, handshake("/a", sec_websocket_protocol="chat", origin="http://127.0.0.1"))
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
    client.send(frames.text("123456"))
    client.expect_close(1009, None)


def test_streaming(serve):
    def use(ws):
        ws.send(b"".join(ws.wait_pieces()))

    client = serve(WebSocketMiddleware(application(use), streaming=True)).connect(frames=frames.binary(b"ab"))
    client.expect(b"\x82\x02ab")
    client.expect_close()


def test_on_the_server_of_geventws(serve):
    site = serve(WebSocketMiddleware(application(echo)), server_class=WebSocketServer)
    client = site.connect(frames=frames.text("a"))
    client.expect(b"\x81\x01a")
    client.leave()
    site = serve(WebSocketMiddleware(answer_page), server_class=WebSocketServer)
    assert request(site, handshake() + frames.text("early"))[1] == b"page"


def test_drained_with_its_server(serve):
    site = serve(WebSocketMiddleware(application(echo)), server_class=WebSocketServer)
    client = site.connect()
    stopping = gevent.spawn(site.server.stop)
    client.expect_close(1001)
    stopping.get()


def test_legacy_drafts(serve):
    site = serve(WebSocketMiddleware(application(echo), support_legacy_versions=True))
    client = site.dial()
    more = [("Sec-WebSocket-Key1", "4 @1  46546xW%0l 1 5"), ("Sec-WebSocket-Key2", "12998 5 Y3 1  .P00")]
    changed = {"sec_websocket_key": None, "sec_websocket_version": None, "origin": "http://127.0.0.1"}
    client.send(handshake(upgrade="WebSocket", host="127.0.0.1", more=more, **changed) + b"^n:ds[4U\x00hello\xff")
    assert " 101 " in client.read_head().status
    client.read(16)
    client.expect(b"\x00hello\xff")
    client.send(b"\xff\x00")
    client.expect(b"\xff\x00")


def test_over_tls(serve, secure):
    site = serve(WebSocketMiddleware(application(echo)), **secure)
    client = site.connect(frames=frames.text("a"))
    client.expect(b"\x81\x01a")
    client.leave()
    answer, body = request(serve(WebSocketMiddleware(answer_page), **secure), handshake())
    assert (answer.status, body) == ("HTTP/1.1 403 Forbidden", b"page")


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
    start_response("404 Not Found", [], (None, None, None))
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


def test_error_that_a_framework_made_an_answer_closes_with_1011(serve):
    use = application(lambda ws: ws.send("a"), status="500 Internal Server Error")
    client = serve(WebSocketMiddleware(use)).connect()
    client.expect(b"\x81\x01a")
    client.expect_close(1011)


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
    request(site, handshake())
    assert seen[0]["wsgi.websocket"] is None
