"""WebSockets in Pyramid.

    python examples/frameworks/pyramid_app.py [PORT]
    gunicorn -k gevent --chdir examples/frameworks pyramid_app:application

In a project made from a cookiecutter, wrap what `main` returns: `return WebSocketMiddleware(config.make_wsgi_app())`.
"""

import sys

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

from gevent import pywsgi
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPBadRequest, HTTPForbidden
from pyramid.response import Response

from geventws import ConnectionClosed, WebSocketMiddleware


def index(request):
    return Response("a page")


def echo(request):
    ws = request.environ.get("wsgi.websocket")
    if ws is None:
        raise HTTPBadRequest("this path wants a WebSocket")
    while (message := ws.wait()) is not None:
        ws.send(message)
    return Response()


def private(request):
    if request.params.get("key") != "open sesame":
        raise HTTPForbidden()  # the handshake is not answered yet: this is a plain HTTP response
    return echo(request)


def peer_left(error, request):
    """That the peer left while something was sent is no error worth a traceback."""
    return Response()


with Configurator() as config:
    for name, view, pattern in (("index", index, "/"), ("echo", echo, "/echo"), ("private", private, "/private")):
        config.add_route(name, pattern)
        config.add_view(view, route_name=name)
    config.add_exception_view(peer_left, context=ConnectionClosed)
    application = WebSocketMiddleware(config.make_wsgi_app(), max_message_size=1 << 22)


if __name__ == "__main__":
    server = pywsgi.WSGIServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), application)
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
