"""websockets: fragments, and pings between."""

from __future__ import annotations

import asyncio

import common
from websockets.asyncio.server import serve
from websockets_settings import SERVER


async def echo(ws):
    number = 0
    async for message in ws:
        if common.wants_ping(number):
            await ws.ping(common.PING)
        await ws.send(common.cut(number, message) or message)
        number += 1


async def main():
    async with serve(echo, common.HOST, 0, max_size=common.LARGEST, **SERVER[common.setting()]) as server:
        common.tell_port(server.sockets[0].getsockname()[1])
        await server.serve_forever()


asyncio.run(main())
