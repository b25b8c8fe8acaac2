"""WebSockets in Flask.

    python examples/frameworks/flask_app.py [PORT]
    gunicorn -k gevent --chdir examples/frameworks flask_app:application

A rule with websocket=True is found by opening handshakes alone; the same path may have another rule for plain requests.
What a view returns when it has used the socket goes nowhere, but Flask wants it to return something.
"""

import sys

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

from flask import Blueprint, Flask, abort, request
from gevent import pywsgi

from geventws import ConnectionClosed, WebSocketMiddleware

app = Flask(__name__)
rooms = Blueprint("rooms", __name__, url_prefix="/rooms")
members = {}  # sockets, by room


@app.get("/")
def index():
    return "a page"


@app.route("/echo", websocket=True)
def echo():
    ws = request.environ["wsgi.websocket"]
    while (message := ws.wait()) is not None:
        ws.send(message)
    return ""


@app.get("/echo")
def about_echo():
    return "this path wants a WebSocket"


@app.route("/private", websocket=True)
def private():
    if request.args.get("key") != "open sesame":
        abort(403)  # the handshake is not answered yet: this is a plain HTTP response
    return echo()


@rooms.route("/<name>", websocket=True)
def room(name):
    """Pass on what one member says to all of its room."""
    ws = request.environ["wsgi.websocket"]
    ws.accept()  # others may send before it does anything itself
    present = members.setdefault(name, set())
    present.add(ws)
    try:
        for message in ws:
            for member in list(present):
                member.send(message)
    finally:
        present.discard(ws)
    return ""


@app.errorhandler(ConnectionClosed)
def peer_left(error):
    """That the peer left while something was sent is no error worth a traceback."""
    return ""


app.register_blueprint(rooms)
application = WebSocketMiddleware(app, max_message_size=1 << 22)


if __name__ == "__main__":
    server = pywsgi.WSGIServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), application)
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
