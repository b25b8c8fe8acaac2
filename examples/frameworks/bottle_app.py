"""WebSockets in Bottle.

    python examples/frameworks/bottle_app.py [PORT]
    gunicorn -k gevent --chdir examples/frameworks bottle_app:application
"""

import sys

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

from bottle import Bottle, abort, request
from gevent import pywsgi

from geventws.frameworks.bottle import websocket

application = Bottle()


@application.route("/")
def index():
    return "a page"


@application.route("/echo")
@websocket(max_message_size=1 << 22)
def echo(ws):
    for message in ws:
        ws.send(message)


@application.route("/private")
def private():
    if request.query.key != "open sesame":
        abort(403, "no")  # the handshake is not answered yet: this is a plain HTTP response
    return echo()


@application.route("/hello/<name>", apply=[websocket])
def hello(ws, name):
    ws.send(f"hello {name}")


if __name__ == "__main__":
    server = pywsgi.WSGIServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), application)
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
