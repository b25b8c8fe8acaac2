"""A page with a graph, as users of pulsar write it: a lazy site of several WebSockets, mounted in another one."""

from __future__ import annotations

import json
import random

from geventws.compat.pulsar import ws, wsgi  # was: from pulsar.apps import ws, wsgi


class Graph(ws.WS):
    """Sends a new graph at first and whenever it is asked to."""

    def on_open(self, websocket):
        """The first graph."""
        self.on_message(websocket, "")

    def on_message(self, websocket, message):
        """Another one."""
        websocket.write(json.dumps([(x, random.random()) for x in range(100)]))


class Commands(ws.WS):
    """Does what it is told, and repeats the rest."""

    def on_message(self, websocket, message):
        """Take a command."""
        command, _, argument = message.partition(" ")
        if command == "ping":
            websocket.ping(argument)
        elif command == "close":
            websocket.write_close(int(argument))
        else:
            websocket.write(message)


class Site(wsgi.LazyWsgi):
    """The page and its WebSockets; made when the first request comes, in the process that serves it."""

    def __init__(self, pyparser=False):
        self.pyparser = pyparser
        self.made = 0

    def setup(self, environ=None):
        """Make the site."""
        self.made += 1
        return wsgi.WsgiHandler(
            [
                home,
                ws.WebSocket("/data", Graph(), parser_factory=self.make_parser),
                ws.WebSocket("/commands", Commands(), parser_factory=self.make_parser),
            ]
        )

    def make_parser(self, **options):
        """Return the parser of a connection."""
        return ws.frame_parser(pyparser=self.pyparser, **options)


def home(environ, start_response):
    """The page; None for anything else, which leaves it to the next."""
    if environ["PATH_INFO"] not in ("", "/"):
        return None
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", "5")])
    return [b"graph"]


site = Site()


def outer(environ, start_response):
    """Another application, in which the site is mounted."""
    path = environ["PATH_INFO"]
    if path.startswith("/graph/"):
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/graph", path.removeprefix("/graph")
        return site(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"outer"]


if __name__ == "__main__":
    wsgi.WSGIServer(callable=outer).start()
