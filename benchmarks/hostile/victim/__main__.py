"""The program under attack: a server, or a client that connects to whoever it is told to.

    python -m hostile.victim '{"server": "pywsgi", "callbacks": false, "tls": false, ...}'

It prints PORT and a number once it is ready, and takes commands as lines of its standard input:

    connect PORT PATH     a client connects, and serves the connection as a server of that path would
    stop SECONDS          the server stops; prints STOPPED and the seconds that took

What its handlers have to tell stands in the lines that they print.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

ABOUT: dict[str, Any] = json.loads(sys.argv[1])

if ABOUT["patched"]:
    from gevent import monkey

    monkey.patch_all()

import gevent  # noqa: E402
import gevent.ssl  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402

from geventws import WebSocketMiddleware, WebSocketServer, connect  # noqa: E402

from . import handlers  # noqa: E402


def page(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer a plain request, body and all, and say that it came."""
    size = len(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    print(f"REACHED {environ['REQUEST_METHOD']} {environ['PATH_INFO']}", flush=True)
    body = f"{environ['PATH_INFO']} {size}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Serve the route of a path; every other path is a page."""
    route = ROUTES.get("/" + environ["PATH_INFO"].split("/")[1], PAGES)
    return route(environ, start_response)


PAGES = WebSocketMiddleware(page)
ROUTES = handlers.routes(callbacks=ABOUT["callbacks"])


def make_server() -> WSGIServer:
    """Return the server, listening."""
    kind = {"pywsgi": WSGIServer, "server": WebSocketServer}[ABOUT["server"]]
    certificate = os.environ["HOSTILE_CERTIFICATE"]
    tls = {"certfile": certificate, "keyfile": certificate} if ABOUT["tls"] else {}
    log = "default" if ABOUT["log"] else None
    server = kind(("127.0.0.1", 0), application, log=log, **tls, **ABOUT["options"])
    server.start()
    return server


def run_client(port: str, path: str) -> None:
    """Connect, and serve the connection by the handler of the path."""
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = gevent.ssl.CERT_NONE
    tls = {"ssl": context} if ABOUT["tls"] else {}
    handler, options = handlers.HANDLERS["/" + path.split("/")[1]]
    with connect(f"{'wss' if tls else 'ws'}://127.0.0.1:{port}{path}", proxy=None, **tls, **options) as ws:
        handler(ws)


def stop(server: WSGIServer, seconds: str) -> None:
    """Stop the server within some seconds."""
    began = time.monotonic()
    server.stop(float(seconds))
    print(f"STOPPED {time.monotonic() - began:.2f}", flush=True)


def obey(server: WSGIServer | None) -> None:
    """Take commands until there are no more."""
    for line in FileObject(sys.stdin.buffer, "rb", closefd=False):
        command, *words = line.decode().split()
        if command == "connect":
            gevent.spawn(run_client, *words)
        elif command == "stop":
            gevent.spawn(stop, server, *words)
    os._exit(0)  # whoever attacked is gone


def main() -> None:
    """Serve, or wait for commands."""
    handlers.prepare(ABOUT)
    server = None if ABOUT["server"] == "client" else make_server()
    print(f"PORT {server.server_port if server else 0}", flush=True)
    obey(server)


if __name__ == "__main__":
    main()
