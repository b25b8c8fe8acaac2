"""A room on every kind of host: each connection subscribes to what its client asks for."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import gevent
from gevent.queue import Queue
from kit.clients import RawClient

from geventws import PubSub, WebSocketApplication, WebSocketServer, WebSocketWSGI
from geventws.websocket import get_connection

SMALL = 2048
"""What the kernel is asked to hold for a client that does not read."""


def message(number: int, size: int = 1000) -> bytes:
    """Return a message that shows its number, and whether it is whole."""
    return struct.pack("!I", number) * (size // 4)


def number_of(payload: str | bytes) -> int:
    """Return the number of such a message."""
    assert isinstance(payload, bytes) and payload == payload[:4] * (len(payload) // 4), "a message is whole"
    return int(struct.unpack("!I", payload[:4])[0])


class Room:
    """A site whose connections subscribe: `?a,b` to these topics, `?none` to none.

    Attributes:
        pubsub: the PubSub; another may be set before `open`.
        members: the server's ends of the connections, in their order, without those that asked for `?none`.
        sockets: and their sockets.
        on_message: what is done with a message of a member's.
        policy: that of new subscriptions.
    """

    def __init__(self, serve: Callable[..., Any]) -> None:
        self._serve = serve
        self._others: Queue[Any] = Queue()
        self.pubsub = PubSub()
        self.members: list[Any] = []
        self.sockets: list[Any] = []
        self.on_message: Callable[[Any, Any], Any] = lambda ws, message: None
        self.policy = "close"
        self.site: Any = None

    def open(self, host: str = "blocking", secure: Any = None, **options: Any) -> None:
        """Serve."""
        server = {"server_class": WebSocketServer} if host == "server" else secure if host == "tls" else {}
        application = Callbacks(self, **options) if host == "callbacks" else WebSocketWSGI(self._handle, **options)
        self.site = self._serve(application, **server)

    def join(self, ws: Any, query: str) -> None:
        for topic in filter(None, query.split(",")):
            self.pubsub.subscribe(ws, topic, self.policy)
        self.sockets.append(get_connection(ws).stream.socket)
        self.members.append(ws)

    def _handle(self, ws: Any) -> None:
        if ws.environ["QUERY_STRING"] == "none":
            self._others.put(ws)
            ws.ended.wait()
        else:
            self.join(ws, ws.environ["QUERY_STRING"])
            for message in ws:
                self.on_message(ws, message)

    def connect(self, topics: list[str] | None = None, **options: Any) -> RawClient:
        """Return a client that has joined."""
        before = len(self.members)
        client: RawClient = self.site.connect("/?" + ",".join(["room"] if topics is None else topics), **options)
        self.wait_until(lambda: len(self.members) > before)
        return client

    def clients_without_topic(self) -> Any:
        """Return the server's end of the next connection that asked for none."""
        return self._others.get()

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Have the loop turn until it is so; the test has a deadline."""
        while not done():
            gevent.sleep(0.001)


class Callbacks(WebSocketApplication):
    """The same in callbacks."""

    def __init__(self, room: Room, **options: Any) -> None:
        super().__init__(**options)
        self.room = room

    def on_open(self, ws: Any) -> None:
        self.room.join(ws, ws.environ["QUERY_STRING"])

    def on_message(self, ws: Any, message: str) -> None:
        self.room.on_message(ws, message)


def read_messages(client: RawClient, count: int) -> list[str | bytes]:
    """Return the next messages."""
    return [client.read_message() for _ in range(count)]


def read_numbers(client: RawClient, last: int) -> list[int]:
    """Return the numbers of all messages up to the last."""
    found: list[int] = []
    while not found or found[-1] != last:
        found.append(number_of(client.read_message()))
    return found
