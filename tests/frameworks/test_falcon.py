"""geventws.frameworks.falcon: resources with Falcon's own arguments and reports."""

from __future__ import annotations

from typing import Any

import falcon
import pytest
from falcon.testing import TestClient
from gevent.pywsgi import WSGIServer
from kit.sites import views

from geventws import WebSocketServer
from geventws.frameworks.falcon import websocket

app = falcon.App()


class Hello:
    @websocket
    def on_get(self, req: Any, ws: Any, name: str) -> None:
        ws.send(f"hello {name}")


class Options:
    @websocket(subprotocols=["chat"])
    def on_get(self, req: Any, ws: Any) -> None:
        pass


class Pour:
    @websocket
    def on_get(self, req: Any, ws: Any) -> None:
        views.pour(ws)


class Fail:
    @websocket
    def on_get(self, req: Any, ws: Any) -> None:
        raise LookupError("a fault of the view")


for path, resource in (("/hello/{name}", Hello()), ("/options", Options()), ("/pour", Pour()), ("/fail", Fail())):
    app.add_route(path, resource)


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


def test_falcon_reports_what_fails(site, log) -> None:
    views.check_failure(site)
    assert "".join(site.errors).count("LookupError: a fault of the view") == 1 and log() == []


def test_a_misspelt_option_is_told_at_once() -> None:
    with pytest.raises(TypeError, match="ping_intervall"):
        websocket(lambda resource, req, ws: None, ping_intervall=3)


def test_a_server_without_sockets(log) -> None:
    answer = TestClient(app).simulate_get("/pour", headers=views.HEADERS)
    assert answer.status_code == 501 and "socket" in answer.text  # Falcon says it were gunicorn
    assert len(log()) == 1
