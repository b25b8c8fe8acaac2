"""RoomsClient: a client of `geventws.rooms.v1` over `reconnect`: docs/rooms-protocol.rst.

One greenlet reads from one connection after another and puts events into the inbox; `wait` takes them out. The
subscriptions outlive the connections, and know the positions to resume from.
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
"""Bytes of a server's message: a published message of one mebibyte may take that much in JSON."""

REFUSED = (CloseCode.UNSUPPORTED_DATA, *range(4400, 4500))
"""Close codes after which the client does not reconnect, as that would not help."""

ROOMS_DEFAULTS = {
    name: MAX_MESSAGE_SIZE if name == "max_message_size" else default
    for name, default in CONNECT_DEFAULTS.items()
    if name not in ("subprotocols", "decode_text", "streaming")
}


@takes(ROOMS_DEFAULTS, OpeningOptions, ConnectionOptions)
class RoomsClient:
    """A client of rooms. It reconnects after a lost connection, and then gets what it has missed.

    It connects in a greenlet of its own, and tries again with the delays of `reconnect` until it succeeds. Any greenlet
    of the thread that made it may call any method. Close it at the end, or use it in a `with` block::

        with geventws.RoomsClient("wss://example.org/rooms") as rooms:
            rooms.subscribe("room:7")
            rooms.publish("room:7", "hello")
            for message in rooms:
                print(message.topic, message.data)

    The functions are called within `wait` and the loop above, in order with the messages: all messages before a gap are
    returned before `on_gap` is called.

    Args:
        uri: the URI of the server's `PubSub.endpoint`, as for `connect`.
        on_gap: called with the topic when messages of it may be missing; None, the default, calls nothing, as for the
            other two.
        on_join: called with topic, member and info when a member has joined, or its info has changed.
        on_leave: called with topic and member when a member has left.
        request_timeout: seconds that `publish` and `presence` block at most: 30 by default; None for no limit.
        initial_delay, max_delay: as for `reconnect`.
        options: those of `connect`, except `subprotocols`, `decode_text` and `streaming`. `max_message_size` is 8 MiB
            by default, as a published message grows in JSON.

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
        # what to call for an event, by its class
        self._callbacks: dict[type, Callable[..., object] | None] = {Gap: on_gap, Join: on_join, Leave: on_leave}
        self._request_timeout = request_timeout
        self._subscriptions: dict[str, Subscription] = {}  # by topic
        self._leaving: dict[str, int] = {}  # by topic: the pending unsubscribe request; until its answer, ignore events
        self._requests: dict[int, Callable[[Answer], None]] = {}  # by id: what to call with the answer, or an `Error`
        self._numbers = itertools.count(1)  # the ids of requests
        self._inbox = Inbox()  # events that `wait` has not taken yet
        self._ws: ClientWebSocket | None = None  # the current connection
        self._ready = Event()  # set if there is a connection, or the client has ended
        self._error: BaseException | None = None  # the error that has ended the client
        options = {"max_message_size": MAX_MESSAGE_SIZE, **options, "subprotocols": [SUBPROTOCOL]}
        connections = reconnect(uri, initial_delay=initial_delay, max_delay=max_delay, **options)
        self._greenlet = gevent.spawn(self._run, connections)  # connects and reads

    # Subscriptions

    def subscribe(self, topic: str, since: str | None = None, history: bool = False, presence: bool = False) -> None:
        """Subscribe to a topic. Does not block; `wait` raises `RoomsError` if the server does not allow it.

        Args:
            topic: the topic.
            since: begin after this position, which a message had; None, the default, for what comes from now on.
            history: without `since`, begin with all messages that the server has kept of the topic.
            presence: see the members (`members`, `on_join`, `on_leave`), and be one if the server gives this client a
                name.

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
        """End a subscription; return whether there was one. No event of it arrives after this. Does not block."""
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
        """Return the members of a topic, and the info of each, for a subscription with `presence`. Does not block."""
        subscription = self._subscriptions.get(topic)
        return dict(subscription.members) if subscription is not None else {}

    # Requests

    def publish(self, topic: str, data: str | bytes) -> None:
        """Publish to a topic. Blocks until there is a connection, and the server has confirmed the message.

        Args:
            topic: the topic.
            data: `str` for text, bytes-like for binary.

        Raises:
            RoomsError: the server does not allow it; the client is closed; or the connection was lost before the
                answer, so that the message may have been published, or not.
            TimeoutError: it took longer than `request_timeout`.
            UnicodeEncodeError: a `str` has a lone surrogate.
            TypeError: the data is of another type.
        """
        if not isinstance(data, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"a message is str or bytes-like, not {type(data).__name__}")
        body = data if isinstance(data, str) else bytes(data)
        self._ask(lambda number: Publish(number, topic, body), topic)

    def presence(self, topic: str) -> dict[str, Any]:
        """Return the members of a topic, and the info of each. Blocks, and raises, as `publish` does."""
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

    # Events

    def wait(self, timeout: float | None = None) -> RoomMessage | None:
        """Return the next message of any subscription. Blocks until there is one, across reconnections.

        Args:
            timeout: seconds to block at most; None, the default, for no limit.

        Returns:
            The message: its `topic`, `data` (`str` or `bytes`) and `position` (None for a topic without history). None
            once the client is closed.

        Raises:
            RoomsError: the server does not allow, or has ended, the subscription to the error's `topic`; the others go
                on. Without a `topic`: the server does not speak the protocol.
            ConnectionClosed: the server has closed the connection with a code that tells clients not to reconnect.
            InvalidURI, HandshakeError, InvalidStatus, ssl.SSLCertVerificationError, ValueError, TypeError: as
                `reconnect`. An error of these two lines, or one without a topic, ends the client: every later call
                raises it again.
            TimeoutError: no message arrived in time. No message is lost.
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
        """Close the client. Blocks until the connection is closed, for `close_timeout` at most. Idempotent.

        `wait` returns the messages that have arrived, and then None; `publish` and `presence` raise `RoomsError`.
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
        """Serve one connection after another, in a greenlet of its own."""
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
        """Serve a connection until it ends; raise if the client should not reconnect."""
        asked = False
        try:
            for subscription in list(self._subscriptions.values()):
                self._begin(ws, subscription)
            self._ws = ws
            self._ready.set()
            for text in ws:
                self._take(cast("str", text))
                if not self._inbox.has_room():  # `publish` waits for an answer, so reading went on beyond the limit
                    ws.close(1008, "the application is too slow")
        finally:
            self._ws = None
            self._ready.clear()
            asked = self._lose(ws)
        code, reason = ws.close_code or 1006, ws.close_reason or ""
        # 1009 without a request: a message of the server's was too big for us, and would be again
        if code in REFUSED or (code == CloseCode.MESSAGE_TOO_BIG and not asked):
            raise ConnectionClosed(code, reason)

    def _lose(self, ws: ClientWebSocket) -> bool:
        """Fail the requests that a connection has not answered; return whether there were any."""
        requests, self._requests = self._requests, {}
        self._leaving.clear()
        for number, answered in requests.items():
            answered(Error(number, "lost", f"the connection was lost ({ws.close_code}) before the answer"))
        return bool(requests)

    def _send(self, ws: ClientWebSocket, request: Request) -> None:
        try:
            ws.send(encode(request))
        except ConnectionClosed:
            pass  # whoever waits for the answer gets an error when the connection is over

    def _take(self, text: str) -> None:
        """Take a message from the server."""
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
