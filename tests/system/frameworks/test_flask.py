"""Flask's own ways through the middleware: websocket rules, blueprints, hooks, contexts, error handlers."""

from __future__ import annotations

import importlib.util
import json

import flask
import pytest
from kit import frames
from kit.clients import handshake
from kit.programs.hosts import ROOT

from geventws import ConnectionClosed
from geventws.endpoints.middleware import WebSocketMiddleware


@pytest.fixture
def example():
    """The module of the example, anew."""
    spec = importlib.util.spec_from_file_location("flask_example", ROOT / "examples" / "frameworks" / "flask_app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def app():
    return flask.Flask("site")


def request(site, data: bytes) -> str:
    client = site.dial()
    client.send(data)
    return client.read_head().status


def test_blueprint_passes_messages_on_within_a_room(serve, example):
    site = serve(example.application)
    first, second, other = (site.connect(path) for path in ("/rooms/a", "/rooms/a", "/rooms/b"))
    first.send(frames.text("to a"))
    for client in (first, second):
        client.expect(b"\x81\x04to a")
    other.send(frames.text("to b"))
    other.expect(b"\x81\x04to b")
    for client in (first, second, other):
        client.leave()
    site.settle()
    assert example.members == {"a": set(), "b": set()}


def test_websocket_rules_and_plain_rules_do_not_mix(serve, example):
    site = serve(example.application)
    assert request(site, handshake("/")) == "HTTP/1.1 400 BAD REQUEST"
    page = b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert request(site, page % b"/private") == "HTTP/1.1 400 BAD REQUEST"
    assert request(site, page % b"/echo") == "HTTP/1.1 200 OK"


def test_wrapped_from_within(serve, app):
    """app.wsgi_app is where Flask wants middleware; app.run and extensions see it there."""

    @app.route("/", websocket=True)
    def view():
        with flask.request.environ["wsgi.websocket"] as ws:
            ws.send(flask.url_for("view", _external=True))
        return "ignored"

    app.wsgi_app = WebSocketMiddleware(app.wsgi_app)
    client = serve(app).connect(host="example.org")
    assert client.read_message() == "ws://example.org/"
    client.expect_close()


def test_hooks_run_before_and_after_the_connection(serve, app):
    events = []

    @app.before_request
    def before():
        events.append("before")
        if flask.request.args.get("key") != "1":
            return "no", 401

    @app.after_request
    def after(response):
        events.append("after")
        return response

    @app.teardown_request
    def teardown(error):
        events.append("teardown")

    @app.route("/", websocket=True)
    def view():
        events.extend(flask.request.environ["wsgi.websocket"])
        return ""

    site = serve(WebSocketMiddleware(app))
    assert request(site, handshake()) == "HTTP/1.1 401 UNAUTHORIZED"
    assert events == ["before", "after", "teardown"]
    events.clear()
    site.connect("/?key=1", frames.text("message")).leave()
    assert events == ["before", "message", "after", "teardown"]


def test_context_is_each_connections_own(serve, app):
    @app.route("/<name>", websocket=True)
    def view(name):
        ws = flask.request.environ["wsgi.websocket"]
        flask.g.name = name
        for message in ws:
            ws.send(json.dumps([flask.g.name, flask.request.path, message]))
        return ""

    site = serve(WebSocketMiddleware(app))
    clients = {name: site.connect(f"/{name}") for name in "abc"}
    for message in ("1", "2"):
        for client in clients.values():
            client.send(frames.text(message))
        for name, client in clients.items():
            assert json.loads(client.read_message()) == [name, f"/{name}", message]
    for client in clients.values():
        client.leave()


def test_view_that_fails_closes_with_1011(serve, app, caplog):
    @app.route("/", websocket=True)
    def view():
        flask.request.environ["wsgi.websocket"].send("a")
        raise LookupError

    client = serve(WebSocketMiddleware(app)).connect()
    client.expect(b"\x81\x01a")
    client.expect_close(1011)
    assert [record.name for record in caplog.records if record.exc_info] == ["site"]  # Flask's own log has it, once


def test_error_handler_for_a_peer_that_left(serve, app, caplog):
    @app.route("/", websocket=True)
    def view():
        ws = flask.request.environ["wsgi.websocket"]
        assert ws.wait() is None
        ws.send("late")

    app.register_error_handler(ConnectionClosed, lambda error: "")
    site = serve(WebSocketMiddleware(app))
    site.connect().leave()
    site.settle()
    assert not [record for record in caplog.records if record.exc_info]


def test_streamed_response_never_gets_there(serve, app):
    @app.route("/", websocket=True)
    def view():
        ws = flask.request.environ["wsgi.websocket"]

        def parts():
            ws.send("from a generator")
            yield "a body"

        return flask.Response(parts())

    client = serve(WebSocketMiddleware(app)).connect()
    assert client.read_message() == "from a generator"
    client.expect_close()
