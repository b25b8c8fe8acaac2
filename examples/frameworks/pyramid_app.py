"""WebSockets in Pyramid.

    python examples/frameworks/pyramid_app.py [PORT]
    gunicorn -k gevent --chdir examples/frameworks pyramid_app:application
"""

import sys

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

from gevent import pywsgi
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.response import Response
from pyramid.view import view_config

from geventws.frameworks.pyramid import websocket


@view_config(route_name="index")
def index(request):
    return Response("a page")


@view_config(route_name="echo")
@websocket(max_message_size=1 << 22)
def echo(request, ws):
    for message in ws:
        ws.send(message)


@view_config(route_name="private")
def private(request):
    if request.params.get("key") != "open sesame":
        raise HTTPForbidden()  # the handshake is not answered yet: this is a plain HTTP response
    return echo(request)


@view_config(route_name="hello")
@websocket
def hello(request, ws):
    ws.send(f"hello {request.matchdict['name']}")


with Configurator() as config:
    config.add_route("index", "/")
    config.add_route("echo", "/echo")
    config.add_route("private", "/private")
    config.add_route("hello", "/hello/{name}")
    config.scan(__name__)
    application = config.make_wsgi_app()


if __name__ == "__main__":
    server = pywsgi.WSGIServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), application)
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
