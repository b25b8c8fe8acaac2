"""RoomsClient: a client of `geventws.rooms.v1` over `reconnect`: docs/rooms-protocol.rst.

One greenlet reads from one connection after the other and puts what has happened into the inbox; whoever calls `wait`
takes it from there. The subscriptions outlive the connections, and know the positions to go on from.
"""

from __future__ import annotations

import itertools
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import gevent
from gevent.event import AsyncResult, Event

from ...client.options import CONNECT_DEFAULTS, ConnectOptions, OpeningOptions
from ...client.reconnection import reconnect
from ...engine.options import ConnectionOptions, complete, takes
from ...exceptions import ConnectionClosed, RoomsError
from ...frames import CloseCode
from .messages import (
    SUBPROTOCOL,
    Error,
    Gap,
    Join,
    Leave,
    MalformedMessage,
    Members,
    Presence,
    Publish,
    RoomMessage,
    Unsubscribe,
    decode_reply,
    encode,
)
from .subscription import Inbox, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self, Unpack

    from ...client.websocket import ClientWebSocket
    from .messages import Answer, Request
    from .messages import Event as RoomEvent

__all__ = ["RoomsClient"]

MAX_MESSAGE_SIZE = 8 * 1024 * 1024
"""Bytes of a server's message: one of a mebibyte that is published may take as much in JSON."""

REFUSED = (CloseCode.UNSUPPORTED_DATA, *range(4400, 4500))
"""Close codes after which coming back does not help."""

ROOMS_DEFAULTS = {
    name: MAX_MESSAGE_SIZE if name == "max_message_size" else default
    for name, default in CONNECT_DEFAULTS.items()
    if name not in ("subprotocols", "decode_text", "streaming")
}


