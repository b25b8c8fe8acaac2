"""Tornado: pings between; its API sends whole messages."""

from __future__ import annotations

import asyncio

import common
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

COMPRESSION = {"default": None, "compression_options={}": {}}


class Echo(WebSocketHandler):
    number = 0

    def get_compression_options(self):
        return COMPRESSION[common.setting()]

    def on_message(self, message):
        if common.wants_ping(self.number):
            self.ping(common.PING)
        self.write_message(message, binary=isinstance(message, bytes))
        self.number += 1


async def main():
    server = HTTPServer(Application([("/", Echo)], websocket_max_message_size=common.LARGEST))
    sockets = bind_sockets(0, common.HOST)
    server.add_sockets(sockets)
    common.tell_port(sockets[0].getsockname()[1])
    await asyncio.Event().wait()


asyncio.run(main())
