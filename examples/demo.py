"""A page where browser tabs chat through a room and an echo box times round trips.

    python examples/demo.py [--host 127.0.0.1] [--port 8000]

WebSocket handlers and a few ordinary HTTP routes stand in one table, looked up by PATH_INFO. A handler
is a plain function with a plain loop; gevent runs one greenlet for each connection. The room is a
PubSub's: its endpoint lets the page's geventws.js subscribe and publish, and says who is there. The
page is the files in static/.

It is one process. With REDIS_URL set, as redis://127.0.0.1:6379/0, several of them are one room.
"""

import argparse
import errno
import json
import mimetypes
import os
import pathlib
import resource
import sys
from importlib.resources import files
from urllib.parse import parse_qs

import gevent
from gevent import pywsgi

from geventws import PubSub, WebSocketWSGI

STATIC = pathlib.Path(__file__).resolve().with_name("static")
DOCS = STATIC.parents[1] / "docs"
CLIENT = pathlib.Path(str(files("geventws"))) / "static" / "geventws.js"
NAME_LENGTH = 24
ENOUGH = 10  # connections from which on their share of the memory says something
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
REDIS = [os.environ["REDIS_URL"]] if os.environ.get("REDIS_URL") else []
pubsub = PubSub(*REDIS, history={"room": (50, 3600)}, max_queue=100)


class Meter:
    """What the page shows of this process."""

    def __init__(self):
        self.connections = 0
        self.echoes = 0
        self.idle = self.resident()

    def wrap(self, application):
        """The application, whose connections are counted."""

        def serve(environ, start_response):
            self.connections += 1
            try:
                return application(environ, start_response)
            finally:
                self.connections -= 1

        return serve

    def count(self, messages):
        for message in messages:
            self.echoes += 1
            yield message

    def resident(self):
        """Bytes of memory that the process takes."""
        try:
            pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        except OSError:  # not on Linux: the most that it ever took
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return pages * resource.getpagesize()

    def read(self):
        share = max(self.resident() - self.idle, 0) // max(self.connections, 1)
        messages = 2 * self.echoes + pubsub.stats.sent
        memory = share if self.connections >= ENOUGH else None
        return {"connections": self.connections, "messages": messages, "memory": memory}


meter = Meter()


@WebSocketWSGI
def echo(ws):
    for message in meter.count(ws):
        ws.send(message)


@WebSocketWSGI
def figures(ws):
    """What the meter says, each second, until the page is gone."""
    while True:
        ws.send_json(meter.read())
        gevent.sleep(1)


def authorize(environ, action, topic):
    """The room is open to everybody. Who types is told, too, and not kept."""
    return topic == "room" or (topic == "typing" and action != "presence")


def member(environ):
    """Who a tab is to others: a number of its own, and the name that it gives. Any name will do here."""
    query = parse_qs(environ["QUERY_STRING"])
    tab, name = (query.get(field, [""])[0].strip() for field in ("tab", "name"))
    return (tab[:32], {"name": name[:NAME_LENGTH]}) if tab and name else None


rooms = pubsub.endpoint(authorize, member=member, max_message_size=16 * 1024)


def answer(environ, start_response, status, content_type, body):
    """One whole HTTP answer; HEAD gets its headers alone."""
    length = ("Content-Length", str(len(body)))
    start_response(status, [("Content-Type", content_type), length, *HEADERS])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def file(path):
    """A WSGI application that serves one file, read anew each time: edit, reload, look."""
    kind = "text/plain" if path.suffix == ".rst" else mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"

    def serve(environ, start_response):
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return answer(environ, start_response, "405 Method Not Allowed", "text/plain", b"")
        return answer(environ, start_response, "200 OK", kind, path.read_bytes())

    return serve


def status(environ, start_response):
    """Who is in the room, for whoever prefers curl."""
    names = [info["name"] for info in pubsub.presence("room").values()]
    body = json.dumps({"members": names, **meter.read()}).encode()
    return answer(environ, start_response, "200 OK", "application/json", body)


def not_found(environ, start_response):
    return answer(environ, start_response, "404 Not Found", "text/plain", b"not found\n")


ROUTES = {f"/static/{path.name}": file(path) for path in [*STATIC.iterdir(), CLIENT]}
ROUTES |= {f"/docs/{path.name}": file(path) for path in DOCS.glob("*.rst")}
ROUTES |= {"/": file(STATIC / "index.html"), "/status": status}
ROUTES |= {"/rooms": meter.wrap(rooms), "/echo": meter.wrap(echo), "/figures": meter.wrap(figures)}


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
