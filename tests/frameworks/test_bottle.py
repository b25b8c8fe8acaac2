"""geventws.frameworks.bottle: routes with Bottle's own arguments and reports."""

from __future__ import annotations

from typing import Any

import pytest
from bottle import Bottle, response
from gevent.pywsgi import WSGIServer
from kit.sites import views

from geventws import WebSocketServer
from geventws.frameworks.bottle import websocket

app = Bottle()


@app.route("/hello/<name>")
@websocket
def hello(ws: Any, name: str) -> None:
    ws.send(f"hello {name}")


@app.route("/options", apply=[websocket(subprotocols=["chat"])])
def options(ws: Any) -> None:
    response.set_header("X-Late", "1")


@app.route("/fail", apply=[websocket])
def fail(ws: Any) -> None:
    raise LookupError("a fault of the view")


app.route("/pour", callback=websocket(views.pour))


@pytest.fixture(params=[WSGIServer, WebSocketServer])
def site(request, serve):
    return serve(app, server_class=request.param)


def test_arguments_and_options(site) -> None:
    views.check_arguments(site)
    views.check_options(site)


def test_refusals(site) -> None:
    views.check_refusals(site)


def test_a_client_that_leaves_is_no_error(site, log) -> None:
    views.check_departure(site)
    assert log() == []


def test_bottle_reports_what_fails(site, log) -> None:
    views.check_failure(site)
    assert "".join(site.errors).count("LookupError: a fault of the view") == 1 and log() == []


def test_a_misspelt_option_is_told_at_once() -> None:
    with pytest.raises(TypeError, match="ping_intervall"):
        websocket(lambda ws: None, ping_intervall=3)


def test_a_server_without_sockets(log) -> None:
    said: list[str] = []
    names = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in views.HEADERS.items()}
    environ = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "PATH_INFO": "/pour", "HTTP_HOST": "a", **names}
    body = b"".join(app(environ, lambda status, _headers, _error: said.append(status)))
    assert said == ["501 Not Implemented"] and b"geventws serve module:application" in body
    assert len(log()) == 1
