"""A page where browser tabs chat through a room and an echo box times round trips.

    python examples/demo.py [--host 127.0.0.1] [--port 8000]

Two WebSocket handlers and a few ordinary HTTP routes stand in one table, looked up by PATH_INFO.
A handler is a plain function with a plain loop; gevent runs one greenlet for each connection. The
room itself, with its rule for slow members, is in room.py; the page is the files in static/.
"""

import argparse
import errno
import json
import mimetypes
import pathlib
import sys

from gevent import pywsgi
from room import Room

from geventws import WebSocketWSGI

STATIC = pathlib.Path(__file__).resolve().with_name("static")
HEADERS = [
    # Nothing from elsewhere, so that the page works on a machine without a network.
    ("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    # An isolated page has a clock of 5 us instead of 100 us: the echo box wants it.
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cache-Control", "no-cache"),
]
room = Room()


@WebSocketWSGI
def echo(ws):
    for message in ws:
        ws.send(message)


@WebSocketWSGI(max_message_size=16 * 1024)
def chat(ws):
    try:
        member = room.enter(ws, ws.wait(timeout=10))
    except (TimeoutError, ValueError) as error:
        return ws.close(1008, str(error) or "say hello first")
    try:
        for message in ws:
            room.hear(member, message)
    except ValueError as error:
        ws.close(1008, str(error))
    finally:
        room.leave(member)


def answer(environ, start_response, status, content_type, body):
    """One whole HTTP answer; HEAD gets its headers alone."""
    length = ("Content-Length", str(len(body)))
    start_response(status, [("Content-Type", content_type), length, *HEADERS])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def file(path):
    """A WSGI application that serves one file, read anew each time: edit, reload, look."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"

    def serve(environ, start_response):
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return answer(environ, start_response, "405 Method Not Allowed", "text/plain", b"")
        return answer(environ, start_response, "200 OK", kind, path.read_bytes())

    return serve


def status(environ, start_response):
    """Who is in the room, for whoever prefers curl."""
    body = json.dumps({"members": [member.name for member in room.members]}).encode()
    return answer(environ, start_response, "200 OK", "application/json", body)


def not_found(environ, start_response):
    return answer(environ, start_response, "404 Not Found", "text/plain", b"not found\n")


ROUTES = {f"/static/{path.name}": file(path) for path in STATIC.iterdir()}
ROUTES |= {"/": file(STATIC / "index.html"), "/status": status, "/chat": chat, "/echo": echo}


def application(environ, start_response):
    return ROUTES.get(environ["PATH_INFO"], not_found)(environ, start_response)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", default=8000, type=int, help="0 picks a free one (%(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no line for each request")
    return parser.parse_args()


def main():
    options = arguments()
    log = None if options.quiet else "default"
    server = pywsgi.WSGIServer((options.host, options.port), application, log=log)
    try:
        server.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        sys.exit(f"port {options.port} is taken; try: python examples/demo.py --port 0")
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"geventws demo on http://{host}:{server.server_port}  (Ctrl-C stops it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print(" bye")


if __name__ == "__main__":
    main()
