"""Session: one client of an endpoint. It reads requests, and handles one after another.

Live messages do not pass through a session: the PubSub sends them to the connection, in the forms of forms.py. So a
request that blocks does not delay them, and a client that asks for much delays only its own answers.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent

from ...engine.published.outlet import SendResult
from ...exceptions import ConnectionClosed
from ...frames import CloseCode
from ...websocket import get_connection
from .forms import PLAIN, WITH_PRESENCE
from .messages import (
    FAILED,
    FORBIDDEN,
    LIMIT,
    BadRequest,
    Error,
    Gap,
    MalformedMessage,
    Member,
    Members,
    Ping,
    Pong,
    Presence,
    Publish,
    Published,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    decode_request,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...handshake.origins import Environ
    from ...websocket import WebSocket
    from .messages import Answer, Request

    Authorize = Callable[[Environ, str, str], object]
    FindMember = Callable[[Environ], str | tuple[str, Any] | None]

logger: logging.Logger = logging.getLogger("geventws")

MALFORMED = 4400
"""The close code for a client that does not speak the protocol."""

CHUNK = 8
"""Messages of a history that are read and sent at once."""

REQUEST_UNITS = 8
"""The units of work that a request counts as in the loop's turn: see engine/loop/turns.py."""


class Access(NamedTuple):
    """The rules for clients: what they may do, and who they are.

    Attributes:
        authorize, member: functions of the application: see `PubSub.endpoint`.
        max_topic_length: characters that a topic may have.
    """

    authorize: Authorize | None
    member: FindMember | None
    max_topic_length: int


class Refused(Exception):
    """A request has failed: its arguments are the code and the message of the error to answer with."""


