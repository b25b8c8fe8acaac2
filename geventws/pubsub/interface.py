"""What a PubSub's parts ask of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from ..protocol.prepared import PreparedMessage

GAP = "gap"


class Event(NamedTuple):
    """What subscribers are told of a topic besides its messages.

    Attributes:
        kind: "gap": messages are missing here.
        position: the position after it; None for a topic of which no history is kept.
    """

    kind: str
    position: str | None


class Form(Protocol):
    """How a group of subscribers gets what is published: in an envelope, say. Called once for all of them.

    To be equal to itself alone: one object for all subscribers who get the same bytes. Called by whoever publishes, in
    the hub too: it must not block, and must not raise.
    """

    def message(self, topic: str, message: PreparedMessage, position: str | None) -> PreparedMessage:
        """Return what is sent for a message.

        Args:
            topic: where it was published.
            message: the message.
            position: its position; None for a topic of which no history is kept.
        """

    def event(self, topic: str, event: Event) -> PreparedMessage:
        """Return what is sent for an event."""
