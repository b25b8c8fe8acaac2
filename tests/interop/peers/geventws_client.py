"""Our client: fragments, and pings between."""

from __future__ import annotations

import sys

import common
from geventws_settings import OPTIONS

from geventws import connect


def exchange(ws, number, message):
    pong = ws.ping(common.PING) if common.wants_ping(number) else None
    parts = common.cut(number, message)
    ws.send(message if parts is None else iter(parts))
    common.check(number, message, ws.wait(timeout=10))
    if pong is not None:
        pong.get(timeout=10)


def talk(url, setting):
    with connect(url, max_message_size=common.LARGEST, **OPTIONS[setting]) as ws:
        for number, message in enumerate(common.read_messages()):
            exchange(ws, number, message)
    if ws.close_code != 1000:
        raise SystemExit(f"closed with {ws.close_code} {ws.close_reason}")


common.run(talk, *sys.argv[1:])
