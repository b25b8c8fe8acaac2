"""Autobahn on asyncio: fragments, and pings between."""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import urlsplit

import common
from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)


class Talk(WebSocketClientProtocol):
    number = 0

    def onOpen(self):
        self.messages = common.read_messages()
        self.send_next()

    def send_next(self):
        message = self.messages[self.number]
        if common.wants_ping(self.number):
            self.sendPing(common.PING)
        self.send_cut(message)

    def send_cut(self, message):
        parts = common.cut(self.number, message)
        if parts is None:
            self.sendMessage(common.to_bytes(message), isBinary=isinstance(message, bytes))
            return
        self.beginMessage(isBinary=isinstance(message, bytes))
        for part in parts:
            self.sendMessageFrame(common.to_bytes(part))
        self.endMessage()

    def onMessage(self, payload, isBinary):
        try:
            common.check(self.number, self.messages[self.number], payload if isBinary else payload.decode())
        except SystemExit as difference:
            self.factory.over.set_result(str(difference))
            return
        self.number += 1
        if self.number == len(self.messages):
            self.sendClose(1000)
        else:
            self.send_next()

    def onClose(self, wasClean, code, reason):
        if not self.factory.over.done():
            good = self.number and self.number == len(self.messages) and code == 1000
            self.factory.over.set_result(None if good else f"message {self.number + 1}: closed with {code} {reason}")


def accept(response):
    return PerMessageDeflateResponseAccept(response) if isinstance(response, PerMessageDeflateResponse) else None


COMPRESSION = {
    "default": {},
    "deflate": {"perMessageCompressionOffers": [PerMessageDeflateOffer()], "perMessageCompressionAccept": accept},
}


async def talk(url, setting):
    loop = asyncio.get_running_loop()
    factory = WebSocketClientFactory(url)
    factory.setProtocolOptions(**COMPRESSION[setting])
    factory.protocol = Talk
    factory.over = loop.create_future()
    await loop.create_connection(factory, common.HOST, urlsplit(url).port)
    if (difference := await factory.over) is not None:
        raise SystemExit(difference)


common.run(lambda *args: asyncio.run(talk(*args)), *sys.argv[1:])
