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

from geventws import ConnectionClosed, WebSocketMiddleware

app = Bottle()


@app.get("/")
def index():
    return "a page"


@app.get("/echo")
def echo():
    ws = request.environ.get("wsgi.websocket")
    if ws is None:
        abort(400, "this path wants a WebSocket")
    try:
        while (message := ws.wait()) is not None:
            ws.send(message)
    except ConnectionClosed:
        pass  # the peer left while something was sent


@app.get("/private")
def private():
    if request.query.key != "open sesame":
        abort(403, "no")  # the handshake is not answered yet: this is a plain HTTP response
    return echo()


application = WebSocketMiddleware(app, max_message_size=1 << 22)


if __name__ == "__main__":
    server = pywsgi.WSGIServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), application)
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
