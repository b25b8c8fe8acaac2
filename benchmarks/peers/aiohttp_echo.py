"""aiohttp: a WebSocketResponse on uvloop."""

from __future__ import annotations

import asyncio

import uvloop
from aiohttp import WSMsgType, web
from common import HOST, LARGEST, announce, tls_context


async def echo(request):
    ws = web.WebSocketResponse(max_msg_size=LARGEST)
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
    return ws


async def main() -> None:
    application = web.Application()
    application.router.add_get("/", echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, ssl_context=tls_context(), backlog=1024).start()
    announce(runner.addresses[0][1])
    await asyncio.Event().wait()


uvloop.run(main())
