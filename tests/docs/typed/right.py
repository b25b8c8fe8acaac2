"""What both type checkers know of the public names."""

from collections.abc import Callable

from typing_extensions import assert_type

import geventws
import geventws.testing
from geventws import CallbackWebSocket, StreamingWebSocket, WebSocket, WebSocketApplication, WebSocketWSGI


@WebSocketWSGI
def plain(ws: WebSocket) -> None:
    assert_type(ws.wait(), str | bytes | None)


@WebSocketWSGI(ping_interval=30, kill_on_close=True)
def decorated(ws: WebSocket) -> int:
    return 3


@WebSocketWSGI(streaming=True)
def streaming(ws: StreamingWebSocket) -> None:
    assert ws.wait_pieces() is None


options = WebSocketWSGI(compression=None)
kept: WebSocketWSGI[Callable[[WebSocket], int]] = options(decorated.handler)
assert_type(decorated.handler(WebSocket.__new__(WebSocket)), int)


def mount(application: WebSocketWSGI) -> None:
    for part in application({}, print):
        assert_type(part, bytes)


mount(plain)


class Echo(WebSocketApplication):
    def on_message(self, ws: CallbackWebSocket, message: str) -> str:
        ws.data = [message]
        return message


Echo(origins=None, headers={"X-Name": "value"})

with geventws.connect("ws://127.0.0.1/", open_timeout=None) as client:
    assert_type(client.response_headers, list[tuple[str, str]])
for again in geventws.reconnect("ws://127.0.0.1/", max_delay=5, send_timeout=1):
    client = again
with geventws.connect("ws://127.0.0.1/", streaming=True, origin="null") as large:
    assert_type(large, geventws.ClientStreamingWebSocket)
    for piece in large.wait_pieces() or ():
        assert_type(piece, str | bytes)
assert_type(next(geventws.reconnect("ws://127.0.0.1/", streaming=True, factor=3)), geventws.ClientStreamingWebSocket)
assert_type(geventws.testing.connect(plain, streaming=True), geventws.ClientStreamingWebSocket)
assert_type(geventws.testing.connect(plain, "/", streaming=False), geventws.ClientWebSocket)
kept_client: geventws.ClientWebSocket = client
