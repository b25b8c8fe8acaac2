"""What has to work wherever the package was installed. Run by library_author.py, in an environment of its own."""

import platform
import sys

import gevent
from gevent import pywsgi

import geventws
from geventws._core import HAVE_C
from geventws.testing import connect


@geventws.WebSocketWSGI
def echo(ws):
    for message in ws:
        ws.send(message)


class Shout(geventws.WebSocketApplication):
    def on_message(self, ws, message):
        return message.upper()


def talk(server_class):
    server = server_class(("127.0.0.1", 0), echo, log=None)
    server.start()
    with geventws.connect(f"ws://127.0.0.1:{server.server_port}/") as ws:
        for message in ("hello", b"\x00\xff", "x" * 100_000):
            ws.send(message)
            assert ws.wait(timeout=10) == message
        assert ws.ping().get(timeout=10) >= 0
    server.stop()


def rooms():
    pubsub = geventws.PubSub()

    @geventws.WebSocketWSGI
    def room(ws):
        pubsub.subscribe(ws, "room")
        ws.send_json({"ready": True})
        for message in ws:
            pubsub.publish("room", message)

    with connect(room) as ann, connect(room) as bob:
        assert ann.wait_json(timeout=10) == bob.wait_json(timeout=10) == {"ready": True}
        ann.send("hello")
        assert ann.wait(timeout=10) == bob.wait(timeout=10) == "hello"


for server_class in (pywsgi.WSGIServer, geventws.WebSocketServer):
    talk(server_class)
with connect(Shout()) as ws:
    ws.send("hello")
    assert ws.wait(timeout=10) == "HELLO"
rooms()
core = "C core" if HAVE_C else "Python core"
free = "" if getattr(sys, "_is_gil_enabled", lambda: True)() else ", free-threaded"
print(f"CPython {platform.python_version()}{free}, gevent {gevent.__version__}: the {core} works")
