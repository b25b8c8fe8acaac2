"""A site out of a factory, as users of WSocket write it: Bottle behind middleware, with WSocket around both."""

from __future__ import annotations

import bottle

from geventws.compat.wsocket import WebSocketError, WSocketApp, run  # was: from wsocket import ...


class Prefix:
    """Middleware that takes the prefix off that a proxy has put in front of the paths."""

    def __init__(self, app, prefix):
        self.app = app
        self.prefix = prefix

    def __call__(self, environ, start_response):
        """Pass the request on, with a header on the answer."""
        environ["SCRIPT_NAME"] = self.prefix
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(self.prefix)

        def start(status, headers, exc_info=None):
            return start_response(status, [*headers, ("X-Prefix", self.prefix)], exc_info)

        return self.app(environ, start)


def create_app(greeting, prefix="/site"):
    """Return the WSGI application."""
    site = bottle.Bottle()

    @site.route("/")
    def index():
        return greeting

    @site.route("/ask/<name>")
    def ask(name):
        client = bottle.request.environ.get("wsgi.websocket")
        if not client:
            bottle.abort(400, "a WebSocket was expected")
        while True:
            try:
                message = client.receive()
                client.send(f"{greeting}, {name}: you asked {message!r}")
            except WebSocketError:
                break

    return WSocketApp(Prefix(site, prefix))


if __name__ == "__main__":
    run(create_app("hello"))
