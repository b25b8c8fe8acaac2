"""geventws.compat.wsocket: what the documentation of WSocket says of its connection. It has no tests of its own."""

from __future__ import annotations

import pytest
from gevent.event import AsyncResult
from kit.frames import CLOSE, HUGE, PING, PONG, Frame, binary, close_payload, frame, text

from geventws import PerMessageDeflate
from geventws.compat import wsocket
from geventws.compat.wsocket import WebSocket, WebSocketError, WSocketApp, logger
from geventws.websocket import get_connection

DEFLATE = {"sec_websocket_extensions": "permessage-deflate"}


@pytest.fixture
def handle(serve):
    """Serve an application whose WebSockets a function gets, and return a client."""

    def handle(function, frames=b"", changed=None, websocket_class=None, **options):
        def application(environ, start_response):
            function(environ["wsgi.websocket"])
            return []

        app = WSocketApp(application, **options)
        if websocket_class:
            app.websocket_class = websocket_class
        return serve(app).connect("/hello/world", frames, **(changed or {}))

    return handle


@pytest.fixture
def inside(handle):
    """The same, where the client leaves at once behind its frames; return what the function returns."""

    def inside(function, frames=b"", **options):
        result = AsyncResult()
        goodbye = frame(CLOSE, close_payload(4000, "bye"))
        client = handle(lambda wsock: result.set(function(wsock)), frames + goodbye, **options)
        found = result.get()
        client.rest()
        return found

    return inside


# The connection


def test_attributes(serve):
    seen = AsyncResult()

    def application(environ, start_response):
        wsock = environ["wsgi.websocket"]
        seen.set((wsock.path, wsock.origin, wsock.protocol, wsock.version, wsock.do_compress, wsock.logger is logger))
        assert environ["wsgi.websocket_version"] == "13" and wsock.environ is environ
        wsock.mine = start_response("200 OK", [])(b"dropped")
        return [b"dropped"]

    client = serve(WSocketApp(application, "b")).dial()
    answer = client.open(path="/hello?user=me", origin="http://a", sec_websocket_protocol="a, b")
    assert answer.get("sec-websocket-protocol") == "b"
    client.expect_close()
    assert seen.get() == ("/hello", "http://a", "b", 13, False, True)


@pytest.mark.parametrize("spoken", [{"protocol": ["b", "c"]}, {"protocols": "b"}, {"protocols": ["c", "b"]}])
def test_subprotocols(serve, spoken):
    site = serve(WSocketApp(lambda environ, start_response: [], **spoken))
    for asked, agreed in (("a, b", "b"), ("ab", None), (None, None)):
        client = site.dial()
        assert client.open(sec_websocket_protocol=asked).get("sec-websocket-protocol") == agreed
        client.expect_close()


def test_receive(inside):
    def receive(wsock):
        messages = [wsock.receive() for _ in range(4)]
        for _ in range(2):
            with pytest.raises(WebSocketError):
                wsock.receive()
        return messages

    assert inside(receive, text("a\u20ac") + binary(b"\xff") + text("")) == ["a\u20ac", b"\xff", "", None]


@pytest.mark.parametrize("end", ["not UTF-8", "breach", "lost"])
def test_receive_is_none_on_errors(handle, end):
    got = AsyncResult()
    client = handle(lambda wsock: got.set((wsock.receive(), wsock.close_code)))
    if end == "lost":
        client.reset()
    else:
        client.send(frame(1, b"\xff") if end == "not UTF-8" else b"\xff\x80mask")
        client.expect_close({"not UTF-8": 1007, "breach": 1002}[end], None)
    assert got.get() == (None, {"not UTF-8": 1007, "breach": 1002, "lost": 1006}[end])


def test_any_origin_but_no_message_of_any_size(handle):
    handle(lambda wsock: wsock.receive(), HUGE, {"origin": "http://elsewhere.example"}).expect_close(1009, None)


SENT = {
    "text": (("a\u20ac",), Frame(1, "a\u20ac".encode())),
    "bytes": ((b"a",), Frame(2, b"a")),
    "bytes as binary": ((b"a", True), Frame(2, b"a")),
    "text as binary": (("a", True), Frame(2, b"a")),
    "bytes as text": ((b"a", False), Frame(1, b"a")),
    "bytearray": ((bytearray(b"a"), True), Frame(2, b"a")),
    "empty": (("",), Frame(1, b"")),
    "empty bytes": ((b"",), Frame(2, b"")),
}


