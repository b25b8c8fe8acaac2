"""WebSockets mounted in other people's programs, in all the ways that pass a WSGI application through.

A path is /MOUNT/ENDPOINT: how it is mounted, and what is mounted there. gunicorn serves `application`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import bottle
import flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.profiler import ProfilerMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response

from geventws import WebSocketApplication, WebSocketMiddleware, WebSocketWSGI

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # WebOb imports cgi
    import webob
    from pyramid.config import Configurator
    from pyramid.wsgi import wsgiapp2


@WebSocketWSGI
def decorated(ws):
    """Send everything back."""
    for message in ws:
        ws.send(message)


class Callbacks(WebSocketApplication):
    """Sends everything back."""

    def on_message(self, ws, message):
        """Send it back."""
        return message


def use_environ(environ, start_response):
    """Send everything back, then answer as frameworks do."""
    ws = environ["wsgi.websocket"]
    for message in ws:
        ws.send(message)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"never to be seen"]


ENDPOINTS = {"decorator": decorated, "callbacks": Callbacks(), "middleware": WebSocketMiddleware(use_environ)}


def plain(app):
    """Nothing in between."""
    return app


def bottle_mount(app):
    """Bottle's mount: `write` appends to a list."""
    outer = bottle.Bottle()
    outer.mount("/a", app)
    return outer


def bottle_params(app):
    """The same, after a hook that has put a body of its own in the environ."""
    outer = bottle_mount(app)
    outer.add_hook("before_request", lambda: bottle.request.params.get("x"))
    return outer


def pyramid_wsgiapp(app):
    """Pyramid's wsgiapp2: WebOb calls the application, and keeps what it says."""
    with Configurator() as config:
        config.add_route("all", "/*subpath")
        config.add_view(wsgiapp2(app), route_name="all")
        return config.make_wsgi_app()


def flask_view(app):
    """A view that returns the application: Werkzeug runs it on a copy of the environ."""
    site = flask.Flask(__name__)
    site.add_url_rule("/<path:_path>", "all", lambda _path: app, websocket=True)
    return site


def flask_ignored(app):
    """A view that runs the application, and then says something of its own."""
    site = flask.Flask(__name__)

    def view(_path):
        Response.from_app(app, flask.request.environ)
        return "never to be seen"

    site.add_url_rule("/<path:_path>", "all", view, websocket=True)
    return site


def profiler(app):
    """Werkzeug's profiler: `start_response` passes through, `write` does not."""
    return ProfilerMiddleware(app, stream=None)


def dispatcher(app):
    """Werkzeug's dispatcher, behind its proxy fix."""
    return ProxyFix(DispatcherMiddleware(Response("nowhere", 404), {"/a": app}))


def from_app(app):
    """A response of Werkzeug's made of the application."""

    def outer(environ, start_response):
        return Response.from_app(app, environ, buffered=True)(environ, start_response)

    return outer


def webob_send(app):
    """A request of WebOb's sent to the application, on an environ of its own."""

    def outer(environ, start_response):
        request = webob.Request(dict(environ))
        return request.send(app)(environ, start_response)

    return outer


def returns_nothing(app):
    """A start_response that forgets to return what writes."""

    def outer(environ, start_response):
        def start(status, headers, exc_info=None):
            start_response(status, headers, exc_info)

        return app(environ, start)

    return outer


def late(app):
    """Middleware that calls the server when all is over, and says something else then."""

    def outer(environ, start_response):
        said: list[Any] = []
        body: list[bytes] = []

        def start(status, headers, exc_info=None):
            said[:] = [status, headers]
            return body.append

        body += app(environ, start)
        start_response(said[0], [*said[1], ("Content-Length", "9")])
        return [b"after all"]

    return outer


def footer(app):
    """Middleware that lets all pass, and has something to add."""

    def outer(environ, start_response):
        yield from app(environ, lambda *arguments: start_response(*arguments))
        yield b"never to be seen"

    return outer


def own_input(app):
    """An input of somebody's own, and a start_response of somebody's own."""

    def outer(environ, start_response):
        def start(*arguments):
            return start_response(*arguments)

        return app({**environ, "wsgi.input": io.BytesIO()}, start)

    return outer


def own_input_alone(app):
    """An input of somebody's own, as Bottle's requests make it."""

    def outer(environ, start_response):
        bottle.Request(environ).params.get("x")
        return app(environ, start_response)

    return outer


WAYS: list[Callable[[Any], Any]] = [
    plain, bottle_mount, bottle_params, pyramid_wsgiapp, flask_view, flask_ignored, profiler, dispatcher, from_app,
    webob_send, returns_nothing, late, footer, own_input, own_input_alone,
]  # fmt: skip
MOUNTS = {way.__name__: {name: way(app) for name, app in ENDPOINTS.items()} for way in WAYS}


def application(environ, start_response):
    """Dispatch on the first two parts of the path."""
    _, way, endpoint, *_ = environ["PATH_INFO"].split("/")
    environ["PATH_INFO"] = "/a/ws"
    return MOUNTS[way][endpoint](environ, start_response)
