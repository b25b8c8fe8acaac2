"""WebSockets in Falcon's WSGI applications (its own `on_websocket` is for ASGI).

    python examples/frameworks/falcon_app.py [PORT]
    gunicorn -k gevent --chdir examples/frameworks falcon_app:application
"""

import sys

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import falcon
from gevent import pywsgi

from geventws import ConnectionClosed, WebSocketMiddleware


class Index:
    def on_get(self, req, resp):
        resp.text = "a page"


class Echo:
    def on_get(self, req, resp):
        ws = req.env.get("wsgi.websocket")
        if ws is None:
            raise falcon.HTTPBadRequest(description="this path wants a WebSocket")
        while (message := ws.wait()) is not None:
            ws.send(message)


class Private(Echo):
    def on_get(self, req, resp):
        if req.get_param("key") != "open sesame":
            raise falcon.HTTPForbidden()  # the handshake is not answered yet: this is a plain HTTP response
        super().on_get(req, resp)


def peer_left(req, resp, error, params):
    """That the peer left while something was sent is no error worth a traceback."""


app = falcon.App()
app.add_route("/", Index())
app.add_route("/echo", Echo())
app.add_route("/private", Private())
app.add_error_handler(ConnectionClosed, peer_left)
application = WebSocketMiddleware(app, max_message_size=1 << 22)


if __name__ == "__main__":
    server = pywsgi.WSGIServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), application)
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
