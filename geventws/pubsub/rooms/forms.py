"""The forms in which clients of endpoints get what is published: messages of the protocol, made once for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...frames import Opcode
from ...protocol.prepared import PreparedMessage
from ..interface import GAP, JOIN
from .messages import Gap, Join, Leave, RoomMessage, encode

if TYPE_CHECKING:
    from ..interface import Event


class RoomForm:
    """A form of `PubSub.subscribe_as`.

    Args:
        presence: whether to tell who joins and leaves.
    """

    def __init__(self, presence: bool) -> None:
        self._presence = presence

    def message(self, topic: str, message: PreparedMessage, position: str | None) -> PreparedMessage:
        """Return the protocol's message for a published message."""
        payload = message.payload
        data = payload.decode() if message.opcode == Opcode.TEXT else payload
        return PreparedMessage(encode(RoomMessage(topic, data, position)), message.compress)

    def event(self, topic: str, event: Event) -> PreparedMessage | None:
        """Return the protocol's message for an event; None if these clients do not see it."""
        if event.kind == GAP:
            return PreparedMessage(encode(Gap(topic, event.position)))
        if event.member is None or not self._presence:
            return None
        joins = event.kind == JOIN
        return PreparedMessage(encode(Join(topic, event.member, event.info) if joins else Leave(topic, event.member)))


PLAIN, WITH_PRESENCE = RoomForm(False), RoomForm(True)
"""The forms for clients that do not see the members, and for those that do."""
