"""A door to rooms, and raw clients of it that speak JSON, right or wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gevent
from kit import frames
from kit.clients import RawClient

from geventws import PubSub
from geventws.pubsub.rooms.messages import SUBPROTOCOL


class Door:
    """A site at which clients speak the protocol for rooms.

    Attributes:
        pubsub: the PubSub; another may be set before `open`.
        asked: what `authorize` was asked: action and topic.
        authorize: what it answers with; a function of environ, action and topic.
        member: what the endpoint calls for the name of a client.
    """

    def __init__(self, serve: Callable[..., Any]) -> None:
        self._serve = serve
        self.pubsub = PubSub(history={"room*": (100, 300)}, presence_grace=0.02)
        self.asked: list[tuple[str, str]] = []
        self.authorize: Callable[[dict[str, Any], str, str], object] = lambda environ, action, topic: True
        self.member: Callable[[dict[str, Any]], Any] = lambda environ: environ["QUERY_STRING"] or None
        self.site: Any = None

    def open(self, around: Callable[[Any], Any] = lambda endpoint: endpoint, **options: Any) -> None:
        """Serve."""
        endpoint = self.pubsub.endpoint(self._authorize, member=lambda environ: self.member(environ), **options)
        self.site = self._serve(around(endpoint))

    def _authorize(self, environ: dict[str, Any], action: str, topic: str) -> object:
        self.asked.append((action, topic))
        return self.authorize(environ, action, topic)

    def connect(self, member: str = "", **options: Any) -> Peer:
        """Return a client that has shaken hands."""
        return Peer(self.site.connect(f"/?{member}", sec_websocket_protocol=SUBPROTOCOL, **options))

    def join(self, topic: str, member: str = "", **fields: Any) -> Peer:
        """Return a client that is subscribed to a topic."""
        peer = self.connect(member)
        assert peer.ask("subscribe", topic=topic, **fields)["type"] == "subscribed"
        return peer

    def wait_until(self, done: Callable[[], Any]) -> None:
        """Have the loop turn until it is so; the test has a deadline."""
        while not done():
            gevent.sleep(0.001)


class Peer:
    """A client, by its messages.

    Attributes:
        raw: the same in bytes.
        seen: what came while an answer was waited for.
    """

    def __init__(self, raw: RawClient) -> None:
        self.raw = raw
        self.seen: list[dict[str, Any]] = []
        self._id = 0

    def tell(self, kind: str, **fields: Any) -> int:
        """Send a request; return its id."""
        self._id += 1
        self.raw.send(frames.text(json.dumps({"type": kind, "id": self._id, **fields})))
        return self._id

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a request; return its answer, without the id. What comes before is in `seen`."""
        number = self.tell(kind, **fields)
        while (message := self.read()).get("id") != number:
            self.seen.append(message)
        del message["id"]
        return message

    def read(self) -> dict[str, Any]:
        """Return the next message."""
        message: dict[str, Any] = json.loads(self.raw.read_message())
        return message

    def hear(self, count: int = 1) -> list[tuple[Any, ...]]:
        """Return the next events, each as its type, topic and data or member."""
        return [brief(self.read()) for _ in range(count)]


def brief(event: dict[str, Any]) -> tuple[Any, ...]:
    """Return what an event says, without its position."""
    what = [event[name] for name in ("data", "base64", "member") if name in event]
    return (event["type"], event["topic"], *what)
