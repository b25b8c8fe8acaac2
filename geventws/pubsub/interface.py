"""What a PubSub's parts ask of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..protocol.prepared import PreparedMessage
from .history import Position

if TYPE_CHECKING:
    from collections.abc import Callable

    from .history import Found, Rule

GAP, JOIN, LEAVE = "gap", "join", "leave"


class Event(NamedTuple):
    """What subscribers are told of a topic besides its messages.

    Attributes:
        kind: GAP: messages are missing here. JOIN: a member is there, or has another info; LEAVE: it is not any more.
        position: the position after a gap; None for a topic of which no history is kept.
        member: who joins or leaves.
        info: what is told of it, as `json` has it.
    """

    kind: str
    position: str | None = None
    member: str | None = None
    info: Any = None


class Stay(NamedTuple):
    """That a member is in a process, or is not any more.

    Attributes:
        node: the process.
        member: the member's name.
        info: what is told of it; on its way, as JSON.
        there: whether it is there.
    """

    node: bytes
    member: str
    info: Any
    there: bool = True


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

    def event(self, topic: str, event: Event) -> PreparedMessage | None:
        """Return what is sent for an event, or None for nothing."""


class Formed(NamedTuple):
    """What `Recovered` is, in a form."""

    messages: list[PreparedMessage]
    position: str | None
    gap: bool


def make_formed(found: Found, topic: str, form: Form) -> Formed:
    """Return in a form what was found of a topic."""
    if found.position is None:
        return Formed([], None, found.gap)
    epoch, last = found.position
    first = last - len(found.kept) + 1
    messages = [
        form.message(topic, PreparedMessage(kept.message), str(Position(epoch, first + number)))
        for number, kept in enumerate(found.kept)
    ]
    return Formed(messages, str(found.position), found.gap)


class BusStats(NamedTuple):
    """What became of what this process has published to others, and what it has got from them.

    published = sent + queued + dropped, at every moment.
    """

    up: bool
    """Whether Redis is there, as far as is known."""
    published: int
    """Messages that were to be published."""
    sent: int
    """Those that Redis has taken."""
    queued: int
    """Those that it has not answered yet."""
    dropped: int
    """Those that found no room, for which there was no connection for 5 seconds, or that Redis has refused."""
    received: int
    """Messages of other processes."""
    repeated: int
    """Those that came twice, and were delivered once."""
    skipped: int
    """Those that were none of geventws, or of another version."""
    gaps: int
    """How often subscribers of a topic may have missed something."""
    reconnects: int
    """How often a connection was made anew."""


class Bus(Protocol):
    """How a PubSub reaches those of other processes. What it hears it tells a `Receiver`.

    Any thread may call it. Nothing but `read` may block, and nothing of it may call the receiver while it holds a lock.

    Attributes:
        nodes: the names of this process.
    """

    nodes: set[bytes]

    def start(self, receiver: Receiver) -> None:
        """Take the receiver, before all else."""

    def subscribe(self, topic: str, rule: Rule | None) -> None:
        """Hear what is published to a topic: it has its first subscriber in this process, or somebody reads it.

        Args:
            topic: the topic.
            rule: how much of it is kept; None for nothing. If it is kept, `fill` follows, and then each message once.
        """

    def unsubscribe(self, topic: str) -> None:
        """Hear it no more: the last has left. The bus may go on for some seconds, should somebody come back."""

    def publish(
        self, topic: str, message: PreparedMessage, key: str | None, rule: Rule | None, ticket: int | None
    ) -> bool:
        """Publish a message: to other processes where nothing is kept, or else to all, also to this one.

        Args:
            topic: the topic.
            message: the message.
            key: what it is about, for subscribers with the policy "latest".
            rule: how much of the topic is kept.
            ticket: with what a message that is kept comes back here.

        Returns:
            False where too much waits to be published, so that it is dropped.
        """

    def read(self, topic: str, rule: Rule) -> None:
        """Block until the receiver has been told by `fill` what is kept of a topic that is subscribed to.

        All who read at the same time wait for the same answer.

        Raises:
            TimeoutError: there is no connection, or no answer in time, or the caller must not block.
        """

    def ask(self, command: Callable[[Any, bytes], bytes], done: Callable[[Any], object]) -> None:
        """Send a command about members to Redis; call `done` in the bus's loop with the answer, or None for none.

        Args:
            command: makes the command, of the names of keys and of this process's.
            done: takes the answer. It must not raise.
        """


class Receiver(Protocol):
    """What a bus tells. Nothing here blocks, and any thread may call it, one after the other.

    Attributes:
        register: what it tells of members.
    """

    register: Register

    def receive(self, topic: str, message: PreparedMessage, key: str | None) -> None:
        """Take a message of another process, of a topic of which nothing is kept."""

    def receive_at(
        self, topic: str, position: Position, message: PreparedMessage, key: str | None, ticket: int | None
    ) -> None:
        """Take a message of a topic that is kept, in the order of the positions.

        Args:
            topic: the topic.
            position: its position.
            message: the message.
            key: what it is about.
            ticket: what `publish` was given, where this process has published it.
        """

    def fill(self, topic: str, position: Position, messages: list[tuple[float, PreparedMessage]]) -> None:
        """Take what is kept of a topic, or a part of it, after which the next part is told.

        Args:
            topic: the topic.
            position: that of the last message.
            messages: how many seconds ago each was published, and the message, without a hole.
        """

    def lost(self, topic: str) -> None:
        """Note that messages were missed, perhaps, of a topic of which nothing is kept."""

    def tell_bus(self, is_up: bool) -> None:
        """Note that the bus is connected, or is not any more. Called in a greenlet of its own, which may block."""


class Register(Protocol):
    """What a bus tells of members. All is called in the bus's loop, and does not block."""

    def confirmed(self, topic: str) -> None:
        """Note that the bus tells of a topic from now on, for the first time or again."""

    def receive_stay(self, topic: str, stay: Stay) -> None:
        """Note that a member is in another process, or is not any more."""

    def tick(self) -> None:
        """Do what is due. Called each second or so."""
