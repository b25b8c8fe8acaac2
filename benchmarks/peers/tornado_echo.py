"""tornado: a WebSocketHandler on uvloop."""

from __future__ import annotations

import asyncio

import uvloop
from common import DEFLATE, HOST, LARGEST, announce, tls_context
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler


class Echo(WebSocketHandler):
    def get_compression_options(self):
        return {} if DEFLATE else None

    def on_message(self, message):
        self.write_message(message, binary=isinstance(message, bytes))


def quiet(handler):
    """Instead of a line in the access log."""


async def main() -> None:
    application = Application([("/", Echo)], websocket_max_message_size=LARGEST, log_function=quiet)
    server = HTTPServer(application, ssl_options=tls_context())
    sockets = bind_sockets(0, HOST, backlog=1024)
    server.add_sockets(sockets)
    announce(sockets[0].getsockname()[1])
    await asyncio.Event().wait()


uvloop.run(main())