class Session:
    """One client.

    Args:
        ws: the connection.
        pubsub: the PubSub.
        access: the rules for clients.
    """

    def __init__(self, ws: WebSocket, pubsub: Any, access: Access) -> None:
        self._ws = ws
        self._pubsub = pubsub
        self._access = access
        self._turns = get_connection(ws).stream.poller.turns  # so that many requests do not hold up the loop

    def run(self) -> None:
        """Handle the requests, until the connection is over or the client breaks the protocol."""
        for message in self._ws:
            if isinstance(message, bytes):
                self._ws.close(CloseCode.UNSUPPORTED_DATA, "a message of this protocol is text")
                return
            try:
                self._handle(message)
            except MalformedMessage as error:
                self._ws.close(MALFORMED, str(error))
                return
            self._turns.spend(REQUEST_UNITS)

    def _handle(self, text: str) -> None:
        try:
            request = decode_request(text)
        except BadRequest as bad:
            self._ws.send(encode(bad.error))
            return
        try:
            answer = self._answer(request)
        except Refused as refused:
            code, why = refused.args
            answer = Error(request.id, code, why)
        if answer is not None:
            self._ws.send(encode(answer))

    def _answer(self, request: Request) -> Answer | None:
        """Handle a request. Return the answer, or None if it was sent already. Raises Refused."""
        if isinstance(request, Subscribe):
            self._subscribe(request)
            return None
        if isinstance(request, Unsubscribe):
            self._leave(request.topic)
            return Unsubscribed(request.id, request.topic)
        if isinstance(request, Publish):
            self._check("publish", request.topic)
            self._pubsub.publish(request.topic, request.data)
            self._turns.look()  # it may have been sent to many
            return Published(request.id, request.topic)
        if isinstance(request, Presence):
            self._check("presence", request.topic)
            return Members(request.id, request.topic, self._list_members(request.topic))
        assert isinstance(request, Ping)
        return Pong(request.id)

    def _check(self, action: str, topic: str) -> None:
        """Raise Refused if the client may not do this. May block."""
        authorize, longest = self._access.authorize, self._access.max_topic_length
        if len(topic) > longest:
            raise Refused(LIMIT, f"a topic has at most {longest} characters (max_topic_length), not {len(topic)}")
        if authorize is None or not self._ask("authorize", lambda: authorize(self._ws.environ, action, topic)):
            raise Refused(FORBIDDEN, f"{action} to {topic!r} is not allowed")

    def _ask(self, name: str, ask: Callable[[], Any]) -> Any:
        """Call a function of the application. Raises Refused if it raises."""
        try:
            return ask()
        except ConnectionClosed:
            raise
        except (Exception, gevent.Timeout):
            logger.exception("%s: %s of PubSub.endpoint failed", get_connection(self._ws).peer, name)
            raise Refused(FAILED, "the server has failed") from None

    # Subscriptions

    def _leave(self, topic: str) -> None:
        """End a subscription. The member leaves later: one that subscribes again soon neither leaves nor joins."""
        self._pubsub.unsubscribe(self._ws, topic)
        self._pubsub.untrack(self._ws, topic, at_once=False)

    def _subscribe(self, request: Subscribe) -> None:
        """Send what was missed, subscribe, and answer with the position of the last message sent before the answer."""
        topic = request.topic
        self._leave(topic)
        self._check("subscribe", topic)
        name, info = self._find_member(topic) if request.presence else (None, None)
        position = self._join(topic, request.since)
        members = None
        if request.presence:
            if name is not None:
                try:
                    self._ask("member", lambda: self._pubsub.track(self._ws, topic, name, info))
                except Refused:
                    self._leave(topic)
                    raise
            self._list_members(topic)  # over a bus this may block, and messages are sent meanwhile
            position = self._pubsub.subscribe_as(self._ws, topic, WITH_PRESENCE).position  # after those messages
            members = self._list_members(topic)  # does not block now
        if self._ws.try_send(encode(Subscribed(request.id, topic, position, members))) is SendResult.DROPPED:
            self._ws.close(CloseCode.TRY_AGAIN_LATER, "too slow")

    def _find_member(self, topic: str) -> tuple[str | None, Any]:
        """Return the name and the info of the member that this client is; None twice if it is none. May block."""
        self._check("presence", topic)
        member = self._access.member
        if member is None:
            return None, None

        def find() -> tuple[str | None, Any]:
            found = member(self._ws.environ)
            name, info = found if isinstance(found, tuple) else (found, None)
            return name, info

        found: tuple[str | None, Any] = self._ask("member", find)
        return found

    def _list_members(self, topic: str) -> tuple[Member, ...]:
        return tuple([Member(*one) for one in self._pubsub.presence(topic).items()])

    def _join(self, topic: str, since: str | None) -> str | None:
        """Send all that was published after a position, and subscribe; return the position before live messages."""
        while True:
            since = self._catch_up(topic, since)
            try:
                joined = self._pubsub.subscribe_as(self._ws, topic, PLAIN, since=since)
            except ValueError as error:
                raise Refused(LIMIT, str(error)) from None
            if not joined.messages and not joined.gap:
                position: str | None = joined.position
                return position
            self._pubsub.unsubscribe(self._ws, topic)  # or live messages would be sent before these
            self._send_part(topic, joined, since)
            since = joined.position

    def _catch_up(self, topic: str, since: str | None) -> str | None:
        """Send what was published after a position, part by part; return the position of the last message.

        It blocks while the client does not read. What is published meanwhile is kept in the history, which is bounded,
        and is sent from there.
        """
        while since is not None:
            part = self._pubsub.history_as(topic, PLAIN, since, CHUNK)
            self._send_part(topic, part, since)
            since = part.position
            if not part.messages:
                break
        return since

    def _send_part(self, topic: str, part: Any, since: str | None) -> None:
        """Send a part of the history, after a gap if there is one. A client that asks for all (`""`) gets no gap."""
        if part.gap and since != "":
            self._ws.send(encode(Gap(topic, None if part.messages else part.position)))
        for message in part.messages:
            self._ws.send(message)
