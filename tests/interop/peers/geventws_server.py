"""Our server: each third message goes back in fragments, and pings go between."""

from __future__ import annotations

import common
from gevent import pywsgi
from geventws_settings import OPTIONS

from geventws import WebSocketWSGI


def echo(ws):
    for number, message in enumerate(ws):
        if common.wants_ping(number):
            ws.ping(common.PING)
        parts = common.cut(number, message)
        ws.send(message if parts is None else iter(parts))


route = WebSocketWSGI(echo, max_message_size=common.LARGEST, **OPTIONS[common.setting()])
server = pywsgi.WSGIServer((common.HOST, 0), route, log=None)
server.start()
common.tell_port(server.server_port)
server.serve_forever()
