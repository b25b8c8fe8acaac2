"""picows: its core API, which hands out the payload as a view of the read buffer, on uvloop or asyncio.

Usage: picows_echo.py [asyncio]
"""

from __future__ import annotations

import asyncio
import sys

import picows
import uvloop
from common import FANOUT, HOST, LARGEST, announce, tls_context

members = []


class Echo(picows.WSListener):
    def on_ws_connected(self, transport):
        members.append(transport)

    def on_ws_frame(self, transport, frame):
        kind = frame.msg_type
        if kind == picows.WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif kind == picows.WSMsgType.TEXT or kind == picows.WSMsgType.BINARY:
            payload = frame.get_payload_as_memoryview()
            for member in members if FANOUT else (transport,):
                member.send(kind, payload)


async def main() -> None:
    server = await picows.ws_create_server(
        lambda request: Echo(), HOST, 0, ssl=tls_context(), max_frame_size=LARGEST, backlog=1024
    )
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


run = asyncio.run if "asyncio" in sys.argv else uvloop.run
run(main())