@pytest.mark.parametrize("name", SENT)
def test_send(handle, name):
    arguments, expected = SENT[name]
    client = handle(lambda wsock: wsock.send(*arguments))
    assert client.read_frame() == expected
    client.expect_close()


def test_send_of_what_is_no_message(handle):
    def send(wsock):
        for message in (None, 5):
            with pytest.raises(TypeError):
                wsock.send(message)
        with pytest.raises(ValueError, match="utf-8"):
            wsock.send(b"\xff", binary=False)

    handle(send).expect_close()


def test_compression(handle):
    def send(wsock):
        assert wsock.do_compress
        assert wsock.receive() == "hello" * 3
        wsock.send("hello" * 3)
        wsock.send("hello" * 3, do_compress=False)

    compressed = PerMessageDeflate().accept([[]])[1].encode(b"hello" * 3)
    fragments = frame(1, compressed[:3], fin=False, rsv=4) + frame(0, compressed[3:])
    client = handle(send, fragments, DEFLATE)
    first, second = client.read_frame(), client.read_frame()
    assert first.rsv == 4 and len(first.payload) < 15 and second == Frame(1, b"hello" * 3)
    client.expect_close()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [((), 1000, ""), ((4000, "why"), 4000, "why"), ((1001, b"why"), 1001, "why")],
)
def test_close(handle, arguments, code, reason):
    def close(wsock):
        wsock.close(*arguments)
        wsock.close()
        for call in (wsock.receive, lambda: wsock.send("late"), lambda: wsock.send(None)):
            with pytest.raises(WebSocketError):
                call()

    handle(close).expect_close(code, reason)


def test_the_errors_are_one_tree():
    assert issubclass(wsocket.FrameTooLargeException, wsocket.ProtocolError)
    assert issubclass(wsocket.ProtocolError, WebSocketError)


# Hooks


class Hooked(WebSocket):
    """The child class of the documentation."""

    calls: list = []

    def handle_close(self, payload):
        self.calls.append(("close", payload))
        super().handle_close(payload)

    def handle_ping(self, payload):
        self.calls.append(("ping", payload))
        super().handle_ping(payload)

    def handle_pong(self, payload):
        self.calls.append(("pong", payload))
        super().handle_pong(payload)


def test_hooks_come_in_order(inside):
    Hooked.calls.clear()

    def receive(wsock):
        while (message := wsock.receive()) is not None:
            wsock.calls.append(message)

    frames = text("1") + frame(PING, b"2") + text("3") + frame(PONG, b"4")
    inside(receive, frames, websocket_class=Hooked)
    assert Hooked.calls == ["1", ("ping", b"2"), "3", ("pong", b"4"), ("close", b"\x0f\xa0bye")]


def test_handle_ping_answers(handle):
    client = handle(lambda wsock: wsock.receive(), frame(PING, b"x"), websocket_class=Hooked)
    assert client.read_frame() == Frame(PONG, b"x")
    client.leave()


def test_pings_are_answered_without_a_hook(handle):
    client = handle(lambda wsock: get_connection(wsock).closing.wait(5), frame(PING, b"x") + frame(PING, b""))
    assert [client.read_frame(), client.read_frame()] == [Frame(PONG, b"x"), Frame(PONG, b"")]
    client.leave()


def test_websocket_class_of_a_subclass(serve):
    class App(WSocketApp):
        websocket_class = Hooked

    classes = []
    app = App()
    app.onconnect = lambda client: classes.append(type(client))
    serve(app).connect().leave()
    assert classes == [Hooked]


# Applications


def test_an_application_that_fails(handle, log):
    handle(lambda wsock: 1 / 0).expect_close(1011)
    assert [record.exc_info[0] for record in log() if record.exc_info] == [ZeroDivisionError]


def test_the_loop_of_the_documentation(handle):
    def echo(wsock):
        while True:
            try:
                wsock.send("you: " + (wsock.receive() or ""))
            except WebSocketError:
                break

    client = handle(echo, text("x"))
    assert client.read_message() == "you: x"
    client.leave()
