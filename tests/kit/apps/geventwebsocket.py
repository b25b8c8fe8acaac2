"""An application as it is written for gevent-websocket, for its gunicorn worker to serve."""

from __future__ import annotations


def application(environ, start_response):
    """Pass every message on to all clients; a plain request gets a page."""
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return [b"page"]
    while not ws.closed:
        message = ws.receive()
        if message is not None:
            for client in ws.handler.server.clients.values():
                client.ws.send(message)
    return []
