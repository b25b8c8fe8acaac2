"""geventws: a room for each path, in as many processes as wanted. Usage: geventws_bus.py REDIS_URL."""

from __future__ import annotations

import sys

from common import HOST, announce
from gevent import pywsgi

from geventws import PubSub, WebSocketWSGI

pubsub = PubSub(sys.argv[1])


@WebSocketWSGI
def room(ws):
    pubsub.subscribe(ws, ws.path)
    for message in ws:
        pubsub.publish(ws.path, message)


server = pywsgi.WSGIServer((HOST, 0), room, log=None)
server.start()
announce(server.server_port)
server.serve_forever()
