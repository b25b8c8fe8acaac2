"""websockets: its asyncio server on uvloop."""

from __future__ import annotations

import uvloop
from common import HOST, LARGEST, announce, tls_context
from websockets.asyncio.server import serve


async def echo(ws):
    async for message in ws:
        await ws.send(message)


async def main() -> None:
    async with serve(echo, HOST, 0, ssl=tls_context(), max_size=LARGEST, backlog=1024) as server:
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()


uvloop.run(main())
