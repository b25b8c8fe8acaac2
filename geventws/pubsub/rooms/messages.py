"""The messages of `geventws.rooms.v1`, and their codec for both sides: docs/rooms-protocol.rst. No I/O.

    requests    Subscribe, Unsubscribe, Publish, Presence, Ping               from a client
    answers     Subscribed, Unsubscribed, Published, Members, Pong, Error     from a server, with the request's id
    events      RoomMessage, Gap, Join, Leave                                 from a server

A message is a JSON object with the fields of its class, by the same names; a field that is None is absent. Only
published data differs: it is in `data` as text, or in `base64` as bytes.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ...protocol.json import decode as decode_json
from ...protocol.json import encode as encode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SUBPROTOCOL = "geventws.rooms.v1"

MOST_STRUCTURE = 512
"""Characters of a request outside of strings: deeply nested JSON takes much more memory than its text."""

MOST_ID = 2**53 - 1
"""The largest safe integer of JavaScript."""

BAD_REQUEST, UNKNOWN_TYPE, FORBIDDEN, LIMIT, FAILED = "bad_request", "unknown_type", "forbidden", "limit", "failed"
"""The codes of errors that a server answers with."""


class Subscribe(NamedTuple):
    """Subscribe to a topic; replaces a subscription that there is.

    Attributes:
        id: the request's id, which the answer repeats.
        topic: the topic.
        since: the position after which to begin; "" for all that is kept; None for what comes from now on.
        presence: whether to see the members, and be one.
    """

    id: int
    topic: str
    since: str | None = None
    presence: bool = False


class Unsubscribe(NamedTuple):
    """End a subscription, if there is one."""

    id: int
    topic: str


class Publish(NamedTuple):
    """Publish to a topic: text or bytes."""

    id: int
    topic: str
    data: str | bytes


class Presence(NamedTuple):
    """Ask for the members of a topic."""

    id: int
    topic: str


class Ping(NamedTuple):
    """Ask for a sign of life."""

    id: int


Request: TypeAlias = "Subscribe | Unsubscribe | Publish | Presence | Ping"


class Member(NamedTuple):
    """A member of a topic.

    Attributes:
        member: the name.
        info: what the server tells of that member besides the name: any JSON value.
    """

    member: str
    info: Any = None


class Subscribed(NamedTuple):
    """The client is subscribed. Live messages follow.

    Attributes:
        id: the request's.
        topic: the topic.
        position: the position that live messages follow; None if the topic has no history.
        members: the members, if the client asked for presence.
    """

    id: int
    topic: str
    position: str | None = None
    members: tuple[Member, ...] | None = None


class Unsubscribed(NamedTuple):
    """The subscription has ended: no event of this topic follows."""

    id: int
    topic: str


class Published(NamedTuple):
    """The server has taken a message."""

    id: int
    topic: str


class Members(NamedTuple):
    """The members of a topic."""

    id: int
    topic: str
    members: tuple[Member, ...]


class Pong(NamedTuple):
    """The answer to a ping."""

    id: int


class Error(NamedTuple):
    """A request has failed: a code for programs, and a message for people."""

    id: int
    code: str
    message: str


class RoomMessage(NamedTuple):
    """A message that was published to a topic.

    Attributes:
        topic: the topic.
        data: `str` for text, `bytes` for binary.
        position: its position in the topic's history; None if the topic has none.
    """

    topic: str
    data: str | bytes
    position: str | None = None


class Gap(NamedTuple):
    """Messages may be missing here.

    Attributes:
        topic: the topic.
        position: the position to resume from; None if the topic has no history, or if messages follow, which have
            positions of their own.
    """

    topic: str
    position: str | None = None


class Join(NamedTuple):
    """A member has joined, or its info has changed."""

    topic: str
    member: str
    info: Any = None


class Leave(NamedTuple):
    """A member has left."""

    topic: str
    member: str


Answer: TypeAlias = "Subscribed | Unsubscribed | Published | Members | Pong | Error"
Event: TypeAlias = "RoomMessage | Gap | Join | Leave"

REQUESTS: dict[str, Any] = {
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "publish": Publish,
    "presence": Presence,
    "ping": Ping,
}
REPLIES: dict[str, Any] = {
    "subscribed": Subscribed,
    "unsubscribed": Unsubscribed,
    "published": Published,
    "presence": Members,
    "pong": Pong,
    "error": Error,
    "message": RoomMessage,
    "gap": Gap,
    "join": Join,
    "leave": Leave,
}
TYPES: dict[type, str] = {kind: name for kinds in (REQUESTS, REPLIES) for name, kind in kinds.items()}


class MalformedMessage(ValueError):
    """Something that is no message of the protocol: its sender does not speak the protocol."""


class BadRequest(ValueError):
    """A request that is of an unknown type, or has a wrong field. It is answered with an error.

    Attributes:
        error: the answer.
    """

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error: Error = error


def encode(message: Request | Answer | Event) -> str:
    """Return a message as text.

    Raises:
        UnicodeEncodeError: a string in it has a lone surrogate.
        TypeError, ValueError: an `info` is not a JSON value.
    """
    fields: dict[str, Any] = {"type": TYPES[type(message)]}
    for name, value in zip(message._fields, message, strict=True):
        if name == "data" and not isinstance(value, str):
            fields["base64"] = base64.b64encode(value).decode("ascii")
        elif name == "members" and value is not None:
            fields[name] = [member._asdict() for member in value]
        elif name == "info" or (value is not None and value is not False):
            fields[name] = value
    text = encode_json(fields)
    text.encode()  # the standard library's encoder lets lone surrogates through
    return text


def decode_request(text: str) -> Request:
    """Return a client's request.

    Raises:
        MalformedMessage: it is not a JSON object with a type and an id, or has more than `MOST_STRUCTURE` characters
            outside of strings.
        BadRequest: the type is unknown, or a field is wrong.
    """
    strings_apart = text.replace("\\\\", "").replace('\\"', "").split('"')[::2]
    if sum(map(len, strings_apart)) > MOST_STRUCTURE:
        raise MalformedMessage(f"more than {MOST_STRUCTURE} characters outside of strings")
    fields = _read(text)
    number: Any = fields.get("id")
    if not is_id(number):
        raise MalformedMessage("no valid id")
    kind = REQUESTS.get(fields["type"])
    if kind is None:
        raise BadRequest(Error(number, UNKNOWN_TYPE, "there is no such request"))
    try:
        request: Request = _make(kind, fields)
    except ValueError as error:
        raise BadRequest(Error(number, BAD_REQUEST, str(error))) from None
    return request


def decode_reply(text: str) -> Answer | Event | None:
    """Return a server's message; None if its type is unknown.

    Raises:
        MalformedMessage: it is not a JSON object with a type, or a field is wrong.
    """
    fields = _read(text)
    kind = REPLIES.get(fields["type"])
    if kind is None:
        return None
    try:
        reply: Answer | Event = _make(kind, fields)
    except ValueError as error:
        raise MalformedMessage(str(error)) from None
    return reply


def _read(text: str) -> dict[str, Any]:
    """Return the fields of a message; `type` is a string."""
    try:
        fields = decode_json(text)
        if "\\u" in text:
            encode_json(fields).encode()  # raises for an escaped lone surrogate, which one of the decoders accepts
    except ValueError:
        raise MalformedMessage("not JSON") from None
    if not isinstance(fields, dict):
        raise MalformedMessage("not a JSON object")
    if not isinstance(fields.get("type"), str):
        raise MalformedMessage("no type")
    return fields


def _make(kind: Any, fields: dict[str, Any]) -> Any:
    """Return a message of this kind. Raises ValueError if a field is wrong."""
    values = {}
    for name in kind._fields:
        if name == "data":
            values[name] = _read_data(fields)
        elif name in fields:
            values[name] = _check(name, fields[name])
        elif name not in kind._field_defaults:
            raise ValueError(f"{name} is missing")
    return kind(**values)


def _check(name: str, value: Any) -> Any:
    """Return the value of a field. Raises ValueError if the field may not have it."""
    if name == "members":
        return _read_members(value)
    is_right, what = CHECKS[name]
    if not is_right(value):
        raise ValueError(f"{name} is not {what}")
    return value


def _read_data(fields: Mapping[str, Any]) -> str | bytes:
    data, encoded = fields.get("data"), fields.get("base64")
    if isinstance(data, str) and "base64" not in fields:
        return data
    if "data" in fields or not isinstance(encoded, str):
        raise ValueError("there must be either data or base64, and it must be a string")
    try:
        decoded = base64.b64decode(encoded, validate=True)
        if base64.b64encode(decoded) == encoded.encode():  # the decoder accepts more than that
            return decoded
    except ValueError:
        pass
    raise ValueError("base64 is not valid, padded Base64")


def _read_members(value: Any) -> tuple[Member, ...]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("members is not an array of objects")
    return tuple([_make(Member, one) for one in value])


def is_id(value: object) -> bool:
    """Whether a value may be a request's id."""
    return type(value) is int and 0 < value <= MOST_ID


def _is_topic(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "id": (is_id, f"an integer from 1 to {MOST_ID}"),
    "topic": (_is_topic, "a string of at least one character"),
    "presence": (lambda value: isinstance(value, bool), "a boolean"),
    "info": (lambda value: True, "a value"),
    **dict.fromkeys(("since", "position", "member", "code", "message"), (_is_text, "a string")),
}
"""The checks of fields, by name, and what a valid value is: the same in all messages."""
