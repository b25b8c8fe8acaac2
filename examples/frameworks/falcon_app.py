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

from geventws.frameworks.falcon import websocket


class Index:
    def on_get(self, req, resp):
        resp.text = "a page"


class Echo:
    @websocket(max_message_size=1 << 22)
    def on_get(self, req, ws):
        for message in ws:
            ws.send(message)


class Private(Echo):
    def on_get(self, req, resp):
        if req.get_param("key") != "open sesame":
            raise falcon.HTTPForbidden()  # the handshake is not answered yet: this is a plain HTTP response
        super().on_get(req, resp)


class Hello:
    @websocket
    def on_get(self, req, ws, name):
        ws.send(f"hello {name}")


application = falcon.App()
application.add_route("/", Index())
application.add_route("/echo", Echo())
application.add_route("/private", Private())
application.add_route("/hello/{name}", Hello())


if __name__ == "__main__":
    server = pywsgi.WSGIServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), application)
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
