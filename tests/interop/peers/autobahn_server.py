"""Autobahn on asyncio: fragments, and pings between."""

from __future__ import annotations

import asyncio

import common
from autobahn.asyncio.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept


class Echo(WebSocketServerProtocol):
    number = 0

    def onMessage(self, payload, isBinary):
        if common.wants_ping(self.number):
            self.sendPing(common.PING)
        parts = common.cut(self.number, payload)
        if parts is None:
            self.sendMessage(payload, isBinary)
        else:
            self.beginMessage(isBinary=isBinary)
            for part in parts:
                self.sendMessageFrame(part)
            self.endMessage()
        self.number += 1


def accept(offers):
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)
    return None


COMPRESSION = {"default": {}, "deflate": {"perMessageCompressionAccept": accept}}


async def main():
    factory = WebSocketServerFactory()
    factory.setProtocolOptions(**COMPRESSION[common.setting()])
    factory.protocol = Echo
    server = await asyncio.get_running_loop().create_server(factory, common.HOST, 0)
    common.tell_port(server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
