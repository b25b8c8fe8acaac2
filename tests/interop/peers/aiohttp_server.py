"""aiohttp: pings between; its API sends whole messages."""

from __future__ import annotations

import asyncio

import aiohttp
import common
from aiohttp import web

COMPRESS = {"default": True, "compress=False": False}


async def echo(request):
    ws = web.WebSocketResponse(max_msg_size=common.LARGEST, compress=COMPRESS[common.setting()])
    await ws.prepare(request)
    number = 0
    async for message in ws:
        if common.wants_ping(number):
            await ws.ping(common.PING)
        send = ws.send_str if message.type == aiohttp.WSMsgType.TEXT else ws.send_bytes
        await send(message.data)
        number += 1
    return ws


async def main():
    application = web.Application()
    application.router.add_get("/", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, common.HOST, 0)
    await site.start()
    common.tell_port(runner.addresses[0][1])
    await asyncio.Event().wait()


asyncio.run(main())
