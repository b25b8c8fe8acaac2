"""The slow path of sending: for messages that are large, masked or compressed, for frames that are encoded already, and
for messages in parts, between which no other message may go (RFC 6455 5.4).

`WebSocket.send` itself sends small messages that leave as they are, and calls these functions for all others. They
block this greenlet only, and any greenlet of the connection's thread may call them.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

from gevent.event import Event
from greenlet import getcurrent

from ..exceptions import ConcurrencyError, ConnectionClosed
from ..frames import BINARY, FIN, TEXT, encode_header
from ..protocol.prepared import LARGE_TO_COMPRESS, PreparedMessage
from .loop.outbox import IN_PARTS
from .loop.poller import get_thread
from .loop.turns import UNIT_SIZE, UNITS

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator
    from types import TracebackType

    from ..protocol.interface import ConnectionProtocol
    from .closing import Closing
    from .stream import Stream

LARGE = 16 * 1024
"""Payloads beyond this size are sent without copying them after their header."""

PLAIN_LIMIT = 1536
"""The largest payload that may be corked, and that skips the protocol on its way out if it leaves as it is."""

FRAME_UNITS = 4
"""The work, in the units of turns.py, of sending a frame by the slow path, perhaps with others."""

Payload: TypeAlias = "bytes | memoryview"


class Headers(dict[int, list[bytes]]):
    """The headers of frames with a payload of less than 126 bytes, by their first byte and that size (RFC 6455 5.2).

    The headers for a first byte are made when one of them is first needed.
    """

    def __missing__(self, head: int) -> list[bytes]:
        headers = self[head] = [bytes((head, size)) for size in range(126)]
        return headers


HEADERS = Headers()


class Releasing(Protocol):
    """The outlet for messages that others send to a connection. It holds them while a message is sent in parts."""

    sharing: Hashable

    def release(self) -> None:
        """Send the messages that were held."""


class Sender(Protocol):
    """The connection that sends: see `Connection`, which has these described."""

    stream: Stream
    protocol: ConnectionProtocol
    fragments: Fragments | None

    @property
    def outlet(self) -> Releasing | None:
        """What others send to it."""

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""

    @property
    def closing(self) -> Closing:
        """Its end."""

    def closed_error(self) -> ConnectionClosed:
        """Return the error that says how the connection ended."""


def find_plain_limit(connection: Sender) -> int:
    """Return the largest payload, in bytes, that may be sent as it is, past the protocol; -1 if none may."""
    protocol = connection.protocol
    outlet = connection.outlet
    if connection.closed or not protocol.plain_frames or (outlet is not None and outlet.sharing is None):
        return -1
    return min(PLAIN_LIMIT, protocol.extension.threshold - 1) if protocol.extension else PLAIN_LIMIT


class Fragments:
    """A message that is being sent in parts. No other message begins in a `with` block of this object.

    Args:
        connection: where it goes.
    """

    __slots__ = ("_connection", "_done", "_owner")

    def __init__(self, connection: Sender) -> None:
        self._connection = connection
        self._owner = getcurrent()  # who sends the parts
        self._done = Event()  # set when the message is done

    def __enter__(self) -> None:
        """Wait for our turn, and take it."""
        take_turn(self._connection)
        self._connection.fragments = self
        self._connection.stream.plain_limit = -1
        self._connection.stream.poller.outbox.shut(self._connection, IN_PARTS, True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let others have their turn."""
        connection = self._connection
        connection.stream.poller.outbox.settle(connection.stream)  # the last parts, before what was published meanwhile
        connection.fragments = None
        connection.stream.plain_limit = find_plain_limit(connection)
        connection.stream.poller.outbox.shut(connection, IN_PARTS, False)
        if connection.outlet is not None:
            connection.outlet.release()
        self._done.set()

    def wait(self) -> None:
        """Block until the message is done, or its greenlet stops sending it."""
        if self._owner is getcurrent():
            raise ConcurrencyError("this greenlet is sending the parts of a message")
        self._done.wait()


def take_turn(connection: Sender) -> None:
    """Block while another greenlet sends the parts of a message.

    Raises:
        ConnectionClosed: the connection is closed or closing.
        ConcurrencyError: this very greenlet sends them.
    """
    stream = connection.stream
    if stream.blocked:
        try:
            stream.wait_for_room()
        except OSError:
            fail(connection)
    while connection.fragments is not None and not connection.closed:  # last: no other message may begin before ours
        connection.fragments.wait()
    if connection.closed:
        raise connection.closed_error()
    if stream.poller.outbox.holds:
        stream.poller.outbox.settle(stream)  # messages that were sent before are compressed before


def send_other(connection: Sender, message: Any, compress: bool | None) -> None:
    """Send a message that is not exactly str or bytes. A buffer is copied, as it may change while it waits."""
    if isinstance(message, PreparedMessage):
        _send_prepared(connection, message)
    elif isinstance(message, str):
        send_message(connection, TEXT, message.encode(), compress)
    elif isinstance(message, (bytes, bytearray, memoryview)):
        send_message(connection, BINARY, bytes(message), compress)
    elif hasattr(message, "__iter__") and not isinstance(message, (Mapping, Set)):
        _send_parts(connection, message, compress)
    else:
        raise TypeError(f"a message is str or bytes-like, not {type(message).__name__}; send_json sends JSON")


