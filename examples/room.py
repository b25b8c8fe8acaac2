"""A chat room: a set of members, and a broadcast that no slow member can hold up.

Everything on the wire is a JSON object with a "type". A tab says hello, then any of say, rename and
typing; the room answers with welcome (who is here, what was said lately), and tells everyone joined,
left, renamed, said and typing.

A send to somebody whose network is stuck blocks. So the room never sends: it puts the text into each
member's outbox, which never blocks, and a greenlet of the member's own does the sending. An outbox
that is full means that its member has not kept up, and the member is let go.
"""

import itertools
import json
import time
from collections import deque

import gevent
from gevent.queue import Full, Queue

from geventws import ConnectionClosed

OUTBOX = 100  # messages waiting for one member before it is let go
HISTORY = 50  # messages that a newcomer gets to see
NAME_LENGTH = 24
TEXT_LENGTH = 1000


class Member:
    """One websocket in the room; `post` queues a text and says at once whether there was space."""

    # From the clock, so that a restarted server gives no number twice.
    numbers = itertools.count(time.time_ns() // 1_000_000)

    def __init__(self, ws, name):
        self.ws = ws
        self.id = next(self.numbers)
        self.name = name
        self.outbox = Queue(maxsize=OUTBOX)
        self.writer = gevent.spawn(self.write)

    def post(self, text):
        try:
            self.outbox.put_nowait(text)
        except Full:
            return False
        return True

    def write(self):
        try:
            for text in self.outbox:
                self.ws.send(text)
        except ConnectionClosed:
            pass  # the handler notices by itself, in its own loop

    def card(self):
        return {"id": self.id, "name": self.name}


class Room:
    """Everybody who is here, and what was said last."""

    def __init__(self):
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
        member.post(encode("welcome", **welcome))
        self.broadcast("joined", but=member, **member.card(), members=self.cards())
        return member

    def leave(self, member):
        if member not in self.members:
            return  # let go before
        self.members.remove(member)
        member.writer.kill(block=False)
        self.broadcast("left", **member.card(), members=self.cards())

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
        self.broadcast("said", **said)

    def rename(self, member, event):
        before, member.name = member.name, text_of(event, "name", NAME_LENGTH)
        self.broadcast("renamed", **member.card(), before=before, members=self.cards())

    def typing(self, member, event):
        self.broadcast("typing", but=member, **member.card())

    def cards(self):
        return [member.card() for member in sorted(self.members, key=lambda member: member.id)]

    def broadcast(self, kind, but=None, **fields):
        text = encode(kind, **fields)
        for member in self.members - {but}:
            if not member.post(text):
                self.leave(member)
                # close() waits for the other side's answer, hence a greenlet of its own
                gevent.spawn(member.ws.close, 1013, "too slow for this room")


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
