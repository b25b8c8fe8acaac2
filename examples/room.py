"""A chat room: a set of members, and a topic that all of them are subscribed to.

Everything on the wire is a JSON object with a "type". A tab says hello, then any of say, rename and
typing; the room answers with welcome (who is here, what was said lately), and tells everyone joined,
left, renamed, said and typing.

A send to somebody whose network is stuck blocks. Publishing never does: what waits for one member is
bounded, and one that does not keep up is closed with 1013, which ends its handler.
"""

import itertools
import json
import time
from collections import deque

from geventws import PubSub

OUTBOX = 100  # messages waiting for one member before it is let go
TOPIC = "room"
HISTORY = 50  # messages that a newcomer gets to see
NAME_LENGTH = 24
TEXT_LENGTH = 1000


class Member:
    """One websocket in the room."""

    # From the clock, so that a restarted server gives no number twice.
    numbers = itertools.count(time.time_ns() // 1_000_000)

    def __init__(self, ws, name):
        self.ws = ws
        self.id = next(self.numbers)
        self.name = name

    def card(self):
        return {"id": self.id, "name": self.name}


class Room:
    """Everybody who is here, and what was said last."""

    def __init__(self):
        self.pubsub = PubSub(max_queue=OUTBOX)
        self.members = set()
        self.history = deque(maxlen=HISTORY)
        self.verbs = {"say": self.say, "rename": self.rename, "typing": self.typing}

    def enter(self, ws, message):
        """Admit a websocket whose first message is a hello; ValueError where it is not."""
        hello = parse(message)
        if hello["type"] != "hello":
            raise ValueError("say hello first")
        member = Member(ws, text_of(hello, "name", NAME_LENGTH))
        self.members.add(member)
        welcome = {"you": member.card(), "members": self.cards(), "history": list(self.history)}
        self.pubsub.subscribe(ws, TOPIC)
        ws.try_send(encode("welcome", **welcome))
        self.publish("joined", but=member, **member.card(), members=self.cards())
        return member

    def leave(self, member):
        self.members.remove(member)
        self.publish("left", **member.card(), members=self.cards())

    def hear(self, member, message):
        """Do what a member's message asks for; ValueError where it asks for nothing we know."""
        event = parse(message)
        if event["type"] not in self.verbs:
            raise ValueError("unknown type of message")
        self.verbs[event["type"]](member, event)

    def say(self, member, event):
        text = text_of(event, "text", TEXT_LENGTH)
        said = member.card() | {"text": text, "time": round(time.time() * 1000)}
        self.history.append(said)
        self.publish("said", **said)

    def rename(self, member, event):
        before, member.name = member.name, text_of(event, "name", NAME_LENGTH)
        self.publish("renamed", **member.card(), before=before, members=self.cards())

    def typing(self, member, event):
        self.publish("typing", but=member, **member.card())

    def cards(self):
        return [member.card() for member in sorted(self.members, key=lambda member: member.id)]

    def publish(self, kind, but=None, **fields):
        self.pubsub.publish(TOPIC, encode(kind, **fields), exclude=but and but.ws)


def encode(kind, **fields):
    return json.dumps({"type": kind} | fields)


def parse(message):
    """The JSON object with a type that a message holds; ValueError where there is none."""
    try:
        event = json.loads(message) if isinstance(message, str) else None
    except RecursionError:
        event = None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise ValueError("not a JSON object with a type")
    return event


def text_of(event, field, limit):
    """A field's text, trimmed and cut to its limit; ValueError where nothing is left."""
    text = event.get(field)
    text = text.strip()[:limit] if isinstance(text, str) else ""
    if not text:
        raise ValueError(f"no {field}")
    return text