def send_message(connection: Sender, head: int, payload: Payload, compress: bool | None) -> None:
    """Send one message of any size, on either side."""
    check_thread(connection)
    extension = connection.protocol.extension
    if connection.stream.plain_limit == PLAIN_LIMIT and extension is None:  # it leaves as it is
        send_frame(connection, encode_header(head, len(payload)), payload)
        return
    if extension is not None and len(payload) > LARGE_TO_COMPRESS and extension.wants(len(payload), compress):
        _send_slowly(connection, head | extension.header_bits, extension.encode_slowly(payload))
        return
    take_turn(connection)
    send_frame(connection, *connection.protocol.encode_message(head, payload, compress))


def _send_prepared(connection: Sender, message: PreparedMessage) -> None:
    """Send a message in the same frame that others get, if this connection can share it."""
    extension = connection.protocol.extension
    if connection.protocol.client or (extension is not None and extension.sharing is None):
        send_message(connection, FIN | message.opcode, message.payload, message.compress)
        return
    if extension is not None and message.is_slow(extension):
        check_thread(connection)
        with Fragments(connection):
            for _ in message.encode_slowly(extension):
                connection.stream.poller.turns.spend(UNITS)
            if connection.closed:
                raise connection.closed_error()
            send_frame(connection, b"", message.encode(extension))
        return
    send_frames(connection, message.encode(extension))


def _send_slowly(connection: Sender, head: int, parts: Iterator[bytes]) -> None:
    """Send a large message that is compressed in slices; the loop has its turn between them when that is due."""
    compressed = bytearray()
    with Fragments(connection):  # so that what is published meanwhile goes after it
        for part in parts:
            compressed += part
            connection.stream.poller.turns.spend(UNITS)
        if connection.closed:
            raise connection.closed_error()
        send_frame(connection, *connection.protocol.encode_message(head, memoryview(compressed), False))


def _send_parts(connection: Sender, parts: Iterable[Any], compress: bool | None) -> None:
    """Send one message in fragments, each as soon as its part is produced."""
    check_thread(connection)
    begun = finished = False
    try:
        with Fragments(connection):
            for header, payload in connection.protocol.encode_parts(parts, compress):
                if connection.closed:
                    raise connection.closed_error()
                begun = True
                send_frame(connection, header, payload)
        finished = True
    finally:
        if begun and not finished and not connection.closed:
            connection.closing.begin(1011, "a message was not finished")


def send_frames(connection: Sender, data: bytes) -> None:
    """Send whole frames that are encoded already, once no message is being sent in parts.

    Raises:
        ConnectionClosed: the connection is closed or closing.
    """
    check_thread(connection)
    take_turn(connection)
    send_frame(connection, b"", data)


def send_frame(connection: Sender, header: bytes, payload: Payload) -> None:
    """Send one frame without waiting for a turn; a small one may be corked while the handler has messages to take.

    Raises:
        ConnectionClosed: the connection is lost.
    """
    stream = connection.stream
    try:
        if len(payload) > LARGE:
            stream.send_large(header, payload)
        elif connection.protocol.pending and len(payload) <= PLAIN_LIMIT:
            begins = not stream.corked
            stream.cork(header + payload)
            if begins:  # a burst: its work is counted when it is full, or ends
                return
        else:
            stream.send(header + payload)
    except OSError:
        fail(connection)
    stream.poller.turns.spend(FRAME_UNITS + len(payload) // UNIT_SIZE)


def cork_frame(connection: Sender, header: bytes, payload: bytes) -> None:
    """Cork a small frame if it begins a burst, else send it with the corked ones. Raises the errors of `send_frame`."""
    check_thread(connection)
    stream = connection.stream
    if stream.corked or stream.blocked or stream.poller.current is not connection:
        send_frame(connection, header, payload)
    else:  # the poller runs this greenlet, and flushes after it
        stream.corked.append(header)
        stream.corked.append(payload)


def send_after(connection: Sender, frame: bytes, error: OSError) -> None:
    """Send a frame later, if `transmit` raised BlockingIOError for it. After any other error the connection is lost."""
    if not isinstance(error, BlockingIOError):
        fail(connection)
    try:
        connection.stream.send_rest(frame)
    except OSError:
        fail(connection)


def fail(connection: Sender) -> NoReturn:
    """Raise the error for a send that failed: the connection is lost, or its close frame has gone ahead."""
    if not connection.stream.overtaken:
        connection.closing.abort("the connection was lost while sending")
    raise connection.closed_error() from None


def check_thread(connection: Sender) -> None:
    """Raise ConcurrencyError if the connection belongs to another thread."""
    if get_thread() != connection.stream.poller.thread:
        raise ConcurrencyError(
            "a connection belongs to the thread in which it was opened: with loop = gevent.get_hub().loop of that "
            "thread, call loop.run_callback_threadsafe(gevent.spawn, ws.send, message) here"
        )
