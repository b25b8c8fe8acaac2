"""picows: its core API, which compresses nothing, or what it has of the API of websockets, which does."""

from __future__ import annotations

import asyncio

import common
import picows
from picows.websockets.asyncio.server import serve


class Echo(picows.WSListener):
    """Each frame goes back as it came, so that fragments come back as fragments."""

    def on_ws_frame(self, transport, frame):
        kinds = picows.WSMsgType
        if frame.msg_type == kinds.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif frame.msg_type in (kinds.TEXT, kinds.BINARY, kinds.CONTINUATION):
            transport.send(frame.msg_type, frame.get_payload_as_bytes(), fin=frame.fin)
            transport.send_ping(common.PING)


async def echo(ws):
    number = 0
    async for message in ws:
        if common.wants_ping(number):
            await ws.ping(common.PING)
        await ws.send(common.cut(number, message) or message)
        number += 1


async def start():
    if common.setting() == "default":
        return await picows.ws_create_server(lambda _: Echo(), common.HOST, 0, max_frame_size=common.LARGEST)
    return await serve(echo, common.HOST, 0, max_size=common.LARGEST)


async def main():
    server = await start()
    common.tell_port(list(server.sockets)[0].getsockname()[1])
    await asyncio.Event().wait()


asyncio.run(main())
