"""What gunicorn serves in the tests of our worker: a handler, callbacks and a view, and plain pages."""

from __future__ import annotations

import json
import os
import signal

from geventws import WebSocketApplication, WebSocketMiddleware, WebSocketWSGI
from geventws.gunicorn import Worker


@WebSocketWSGI
def echo(ws):
    """Send everything back."""
    for message in ws:
        ws.send(message)


class Callbacks(WebSocketApplication):
    """Sends everything back."""

    def on_message(self, ws, message):
        """Send it back."""
        return message


def view(environ, start_response):
    """Send everything back."""
    echo.handler(environ["wsgi.websocket"])
    return []


def environment(environ, start_response):
    """Answer with what can be shown of the environ."""
    shown = {name: value for name, value in environ.items() if isinstance(value, (str, bool, tuple))}
    return answer(start_response, json.dumps([shown, environ["wsgi.input"].read().decode()]))


def process(environ, start_response):
    """Answer with the worker's process."""
    return answer(start_response, str(os.getpid()))


def fail(environ, start_response):
    """Fail."""
    raise LookupError("the application's own")


def answer(start_response, text):
    """Answer."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]


SOCKETS = {"/echo": echo, "/callbacks": Callbacks(), "/view": WebSocketMiddleware(view)}
PAGES = {"/process": process, "/fail": fail}


def application(environ, start_response):
    """Dispatch on the path."""
    path = environ["PATH_INFO"]
    return (SOCKETS.get(path) or PAGES.get(path, environment))(environ, start_response)


class Hasty(Worker):
    """A worker that is told to end before it has begun."""

    def patch(self):
        """Begin."""
        os.kill(os.getpid(), signal.SIGTERM)
        super().patch()
