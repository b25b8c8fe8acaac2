"""geventws.compat.wsocket: what the documentation of WSocket says, over sockets. It has no tests of its own."""

from __future__ import annotations

import gc

import gevent
import pytest
import raw
import websockets.sync.client
from gevent.event import AsyncResult
from raw import PING, PONG, Frame, frame

from geventws import PerMessageDeflate
from geventws.compat import wsocket
from geventws.compat.wsocket import WebSocket, WebSocketError, WSocketApp, logger
from geventws.server import WebSocketServer

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
        client = handle(lambda wsock: result.set(function(wsock)), frames + raw.close(4000, "bye"), **options)
        found = result.get()
        client.rest()
        return found

    return inside


def get(site, path, method="GET"):
    """Return the answer to a plain request: status, headers, and the body."""
    client = site.dial()
    client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = client.read_head()
    return answer.status.removeprefix("HTTP/1.1 "), answer, client.rest()


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

    assert inside(receive, raw.text("a\u20ac") + raw.binary(b"\xff") + raw.text("")) == ["a\u20ac", b"\xff", "", None]


@pytest.mark.parametrize("end", ["not UTF-8", "breach", "lost"])
def test_receive_is_none_on_errors(handle, end):
    got = AsyncResult()
    client = handle(lambda wsock: got.set((wsock.receive(), wsock.close_code)))
    if end == "lost":
        client.reset()
    else:
        client.send(raw.frame(1, b"\xff") if end == "not UTF-8" else b"\xff\x80mask")
        client.expect_close({"not UTF-8": 1007, "breach": 1002}[end], None)
    assert got.get() == (None, {"not UTF-8": 1007, "breach": 1002, "lost": 1006}[end])


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

    compressed = PerMessageDeflate().accept([[]])[1].compress(b"hello" * 3)
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

    frames = raw.text("1") + frame(PING, b"2") + raw.text("3") + frame(PONG, b"4")
    inside(receive, frames, websocket_class=Hooked)
    assert Hooked.calls == ["1", ("ping", b"2"), "3", ("pong", b"4"), ("close", b"\x0f\xa0bye")]


def test_handle_ping_answers(handle):
    client = handle(lambda wsock: wsock.receive(), frame(PING, b"x"), websocket_class=Hooked)
    assert client.read_frame() == Frame(PONG, b"x")
    client.leave()


def test_pings_are_answered_without_a_hook(handle):
    client = handle(lambda wsock: wsock.wait_until(lambda: wsock.over, 5), frame(PING, b"x") + frame(PING, b""))
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


# Events


def test_events_in_order(serve):
    calls, done = [], AsyncResult()

    def on_message(message, client):
        gevent.sleep(0.01 if message == "1" else 0)
        calls.append(message)
        client.send("you said: " + message)

    def on_close(message, client):
        calls.append((message, client.close_code))
        done.set(True)

    app = WSocketApp()
    app.onconnect += lambda client: calls.append("connected")
    app.onmessage += on_message
    app.onclose += on_close
    client = serve(app).connect(frames=raw.text("1") + raw.text("2"))
    assert [client.read_message(), client.read_message()] == ["you said: 1", "you said: 2"]
    client.leave(1001, "bye")
    assert done.get() and calls == ["connected", "1", "2", ("bye", 1001)]


def test_how_events_are_set():
    calls = []
    first, second, third = (lambda n=n: calls.append(n) for n in range(3))
    app = WSocketApp()
    app.onconnect += first
    app.onconnect += second
    app.onconnect()
    app.onconnect -= first
    app.onconnect()
    app.onconnect = third
    app.onconnect()
    app.onconnect.clear()
    app.onconnect()
    app.onconnect = app.onconnect + first - first
    app.onconnect()
    assert calls == [0, 1, 1, 2] and isinstance(WSocketApp().onclose, wsocket.Event)
    assert WSocketApp().onconnect is not app.onconnect


def test_an_event_that_fails(serve, log):
    app = WSocketApp()
    app.onconnect = lambda client: None
    app.onmessage += lambda message, client: 1 / 0
    app.onmessage += lambda message, client: client.send(message)
    client = serve(app).connect(frames=raw.text("1") + raw.text("2"))
    assert [client.read_message(), client.read_message()] == ["1", "2"]
    client.leave()
    assert [record.exc_info[0] for record in log() if record.exc_info] == [ZeroDivisionError] * 2


def test_an_event_that_closes(serve):
    app = WSocketApp()
    app.onconnect = lambda client: client.close(4000, "no")
    app.onmessage = lambda message, client: pytest.fail(message)
    serve(app).connect(frames=raw.text("x")).expect_close(4000, "no")


