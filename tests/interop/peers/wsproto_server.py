"""wsproto: fragments, and pings between and amid them."""

from __future__ import annotations

import socket

import common
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request
from wsproto_echo import EXTENSIONS, read_events, send_message


def serve(sock):
    ws = WSConnection(ConnectionType.SERVER)
    number, parts = 0, []
    for event in read_events(sock, ws):
        if isinstance(event, Request):
            sock.sendall(ws.send(AcceptConnection(extensions=EXTENSIONS[common.setting()]())))
        elif isinstance(event, CloseConnection | Ping):
            sock.sendall(ws.send(event.response()))
            if isinstance(event, CloseConnection):
                return
        elif hasattr(event, "message_finished"):
            parts.append(event.data)
            if event.message_finished:
                send_message(sock, ws, number, parts[0][:0].join(parts))
                number, parts = number + 1, []


with socket.create_server((common.HOST, 0)) as listener:
    common.tell_port(listener.getsockname()[1])
    while True:
        with listener.accept()[0] as connection:
            serve(connection)
