"""Tornado: pings between; its API sends whole messages."""

from __future__ import annotations

import asyncio
import sys

import common
from tornado.websocket import websocket_connect

COMPRESSION = {"default": None, "compression_options={}": {}}


async def exchange(ws, number, message):
    if common.wants_ping(number):
        ws.ping(common.PING)
    await ws.write_message(message, binary=isinstance(message, bytes))
    echo = await ws.read_message()
    if echo is None:
        raise SystemExit(f"message {number + 1}: closed with {ws.close_code} {ws.close_reason}")
    common.check(number, message, echo)


async def talk(url, setting):
    ws = await websocket_connect(
        url, compression_options=COMPRESSION[setting], max_message_size=common.LARGEST)
    for number, message in enumerate(common.read_messages()):
        await exchange(ws, number, message)
    ws.close()


common.run(lambda *args: asyncio.run(talk(*args)), *sys.argv[1:])
