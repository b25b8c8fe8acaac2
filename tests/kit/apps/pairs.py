"""The application of tests/hosts/test_pywsgi_bodies.py: it tells what it saw, in its answers and on /seen."""

from __future__ import annotations

import json
from typing import Any

from gevent import pywsgi

from geventws import WebSocketMiddleware, WebSocketServer
from geventws.compat.geventwebsocket.handler import WebSocketHandler

seen: list[list[str]] = []


def record(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Read as much of the body as the request says, and answer with what there was."""
    if environ["PATH_INFO"] == "/seen":
        answer, seen[:] = list(seen), []
    else:
        how, body = environ.get("HTTP_X_READ", "all"), b""
        sizes = {"part": 3, "exact": int(environ.get("CONTENT_LENGTH") or -1)}
        if how != "none":
            body = environ["wsgi.input"].read(*([sizes[how]] if how in sizes else []))
        answer = [environ["REQUEST_METHOD"], environ["PATH_INFO"], body.decode("latin-1")]
        seen.append(answer)
    data = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]


application = WebSocketMiddleware(record)


def wrapped(environ: dict[str, Any], start_response: Any) -> Any:
    """Hide the server's handler, as middleware does."""
    return application(environ, lambda status, headers, exc_info=None: start_response(status, headers, exc_info))


def make_server(host: str, **options: Any) -> Any:
    """Return a server that is not started."""
    if host == "WebSocketServer":
        return WebSocketServer(("127.0.0.1", 0), application, log=None, error_log=None, **options)
    if host == "compat":
        options["handler_class"] = WebSocketHandler
    app = {"pywsgi": application, "pywsgi, wrapped": wrapped, "compat": record, "bare": record}[host]
    return pywsgi.WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None, **options)
