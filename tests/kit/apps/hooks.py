"""Frameworks with a hook that reads the request's body before any view, as loggers and Sentry's integrations do.

A path is /SITE. gunicorn serves `application`.
"""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

import bottle
import falcon
import flask
from django.http import HttpResponse
from django.urls import path
from kit.sites.django_sites import make_site

from geventws import WebSocketMiddleware, WebSocketWSGI

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # WebOb imports cgi
    from pyramid.config import Configurator
    from pyramid.response import Response

READ: list[bytes] = []
"""What the hooks have read."""


def echo(ws: Any) -> None:
    """Send everything back."""
    for message in ws:
        ws.send(message)


decorated = WebSocketWSGI(echo)


def make_flask() -> Any:
    """Flask, with a view that uses the environ, one that returns an application, and two that raise."""
    app = flask.Flask(__name__)
    app.before_request(lambda: READ.append(flask.request.get_data()))

    @app.errorhandler(LookupError)
    def failed(_error):
        READ.append(flask.request.get_data())
        return "failed", 500

    @app.route("/flask", websocket=True)
    def view():
        echo(flask.request.environ["wsgi.websocket"])
        return ""

    @app.route("/decorated", websocket=True)
    def returned():
        return decorated

    @app.route("/fails/<when>", websocket=True)
    def fails(when):
        if when == "late":
            flask.request.environ["wsgi.websocket"].send("before")
        raise LookupError

    return app


def make_bottle() -> Any:
    """Bottle: its parameters replace the input, too."""
    app = bottle.Bottle()

    @app.hook("before_request")
    def read():
        READ.append(bottle.request.body.read() + bottle.request.params.get("none", "").encode())

    @app.route("/bottle")
    def view():
        echo(bottle.request.environ["wsgi.websocket"])

    return app


def make_pyramid() -> Any:
    """Pyramid, with a tween."""

    def tween(handler, _registry):
        def read(request):
            READ.append(request.body)
            return handler(request)

        return read

    def view(request):
        echo(request.environ["wsgi.websocket"])
        return Response("")

    module = types.ModuleType("tweens")
    sys.modules["tweens"], module.tween = module, tween  # type: ignore[attr-defined]
    with Configurator() as config:
        config.add_tween("tweens.tween")
        config.add_route("all", "/pyramid")
        config.add_view(view, route_name="all")
        return config.make_wsgi_app()


def django_hook(get_response):
    """Read the body."""

    def read(request):
        READ.append(request.body)
        request.urlconf = __name__
        return get_response(request)

    return read


def django_view(request):
    """Send everything back."""
    echo(request.environ["wsgi.websocket"])
    return HttpResponse()


urlpatterns = [path("django", django_view)]


def make_django() -> Any:
    """Django, with a middleware of its own kind."""
    return make_site(__name__, "django_hook")


def make_falcon() -> Any:
    """Falcon, with a middleware of its own kind."""

    class Hook:
        def process_request(self, req, _resp):
            READ.append(req.stream.read() + req.bounded_stream.read())

    class View:
        def on_get(self, req, _resp):
            echo(req.env["wsgi.websocket"])

    app = falcon.App(middleware=[Hook()])
    app.add_route("/falcon", View())
    return app


FLASK = make_flask()
SITES = {"bottle": make_bottle(), "pyramid": make_pyramid(), "django": make_django(), "falcon": make_falcon()}
MIDDLEWARE = {name: WebSocketMiddleware(app) for name, app in SITES.items()}
IN_FLASK = WebSocketMiddleware(FLASK)


def application(environ, start_response):
    """Dispatch on the first part of the path."""
    return MIDDLEWARE.get(environ["PATH_INFO"].split("/")[1], IN_FLASK)(environ, start_response)
