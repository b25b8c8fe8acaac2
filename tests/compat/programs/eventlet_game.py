"""A game of ships, as users of eventlet write one: a set of players, a function that tells all, JSON by event."""

from __future__ import annotations

import itertools
import json
import math

from geventws.compat import eventlet  # was: import eventlet
from geventws.compat.eventlet import websocket, wsgi  # was: from eventlet import websocket, wsgi

players = set()
ships: dict[int, dict[str, float]] = {}
numbers = itertools.count(1)


def tell_all(event, data):
    """Send an event to every player, and forget those that have left."""
    for player in list(players):
        try:
            player.send(json.dumps([event, data]))
        except OSError:
            players.discard(player)


def steer(ship, key):
    """Turn, or change the speed."""
    if key in ("left", "right"):
        ship["angle"] += math.pi / 16 * (1 if key == "right" else -1)
    else:
        ship["speed"] = max(-5, min(5, ship["speed"] + (1 if key == "up" else -1)))


@websocket.WebSocketWSGI
def play(ws):
    """Run one player's game until the player leaves or says so."""
    ws.number = next(numbers)
    players.add(ws)
    try:
        while True:
            message = ws.wait()
            if message is None:
                break
            event, data = json.loads(message)
            if event == "join":
                ships[ws.number] = {"x": 100, "y": 100, "angle": 0, "speed": 0}
                ws.send(json.dumps(["you", ws.number]))
                tell_all("ship", {"id": ws.number, **ships[ws.number]})
            elif event == "key":
                steer(ships[ws.number], data)
                tell_all("ship", {"id": ws.number, **ships[ws.number]})
            elif event == "leave":
                break
    finally:
        players.discard(ws)
        ships.pop(ws.number, None)
        tell_all("gone", ws.number)


def dispatch(environ, start_response):
    """The game at one path, its page at all others."""
    if environ["PATH_INFO"] == "/game":
        return play(environ, start_response)
    start_response("200 OK", [("content-type", "text/html")])
    return [b"<canvas></canvas>"]


if __name__ == "__main__":
    wsgi.server(eventlet.listen(("127.0.0.1", 9999)), dispatch)