@takes(ROOMS_DEFAULTS, OpeningOptions, ConnectionOptions)
class RoomsClient:
    """A client of rooms, which comes back after a lost connection, and then gets what it has missed.

    It connects by itself, for as long as it takes, with the delays of `reconnect`, and belongs to the thread that made
    it, where any greenlet may call everything. Close it at the end, or use it in a `with` block::

        with geventws.RoomsClient("wss://example.org/rooms") as rooms:
            rooms.subscribe("room:7")
            rooms.publish("room:7", "hello")
            for message in rooms:
                print(message.topic, message.data)

    The functions are called by `wait`, and by the loop above, in the order in which things have happened: all messages
    before a gap come before its call.

    Args:
        uri: of the server's `PubSub.endpoint`, as for `connect`.
        on_gap: called with the topic when messages of it may be missing; None calls nothing, as for the other two.
        on_join: called with topic, member and info when somebody came, or has a new info.
        on_leave: called with topic and member when somebody left.
        request_timeout: seconds for `publish` and `presence`, with all that they wait for; None for no limit.
        initial_delay, max_delay: as for `reconnect`.
        options: those of `connect`, but for `subprotocols`, `decode_text` and `streaming`. `max_message_size` is 8 MiB
            by default: what is published grows in the protocol.

    Raises:
        TypeError: there is no such option.
    """

    def __init__(
        self,
        uri: str,
        *,
        on_gap: Callable[[str], object] | None = None,
        on_join: Callable[[str, str, Any], object] | None = None,
        on_leave: Callable[[str, str], object] | None = None,
        request_timeout: float | None = 30.0,
        initial_delay: float = 1.0,
        max_delay: float = 60.0,
        **options: Unpack[ConnectOptions],
    ) -> None:
        complete(options, ROOMS_DEFAULTS, "RoomsClient")
        # what is called for an event, by its class
        self._callbacks: dict[type, Callable[..., object] | None] = {Gap: on_gap, Join: on_join, Leave: on_leave}
        self._request_timeout = request_timeout
        self._subscriptions: dict[str, Subscription] = {}  # by topic
        self._leaving: dict[str, int] = {}  # by topic: the request that ends a subscription; nothing of it counts
        self._requests: dict[int, Callable[[Answer], None]] = {}  # what is called with the answer, or an `Error`
        self._numbers = itertools.count(1)  # the ids of requests
        self._inbox = Inbox()  # what has happened and was not taken
        self._ws: ClientWebSocket | None = None  # the connection that there is now
        self._ready = Event()  # there is a connection, or will never be another one
        self._error: BaseException | None = None  # why there will be none
        options = {"max_message_size": MAX_MESSAGE_SIZE, **options, "subprotocols": [SUBPROTOCOL]}
        connections = reconnect(uri, initial_delay=initial_delay, max_delay=max_delay, **options)
        self._greenlet = gevent.spawn(self._run, connections)  # reads

    # Subscriptions

    def subscribe(self, topic: str, since: str | None = None, history: bool = False, presence: bool = False) -> None:
        """Subscribe to a topic. Does not wait for the server; `wait` raises `RoomsError` if it does not allow it.

        Args:
            topic: the topic.
            since: begin after this position, one that a message had.
            history: begin with all that the server still has of the topic.
            presence: show who is there (`members`, `on_join`, `on_leave`), and be shown.

        Raises:
            ValueError: there is a subscription to this topic already.
            UnicodeEncodeError: the topic, or the position, has a lone surrogate.
        """
        if topic in self._subscriptions:
            raise ValueError(f"there is a subscription to {topic!r} already")
        subscription = Subscription(topic, "" if since is None and history else since, presence)
        encode(subscription.request(1))
        self._subscriptions[topic] = subscription
        if self._ws is not None:
            self._begin(self._ws, subscription)

    def unsubscribe(self, topic: str) -> bool:
        """End a subscription, of which nothing comes any more; return whether there was one. Waits for nobody."""
        subscription = self._subscriptions.pop(topic, None)
        if subscription is None:
            return False
        if self._ws is not None:
            number = next(self._numbers)
            self._leaving[topic] = number
            self._requests[number] = partial(self._left, topic, number)
            self._send(self._ws, Unsubscribe(number, topic))
        return True

    def members(self, topic: str) -> dict[str, Any]:
        """Return who is there, and the info of each, for a subscription with `presence`. Does not block."""
        subscription = self._subscriptions.get(topic)
        return dict(subscription.members) if subscription is not None else {}

    # Requests

    def publish(self, topic: str, data: str | bytes) -> None:
        """Publish to a topic. Blocks until the server has the message, and before, until there is a connection.

        Args:
            topic: the topic.
            data: `str` for text, bytes-like for binary.

        Raises:
            RoomsError: the server does not allow it; or the connection was lost, and nobody knows whether the message
                was published.
            TimeoutError: it took longer than `request_timeout`.
            UnicodeEncodeError: a `str` has a lone surrogate.
            TypeError: the data is of another type.
        """
        if not isinstance(data, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"a message is str or bytes-like, not {type(data).__name__}")
        body = data if isinstance(data, str) else bytes(data)
        self._ask(lambda number: Publish(number, topic, body), topic)

    def presence(self, topic: str) -> dict[str, Any]:
        """Return who is in a topic, and the info of each. Blocks as `publish` does, and raises the same."""
        answer = self._ask(lambda number: Presence(number, topic), topic)
        return {one.member: one.info for one in cast("Members", answer).members}

    def _ask(self, make: Callable[[int], Request], topic: str) -> Answer:
        """Send a request, and return its answer."""
        number = next(self._numbers)
        request, result = make(number), AsyncResult()
        encode(request)
        with gevent.Timeout(self._request_timeout) as deadline, self._inbox.hurry():
            try:
                while self._ws is None:
                    if self._error is not None or self._greenlet.dead:
                        raise RoomsError("closed", "the client is closed", topic)
                    self._ready.wait()
                self._requests[number] = result.set
                self._send(self._ws, request)
                answer: Answer = result.get()
            except gevent.Timeout as expired:
                if expired is not deadline:
                    raise
                raise TimeoutError(f"no answer within {self._request_timeout:g} s (option: request_timeout)") from None
            finally:
                self._requests.pop(number, None)
        if isinstance(answer, Error):
            raise RoomsError(answer.code, answer.message, topic)
        return answer

    # What has happened

    def wait(self, timeout: float | None = None) -> RoomMessage | None:
        """Return the next message of the subscriptions. Blocks until there is one, through lost connections, too.

        Args:
            timeout: seconds to block at the most; None blocks for as long as the client lives.

        Returns:
            The message: its `topic`, `data`, which is `str` or `bytes`, and `position`, which is None for a topic
            without a history. None once the client is closed.

        Raises:
            RoomsError: the server does not allow a subscription, or not any more; its `topic` says which. The others go
                on. Or the server does not speak the protocol.
            ConnectionClosed: the server has closed the connection with a code that says not to come back.
            InvalidURI, HandshakeError, InvalidStatus, ssl.SSLCertVerificationError, ValueError, TypeError: as
                `reconnect`. This and the last one end the client: they are raised again by every later call.
            TimeoutError: nothing came in time; nothing is lost.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            taken = self._inbox.take(None if until is None else max(0.0, until - time.monotonic()))
            if taken is None:
                if self._error is not None:
                    raise self._error
                return None
            subscription, happened = taken
            if isinstance(happened, RoomsError):
                raise happened
            if subscription is not self._subscriptions.get(happened.topic):
                continue  # unsubscribed meanwhile
            if isinstance(happened, RoomMessage):
                return happened
            callback = self._callbacks[type(happened)]
            if callback is not None:
                callback(*(happened[:1] if isinstance(happened, Gap) else happened))

    def __iter__(self) -> Iterator[RoomMessage]:
        """Iterate over the messages, until the client is closed. Blocks, and raises, as `wait` does."""
        while (message := self.wait()) is not None:
            yield message

    # The end

    def close(self) -> None:
        """End it all. Blocks until the connection is closed, for `close_timeout` at the most. Idempotent.

        A greenlet in `wait` gets what has come, then None; one in `publish` or `presence` gets `RoomsError`.
        """
        self._greenlet.kill()
        self._end(None)

    def __enter__(self) -> Self:
        """Return the client, to be closed at the end of the block."""
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _end(self, error: BaseException | None) -> None:
        self._error = self._error or error
        self._inbox.end()
        self._ready.set()

    # The connections

    def _run(self, connections: Iterator[ClientWebSocket]) -> None:
        """Serve one connection after the other, in a greenlet of its own."""
        try:
            with closing(cast("Any", connections)):
                for ws in connections:
                    if ws.protocol != SUBPROTOCOL:
                        raise RoomsError("unsupported", f"the server does not speak {SUBPROTOCOL}")
                    self._serve(ws)
                    self._inbox.wait_for_room()
        except Exception as error:
            self._end(error)

    def _serve(self, ws: ClientWebSocket) -> None:
        """Serve a connection until it ends; raise if there should be no other one."""
        asked = False
        try:
            for subscription in list(self._subscriptions.values()):
                self._begin(ws, subscription)
            self._ws = ws
            self._ready.set()
            for text in ws:
                self._take(cast("str", text))
                if not self._inbox.has_room():  # for what comes while an answer is waited for
                    ws.close(1008, "the application is too slow")
        finally:
            self._ws = None
            self._ready.clear()
            asked = self._lose(ws)
        code, reason = ws.close_code or 1006, ws.close_reason or ""
        if code in REFUSED or (code == CloseCode.MESSAGE_TOO_BIG and not asked):  # ours: no request can be the reason
            raise ConnectionClosed(code, reason)

    def _lose(self, ws: ClientWebSocket) -> bool:
        """Give up what was asked for over a connection; return whether anything was."""
        requests, self._requests = self._requests, {}
        self._leaving.clear()
        for number, answered in requests.items():
            answered(Error(number, "lost", f"the connection was lost ({ws.close_code}) before the answer"))
        return bool(requests)

    def _send(self, ws: ClientWebSocket, request: Request) -> None:
        try:
            ws.send(encode(request))
        except ConnectionClosed:
            pass  # whoever waits for the answer is told when the connection is over

    def _take(self, text: str) -> None:
        """Take a message of the server's."""
        try:
            reply = decode_reply(text)
        except MalformedMessage as error:
            raise RoomsError("unsupported", f"the server does not speak {SUBPROTOCOL}: {error}") from None
        if reply is None:
            return
        number = getattr(reply, "id", None)
        if number is not None:
            answered = self._requests.pop(number, None)
            if answered is not None:
                answered(cast("Answer", reply))
            return
        event = cast("RoomEvent", reply)
        subscription = self._subscriptions.get(event.topic)
        if subscription is not None and event.topic not in self._leaving:
            subscription.note(event)
            self._inbox.put(subscription, event)

    def _begin(self, ws: ClientWebSocket, subscription: Subscription) -> None:
        """Ask for a subscription, for the first time or again."""
        number = next(self._numbers)
        self._requests[number] = partial(self._subscribed, subscription)
        self._send(ws, subscription.request(number))

    def _subscribed(self, subscription: Subscription, answer: Answer) -> None:
        topic = subscription.topic
        if self._subscriptions.get(topic) is not subscription or (isinstance(answer, Error) and answer.code == "lost"):
            return
        if isinstance(answer, Error):
            del self._subscriptions[topic]
            self._inbox.put(None, RoomsError(answer.code, answer.message, topic))
            return
        for event in subscription.confirm(cast("Any", answer)):
            self._inbox.put(subscription, event)

    def _left(self, topic: str, number: int, _answer: Answer) -> None:
        if self._leaving.get(topic) == number:
            del self._leaving[topic]
