"""websocket-client: fragments, and pings between. It knows no compression."""

from __future__ import annotations

import sys

import common
import websocket
from websocket import ABNF


def send_message(ws, number, message):
    opcode = ABNF.OPCODE_TEXT if isinstance(message, str) else ABNF.OPCODE_BINARY
    parts = common.cut(number, message) or [message]
    for index, part in enumerate(parts):
        final = int(index == len(parts) - 1)
        ws.send_frame(ABNF.create_frame(common.to_bytes(part), opcode if index == 0 else ABNF.OPCODE_CONT, final))
        if not final and common.wants_ping(number):
            ws.ping(common.PING)


def talk(url, _setting):
    ws = websocket.create_connection(url)
    for number, message in enumerate(common.read_messages()):
        if common.wants_ping(number):
            ws.ping(common.PING)
        send_message(ws, number, message)
        common.check(number, message, ws.recv())
    ws.close()


common.run(talk, *sys.argv[1:])
