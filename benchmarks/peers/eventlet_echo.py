"""eventlet: its WebSocketWSGI on its wsgi server."""

from __future__ import annotations

import eventlet
from common import CERTIFICATE, HOST, KEY, announce
from eventlet import websocket, wsgi


@websocket.WebSocketWSGI
def echo(ws):
    while True:
        message = ws.wait()
        if message is None:
            break
        ws.send(message)


def main() -> None:
    listener = eventlet.listen((HOST, 0), backlog=1024)
    announce(listener.getsockname()[1])
    if CERTIFICATE:
        listener = eventlet.wrap_ssl(listener, certfile=CERTIFICATE, keyfile=KEY, server_side=True)
    wsgi.server(listener, echo, log_output=False, max_size=20_000)


main()
