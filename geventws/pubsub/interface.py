"""The interfaces between the parts of a PubSub, and the values that they exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..protocol.prepared import PreparedMessage
from .history import Position

if TYPE_CHECKING:
    from collections.abc import Callable

    from .history import Found, Rule

GAP, JOIN, LEAVE = "gap", "join", "leave"


class Event(NamedTuple):
    """What the subscribers of a topic hear besides its messages.

    Attributes:
        kind: GAP: messages are missing here. JOIN: a member has joined, or its info has changed. LEAVE: it has left.
        position: the position after a gap; None if the topic has no history.
        member: the name of the member that joins or leaves.
        info: the member's info, as `json` decodes it.
    """

    kind: str
    position: str | None = None
    member: str | None = None
    info: Any = None


class Stay(NamedTuple):
    """The statement that a member is in a process, or no longer is.

    Attributes:
        node: the name of the process.
        member: the member's name.
        info: the member's info; as JSON text while it travels over the bus.
        there: whether the member is in the process.
    """

    node: bytes
    member: str
    info: Any
    there: bool = True


class Form(Protocol):
    """A form that turns what is published into what a group of subscribers gets: an envelope round it, say.

    It is called once per publication, for the whole group: subscribers who are to share the bytes need the same object
    as their form. Whoever publishes calls it, the hub included: it must not block, and must not raise.
    """

    def message(self, topic: str, message: PreparedMessage, position: str | None) -> PreparedMessage:
        """Return what is sent for a message.

        Args:
            topic: where it was published.
            message: the message.
            position: its position; None if the topic has no history.
        """

    def event(self, topic: str, event: Event) -> PreparedMessage | None:
        """Return what is sent for an event, or None to send nothing."""


class Formed(NamedTuple):
    """The same as `Recovered`, with the messages in a form."""

    messages: list[PreparedMessage]
    position: str | None
    gap: bool


def make_formed(found: Found, topic: str, form: Form) -> Formed:
    """Return what was found of a topic, with the messages in a form."""
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
    """Counts of the messages that this process has published to others, and of those that it has received from them.

    published = sent + queued + dropped, at every moment.
    """

    up: bool
    """Whether Redis can be reached, as far as is known."""
    published: int
    """Messages that this process wanted to publish."""
    sent: int
    """Messages that Redis has accepted."""
    queued: int
    """Messages that Redis has not answered yet."""
    dropped: int
    """Messages that the full queue had no room for, that waited 5 seconds for a connection, or that Redis refused."""
    received: int
    """Messages from other processes."""
    repeated: int
    """Messages that arrived twice, and were delivered once."""
    skipped: int
    """Messages that are not geventws's, or are of another version of its format."""
    gaps: int
    """How often subscribers of a topic may have missed something."""
    reconnects: int
    """How often a lost connection was opened again."""


class Stats(NamedTuple):
    """What became of the published messages. A message counts once for each of its subscribers.

    published = sent + queued + dropped + abandoned, at every moment.
    """

    published: int
    """Messages that were to be sent."""
    sent: int
    """Messages that the kernel has accepted."""
    queued: int
    """Messages that wait to be sent."""
    dropped: int
    """Messages that the policy dropped because a subscriber's queue was full."""
    abandoned: int
    """Messages whose connection ended before they were sent."""
    topics: int
    """Topics that have subscribers."""
    subscriptions: int
    """Subscriptions of all connections."""
    bus: BusStats | None = None
    """Counts of messages to and from other processes; None without a bus."""


class Bus(Protocol):
    """The way from a PubSub to those of other processes. It passes what it receives to a `Receiver`.

    Any thread may call any method. Only `read` may block, and no method may call the receiver while it holds a lock.

    Attributes:
        nodes: the names of this process.
    """

    nodes: set[bytes]

    def start(self, receiver: Receiver) -> None:
        """Set the receiver. Called before every other method."""

    def subscribe(self, topic: str, rule: Rule | None) -> None:
        """Receive what is published to a topic. Called for its first subscriber, or reader, in this process.

        Args:
            topic: the topic.
            rule: how much of it is kept; None for nothing. If it is kept, the bus calls `fill`, and then `receive_at`
                once for each message.
        """

    def unsubscribe(self, topic: str) -> None:
        """Stop receiving a topic: its last subscriber has left. The bus may wait some seconds, in case one returns."""

    def publish(
        self, topic: str, message: PreparedMessage, key: str | None, rule: Rule | None, ticket: int | None
    ) -> bool:
        """Publish a message: to the other processes if nothing is kept of the topic, or else to all, this one included.

        Args:
            topic: the topic.
            message: the message.
            key: what the message is about, for subscribers with the policy "latest".
            rule: how much of the topic is kept; None for nothing.
            ticket: a number that comes back with the message, if the topic is kept.

        Returns:
            False if the message is dropped because too much waits to be published.
        """

    def read(self, topic: str, rule: Rule) -> None:
        """Block until `fill` has passed the receiver what is kept of a topic that this process is subscribed to.

        All who read a topic at the same time wait for the same answer.

        Raises:
            TimeoutError: there is no connection, no answer in time, or the caller must not block.
        """

    def ask(self, command: Callable[[Any, bytes], bytes], done: Callable[[Any], object]) -> None:
        """Send a command about members to Redis.

        Args:
            command: builds the command from the names of keys and the name of this process.
            done: called in the bus's loop with the answer, or with None if there is none. It must not raise.
        """


class Receiver(Protocol):
    """What a bus calls with what it receives. No method blocks; any thread may call one, but only one at a time.

    Attributes:
        register: what the bus calls with changes of members.
    """

    register: Register

    def receive(self, topic: str, message: PreparedMessage, key: str | None) -> None:
        """Take a message from another process, published to a topic without history."""

    def receive_at(
        self, topic: str, position: Position, message: PreparedMessage, key: str | None, ticket: int | None
    ) -> None:
        """Take a message published to a topic with history. The messages come in the order of their positions.

        Args:
            topic: the topic.
            position: the message's position.
            message: the message.
            key: what the message is about.
            ticket: what `publish` was given, if this process has published the message.
        """

    def fill(self, topic: str, position: Position, messages: list[tuple[float, PreparedMessage]]) -> None:
        """Take what is kept of a topic, or a part of it; the next part follows in another call.

        Args:
            topic: the topic.
            position: the position of the last message.
            messages: consecutive messages, each with the seconds since it was published.
        """

    def lost(self, topic: str) -> None:
        """Note that messages of a topic without history may have been missed."""

    def tell_bus(self, is_up: bool) -> None:
        """Note that the bus is connected, or no longer is. Called in a greenlet of its own, which may block."""


class Register(Protocol):
    """What a bus calls with changes of members. It calls in its own loop; no method blocks."""

    def confirmed(self, topic: str) -> None:
        """Note that this process receives a topic from now on, for the first time or again."""

    def receive_stay(self, topic: str, stay: Stay) -> None:
        """Note that a member is in another process, or no longer is."""

    def tick(self) -> None:
        """Do what is due. Called about once a second."""
