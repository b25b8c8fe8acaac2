"""The application that every host of test_hosts.py serves; run as a script it serves itself on pywsgi.

    python -m kit.apps.hosted [--patched] [CERTFILE KEYFILE]
"""

from __future__ import annotations

import io
import os
import signal
import sys

if __name__ == "__main__" and "--patched" in sys.argv:
    from gevent import monkey

    monkey.patch_all()
    sys.argv.remove("--patched")

import gevent
from gevent import pywsgi
from gevent.event import Event

from geventws import WebSocketWSGI
from geventws.websocket import get_connection


@WebSocketWSGI(subprotocols=["chat"], max_message_size=1 << 23)
def echo(ws):
    """Send everything back."""
    for message in ws:
        ws.send(message)


drafts = WebSocketWSGI(echo.handler, support_legacy_versions=True, origins=None)


@WebSocketWSGI
def fail(ws):
    """Fail behind a first message."""
    ws.send("before")
    raise LookupError("the handler's own")


@WebSocketWSGI
def pour(ws):
    """Send for ever."""
    while True:
        ws.send(b"x" * 65536)


@WebSocketWSGI
def leave(ws):
    """Close with a code of its own."""
    ws.close(4321, "see you")


@WebSocketWSGI
def watch(ws):
    """Wait for something else until the connection ends, and tell what is left of it."""
    ws.send("ready")
    gevent.wait([Event(), ws.ended], count=1)
    gevent.sleep(0)
    try:
        os.fstat(get_connection(ws).fd)
    except OSError:
        print("ended", ws.path, ws.close_code, flush=True)


@WebSocketWSGI(kill_on_close=True)
def work(ws):
    """Wait for something else until the connection ends, and be killed."""
    ws.send("ready")
    try:
        Event().wait()
    except gevent.GreenletExit:
        print("killed", ws.path, ws.close_code, flush=True)
        raise


def wrapped(environ, start_response):
    """Wrap what the echo starts, and what it returns."""

    def start(status, headers, exc_info=None):
        return start_response(status, [*headers, ("X-Wrapped", "yes")], exc_info)

    yield from echo(environ, start)


def emptied(environ, start_response):
    """Put a body of our own in front of the echo, as middleware does that reads the request's."""
    environ["wsgi.input"] = io.BytesIO()
    return echo(environ, start_response)


def page(environ, start_response):
    """Answer a plain request."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"page"]


HANDLERS = {"echo": echo, "fail": fail, "pour": pour, "leave": leave, "watch": watch, "work": work}
ROUTES = {**HANDLERS, "drafts": drafts, "wrapped": wrapped, "emptied": emptied}


def application(environ, start_response):
    """Dispatch on the first part of the path."""
    return ROUTES.get(environ["PATH_INFO"].split("/")[1], page)(environ, start_response)


def main() -> None:
    """Serve, and say where."""
    keys = dict(zip(("certfile", "keyfile"), sys.argv[1:], strict=False))
    server = pywsgi.WSGIServer(("127.0.0.1", 0), application, **keys)
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    gevent.signal_handler(signal.SIGTERM, server.stop)
    server.serve_forever()


if __name__ == "__main__":
    main()
