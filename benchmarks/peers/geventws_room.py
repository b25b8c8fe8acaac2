"""geventws: each message is published to all who are connected, by PubSub or in a loop of `send`."""

from __future__ import annotations

from geventws import PubSub, WebSocketWSGI

pubsub = PubSub()


@WebSocketWSGI
def room(ws):
    pubsub.subscribe(ws, "room", "drop_newest")
    for message in ws:
        pubsub.publish("room", message)


members = []


@WebSocketWSGI
def loop(ws):
    members.append(ws)
    for message in ws:
        for member in members:
            member.send(message)
