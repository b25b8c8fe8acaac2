"""geventws.frameworks.pyramid: views with Pyramid's own arguments and reports."""

from __future__ import annotations

from typing import Any

import pytest
from gevent.pywsgi import WSGIServer
from kit.sites import views
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from geventws import WebSocketServer
from geventws.frameworks.pyramid import websocket

reported: list[Exception] = []


@websocket
def hello(request: Any, ws: Any) -> None:
    ws.send(f"hello {request.matchdict['name']}")


@websocket(subprotocols=["chat"])
def options(request: Any, ws: Any) -> None:
    pass


@websocket
def pour(request: Any, ws: Any) -> None:
    views.pour(ws)


@websocket
def fail(request: Any, ws: Any) -> None:
    raise LookupError("a fault of the view")


def report(error: Exception, request: Any) -> Response:
    reported.append(error)
    return Response(status=500)


def make_app(**exceptions: Any) -> Any:
    with Configurator() as config:
        for view, path in ((hello, "/hello/{name}"), (options, "/options"), (pour, "/pour"), (fail, "/fail")):
            config.add_route(path, path)
            config.add_view(view, route_name=path)
        for view in exceptions.values():
            config.add_exception_view(view)
        return config.make_wsgi_app()


@pytest.fixture(params=[WSGIServer, WebSocketServer])
def site(request, serve):
    reported.clear()
    return serve(make_app(report=report), server_class=request.param)


def test_arguments_and_options(site) -> None:
    views.check_arguments(site)
    views.check_options(site)


def test_refusals(site) -> None:
    views.check_refusals(site)


def test_a_client_that_leaves_is_no_error(site, log) -> None:
    views.check_departure(site)
    assert log() == [] and reported == []


def test_an_exception_view_gets_what_fails(site, log) -> None:
    views.check_failure(site)
    assert [type(error) for error in reported] == [LookupError]
    assert log() == [] and site.errors == []


def test_without_one_the_server_reports_it_once(serve, hub_errors) -> None:
    site = serve(make_app())
    views.check_failure(site)
    assert [type(error) for error in hub_errors] == [LookupError]
    hub_errors.clear()


def test_a_misspelt_option_is_told_at_once() -> None:
    with pytest.raises(TypeError, match="ping_intervall"):
        websocket(lambda request, ws: None, ping_intervall=3)


def test_a_server_without_sockets(log) -> None:
    request = Request.blank("/pour", {"SERVER_PROTOCOL": "HTTP/1.1"}, headers=views.HEADERS)
    answer = request.get_response(make_app())
    assert answer.status_code == 501 and "geventws serve module:application" in answer.text
    assert len(log()) == 1
