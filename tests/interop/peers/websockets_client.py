"""websockets: fragments, and pings between."""

from __future__ import annotations

import asyncio
import sys

import common
from websockets.asyncio.client import connect
from websockets_settings import CLIENT


async def talk(url, setting):
    async with connect(url, max_size=common.LARGEST, proxy=None, **CLIENT[setting]) as ws:
        for number, message in enumerate(common.read_messages()):
            pong = await ws.ping(common.PING) if common.wants_ping(number) else None
            await ws.send(common.cut(number, message) or message)
            common.check(number, message, await ws.recv())
            if pong is not None:
                await pong


common.run(lambda *args: asyncio.run(talk(*args)), *sys.argv[1:])