def test_what_happens_without_events(serve, in_thread):
    site = serve(WSocketApp())

    def converse():
        with websockets.sync.client.connect(f"ws://127.0.0.1:{site.port}/", proxy=None) as client:
            client.send("hello")
            return [client.recv(5) for _ in range(2)]

    assert in_thread(converse) == ["you connected", "you said: hello"]
    gc.collect()  # that client is a cycle, with weak references in it
    status, _answer, body = get(site, "/")
    assert (status, body) == ("200 OK", b"<h1>Hello World!</h1>")


# Middleware


def test_middleware_passes_other_requests(serve):
    def application(environ, start_response):
        assert "wsgi.websocket" not in environ
        start_response("201 Created", [("Content-Length", "4")])
        return [b"made"]

    site = serve(WSocketApp(application))
    assert get(site, "/", "POST")[0] == "201 Created" and get(site, "/")[2] == b"made"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"sec_websocket_version": None}, "426 Upgrade Required"),
        ({"sec_websocket_version": "99"}, "426 Upgrade Required"),
        ({"sec_websocket_key": None}, "400 Bad Request"),
        ({"sec_websocket_key": "short"}, "400 Bad Request"),
    ],
    ids=str,
)
def test_refusals(serve, changed, status):
    client = serve(WSocketApp()).dial()
    client.send(raw.handshake(**changed))
    answer = client.read_head()
    assert answer.status == f"HTTP/1.1 {status}"
    assert answer.get("sec-websocket-version") == ("13, 8" if status[:3] == "426" else None)


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

    client = handle(echo, raw.text("x"))
    assert client.read_message() == "you: x"
    client.leave()


# Framework


@pytest.fixture
def site(serve):
    app = WSocketApp()

    @app.route("/")
    def home(environ, start_response):
        wsock = environ.get("wsgi.websocket")
        if not wsock:
            start_response()
            return "<h1>Hello World!</h1>"
        wsock.send(f"welcome to {environ['PATH_INFO']}")

    @app.route("/files/*")
    def files(environ, start_response):
        start_response(404 if environ["PATH_INFO"] == "/files/no" else "200 Fine", {"X-A": "1"})
        return ["one ", b"two ", 3]

    app.route("/number")(lambda environ, start_response: 7)
    app.route("/bytes")(lambda environ, start_response: b"\xff")
    app.route("/none")(lambda environ, start_response: start_response(204))
    app.route("/typed")(lambda environ, start_response: start_response("200", [("Content-Type", "text/plain")]) and "x")
    return serve(app)


ANSWERS = {
    "/": ("200 OK", "text/html; charset=UTF-8", b"<h1>Hello World!</h1>"),
    "/files/a": ("200 Fine", "text/html; charset=UTF-8", b"one two 3"),
    "/files/no": ("404 Not Found", "text/html; charset=UTF-8", b"one two 3"),
    "/number": ("200 OK", "text/html; charset=UTF-8", b"7"),
    "/bytes": ("200 OK", "text/html; charset=UTF-8", b"\xff"),
    "/typed": ("200 OK", "text/plain", b"x"),
    "/nowhere": ("404 Not Found", "text/html; charset=UTF-8", b"<h1>Page Not Found(404)</h1><p><b>/nowhere</b></p>"),
}


@pytest.mark.parametrize("path", ANSWERS)
def test_routes(site, path):
    status, answer, body = get(site, path)
    if answer.get("transfer-encoding") == "chunked":
        body = b"".join(body.split(b"\r\n")[1::2])
    assert (status, answer.get("content-type"), body) == ANSWERS[path]


def test_routes_of_websockets(site):
    client = site.connect("/")
    assert client.read_message() == "welcome to /"
    client.expect_close()
    client = site.dial()
    client.send(raw.handshake("/nowhere"))
    assert client.read_head().status == "HTTP/1.1 404 Not Found"


@pytest.mark.parametrize("status", [99, "200\r\nX: 1", "OK", 1000])
def test_a_status_that_is_none(status):
    response = wsocket.Response({}, lambda *_args: None)
    with pytest.raises(ValueError, match="no HTTP status"):
        response.start_response(status)


def test_apps_have_routes_of_their_own():
    app = WSocketApp()
    app.route("/a")(lambda environ, start_response: "")
    assert list(app.routes) == ["/a"] and WSocketApp().routes == {}


def test_run(warm, monkeypatch, capsys):
    servers = []
    monkeypatch.setattr(WebSocketServer, "serve_forever", lambda self: servers.append(self))
    app = WSocketApp()
    wsocket.run(app, port=0, handler_class=object, server_class=object)
    assert servers[0].application is app and str(servers[0].server_port) in capsys.readouterr().out
    servers[0].stop()
