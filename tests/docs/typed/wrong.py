"""What both type checkers refuse: each line that ends with "wrong"."""

import geventws
from geventws import WebSocket, WebSocketApplication, WebSocketMiddleware, WebSocketWSGI


@WebSocketWSGI(ping_intervall=30)  # wrong
def misspelt(ws: WebSocket) -> None: ...


@WebSocketWSGI(ping_interval="30")  # wrong
def mistyped(ws: WebSocket) -> None: ...


@WebSocketWSGI  # wrong
def without_an_argument() -> None: ...


@WebSocketWSGI
def right(ws: WebSocket) -> None: ...


right(print)  # wrong
WebSocketApplication(original=None)  # wrong
WebSocketMiddleware(right, max_message_size=None)  # wrong
geventws.connect("ws://127.0.0.1/", open_timeut=3)  # wrong
geventws.connect("ws://127.0.0.1/").wait_pieces()  # wrong
geventws.connect("ws://127.0.0.1/", streaming=True, open_timeut=3)  # wrong
next(geventws.reconnect("ws://127.0.0.1/", compression=True))  # wrong
right.ping_interval = "x"  # wrong
