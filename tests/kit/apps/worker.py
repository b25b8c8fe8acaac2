"""What gunicorn serves in the tests of our worker: a handler, callbacks, a view and a room, and plain pages."""

from __future__ import annotations

import json
import os
import signal

import gevent
from gevent import monkey

from geventws import PubSub, WebSocketApplication, WebSocketMiddleware, WebSocketWSGI
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


ROOM = PubSub()
NEWS = 0.5
"""Seconds between two messages that are published to the room."""


@WebSocketWSGI
def room(ws):
    """Subscribe, and send everything back. What is published to the room comes from a native thread."""
    ROOM.subscribe(ws, "news")
    if ROOM.stats.subscriptions == 1:
        gevent.get_hub().threadpool.spawn(publish)
    echo.handler(ws)


def publish():
    """Publish numbers until nobody is there."""
    sleep, number = monkey.get_original("time", "sleep"), 0
    while ROOM.count("news"):
        ROOM.publish("news", f"news {number}")
        number += 1
        sleep(NEWS)


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


SOCKETS = {"/echo": echo, "/callbacks": Callbacks(), "/view": WebSocketMiddleware(view), "/room": room}
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


class Telling(Worker):
    """A worker that tells at its end what became of what was published."""

    def run(self):
        """Serve."""
        super().run()
        print("ROOM", *ROOM.stats[:5], flush=True)
