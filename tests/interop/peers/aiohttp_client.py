"""aiohttp: pings between; its API sends whole messages."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import common

COMPRESS = {"default": 0, "compress=15": 15}


async def exchange(ws, number, message):
    if common.wants_ping(number):
        await ws.ping(common.PING)
    await (ws.send_str if isinstance(message, str) else ws.send_bytes)(message)
    echo = await ws.receive()
    if echo.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
        raise SystemExit(f"message {number + 1}: {echo.type.name} {echo.data} {echo.extra}")
    common.check(number, message, echo.data)


async def talk(url, setting):
    options = {"max_msg_size": common.LARGEST, "compress": COMPRESS[setting]}
    async with aiohttp.ClientSession() as session, session.ws_connect(url, **options) as ws:
        for number, message in enumerate(common.read_messages()):
            await exchange(ws, number, message)


common.run(lambda *args: asyncio.run(talk(*args)), *sys.argv[1:])
