"""geventws.compat.wsocket: the application, as events, as middleware and as a framework."""

from __future__ import annotations

import gc

import gevent
import pytest
import websockets.sync.client
from gevent.event import AsyncResult
from kit import frames
from kit.clients import handshake

from geventws.compat import wsocket
from geventws.compat.wsocket import WSocketApp
from geventws.server.server import WebSocketServer


def get(site, path, method="GET"):
    """Return the answer to a plain request: status, headers, and the body."""
    client = site.dial()
    client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = client.read_head()
    return answer.status.removeprefix("HTTP/1.1 "), answer, client.rest()


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
    client = serve(app).connect(frames=frames.text("1") + frames.text("2"))
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
    client = serve(app).connect(frames=frames.text("1") + frames.text("2"))
    assert [client.read_message(), client.read_message()] == ["1", "2"]
    client.leave()
    assert [record.exc_info[0] for record in log() if record.exc_info] == [ZeroDivisionError] * 2


def test_an_event_that_closes(serve):
    app = WSocketApp()
    app.onconnect = lambda client: client.close(4000, "no")
    app.onmessage = lambda message, client: pytest.fail(message)
    serve(app).connect(frames=frames.text("x")).expect_close(4000, "no")


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
    client.send(handshake(**changed))
    answer = client.read_head()
    assert answer.status == f"HTTP/1.1 {status}"
    assert answer.get("sec-websocket-version") == ("13, 8" if status[:3] == "426" else None)


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
    client.send(handshake("/nowhere"))
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
