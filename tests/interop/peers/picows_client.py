"""picows: its core API, which compresses nothing, or what it has of the API of websockets, which does."""

from __future__ import annotations

import asyncio
import sys

import common
import picows
from picows.websockets.asyncio.client import connect


class Talk(picows.WSListener):
    def __init__(self):
        self.frames = asyncio.Queue()

    def on_ws_frame(self, transport, frame):
        data = frame.get_payload_as_bytes()
        self.frames.put_nowait((frame.msg_type, frame.fin, data))

    async def read(self):
        """One message: fragments are joined, pongs skipped; pings were answered."""
        kinds = picows.WSMsgType
        kind, parts = None, []
        while True:
            opcode, fin, data = await self.frames.get()
            if opcode in (kinds.PING, kinds.PONG):
                continue
            if opcode == kinds.CLOSE:
                raise SystemExit(f"closed with {data[:2].hex()}")
            kind = opcode if kind is None else kind
            parts.append(data)
            if fin:
                return b"".join(parts).decode() if kind == kinds.TEXT else b"".join(parts)


def send_frames(transport, number, message):
    kinds = picows.WSMsgType
    parts = common.cut(number, message) or [message]
    for index, part in enumerate(parts):
        kind = kinds.TEXT if isinstance(message, str) else kinds.BINARY
        transport.send(kind if index == 0 else kinds.CONTINUATION, common.to_bytes(part), fin=index == len(parts) - 1)
        if common.wants_ping(number):
            transport.send_ping(common.PING)


async def talk_in_frames(url):
    transport, listener = await picows.ws_connect(Talk, url, max_frame_size=common.LARGEST)
    for number, message in enumerate(common.read_messages()):
        send_frames(transport, number, message)
        common.check(number, message, await listener.read())
    transport.send_close(picows.WSCloseCode.OK)


async def talk_deflated(url):
    async with connect(url, max_size=common.LARGEST) as ws:
        for number, message in enumerate(common.read_messages()):
            pong = await ws.ping(common.PING) if common.wants_ping(number) else None
            await ws.send(common.cut(number, message) or message)
            common.check(number, message, await ws.recv())
            if pong is not None:
                await pong


async def talk(url, setting):
    await (talk_in_frames if setting == "default" else talk_deflated)(url)


common.run(lambda *args: asyncio.run(talk(*args)), *sys.argv[1:])
