"""geventws: a plain handler, or callbacks, with default settings, on gevent's own pywsgi server or on ours.

Usage: geventws_echo.py pywsgi|server [callbacks], or `loop` to publish in a loop of `send`. GEVENTWS_PURE_PYTHON=1 in
the environment selects the Python core, BENCH_ISAL=1 the extra `isal`, which is otherwise as if it were not installed.
"""

from __future__ import annotations

import os
import sys

from common import CERTIFICATE, FANOUT, HOST, KEY, announce
from gevent import pywsgi

if os.environ.get("BENCH_ISAL") != "1":
    sys.modules["isal"] = None

from geventws import WebSocketApplication, WebSocketWSGI  # noqa: E402


@WebSocketWSGI
def echo(ws):
    for message in ws:
        ws.send(message)


class Echo(WebSocketApplication):
    def on_message(self, ws, message):
        return message

    on_bytes = on_message


def server_class(which: str) -> type[pywsgi.WSGIServer]:
    if which in ("pywsgi", "loop"):
        return pywsgi.WSGIServer
    from geventws.server.server import WebSocketServer

    return WebSocketServer


def main(which: str, style: str = "handler") -> None:
    application = Echo() if style == "callbacks" else echo
    if FANOUT:
        import geventws_room  # another tree's geventws may have no PubSub

        application = geventws_room.loop if which == "loop" else geventws_room.room
    tls = {"certfile": CERTIFICATE, "keyfile": KEY} if CERTIFICATE else {}
    server = server_class(which)((HOST, 0), application, log=None, **tls)
    server.start()
    announce(server.server_port)
    server.serve_forever()


main(*sys.argv[1:])
