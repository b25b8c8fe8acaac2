"""wsproto: fragments, and pings between and amid them."""

from __future__ import annotations

import socket
import sys
from urllib.parse import urlsplit

import common
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request
from wsproto_echo import EXTENSIONS, read_events, read_messages, send_message


def talk(url, setting):
    ws = WSConnection(ConnectionType.CLIENT)
    with socket.create_connection((common.HOST, urlsplit(url).port)) as sock:
        sock.sendall(ws.send(Request(host=urlsplit(url).netloc, target="/", extensions=EXTENSIONS[setting]())))
        opened = next(read_events(sock, ws))
        if not isinstance(opened, AcceptConnection):
            raise SystemExit(f"it came to {opened}")
        echoes = read_messages(sock, ws)
        for number, message in enumerate(common.read_messages()):
            send_message(sock, ws, number, message)
            common.check(number, message, next(echoes))
        sock.sendall(ws.send(CloseConnection(1000)))
        closed = next(event for event in read_events(sock, ws) if isinstance(event, CloseConnection))
        if closed.code != 1000:
            raise SystemExit(f"closed with {closed.code}")


common.run(talk, *sys.argv[1:])
