"""gevent-websocket: its handler class on pywsgi."""

from __future__ import annotations

from common import CERTIFICATE, HOST, KEY, announce
from gevent import pywsgi
from geventwebsocket.exceptions import WebSocketError
from geventwebsocket.handler import WebSocketHandler


def echo(environ, start_response):
    ws = environ["wsgi.websocket"]
    try:
        while True:
            message = ws.receive()
            if message is None:
                break
            ws.send(message)
    except WebSocketError:
        pass
    return []


def main() -> None:
    tls = {"certfile": CERTIFICATE, "keyfile": KEY} if CERTIFICATE else {}
    server = pywsgi.WSGIServer((HOST, 0), echo, handler_class=WebSocketHandler, log=None, **tls)
    server.start()
    announce(server.server_port)
    server.serve_forever()


main()
