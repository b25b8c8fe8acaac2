"""The sending half of a WebSocket: messages become frames, and leave whole and in order."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import contextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from gevent.event import Event
from greenlet import getcurrent

from ..exceptions import ConcurrencyError, ConnectionClosed
from ..frames import BINARY, TEXT, encode_header
from .connection import Connection
from .loop.poller import get_thread
from .loop.turns import UNIT_SIZE, UNITS
from .stream import CORK_PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LARGE = 16 * 1024
"""Payloads beyond this size are sent without copying them after their header."""

LARGE_TO_COMPRESS = 128 * 1024
"""Payloads beyond this size are compressed in slices."""

PLAIN_LIMIT = 1536
"""The largest payload that may skip the protocol on its way out, if nothing is to be done to it, and may be corked."""

Payload: TypeAlias = "bytes | memoryview"
Message: TypeAlias = "str | bytes | bytearray | memoryview"

class _Headers(dict[int, list[bytes]]):
    """The headers of small frames by their first byte, each made when it is first needed."""

    def __missing__(self, head: int) -> list[bytes]:
        headers = self[head] = [bytes((head, size)) for size in range(126)]
        return headers


_HEADERS = _Headers()
_TEXT_HEADERS, _BINARY_HEADERS = _HEADERS[TEXT], _HEADERS[BINARY]
_medium_header = struct.Struct("!BBH").pack


_is_time = cycle([False] * (UNITS - 1) + [True]).__next__
"""Whether to look at the clock: once for so many small messages, whoever sends them. No count is as cheap."""

FRAME_UNITS = 4
"""What a frame counts for that takes the longer way, and may have others with it."""


class _Turn(NamedTuple):
    """Who sends the parts of a message, and how others learn that it is done."""

    owner: Any
    done: Event


class Sender(Connection):
    """A connection with `send`. Its methods block this greenlet only."""

    __slots__ = ("_parts",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._parts: _Turn | None = None
        self._plain_limit = self._get_plain_limit()

    def _get_plain_limit(self) -> int:
        protocol = self._protocol
        if protocol.close_sent or self.over or not protocol.plain_frames:
            return -1
        return min(PLAIN_LIMIT, protocol.extension.threshold - 1) if protocol.extension else PLAIN_LIMIT

    @property
    def closed(self) -> bool:
        """Whether the connection is over or has begun to close: `send` raises."""
        return self.over or self._protocol.close_sent

    def send(self, message: Message | Iterable[Message], compress: bool | None = None) -> None:
        """Send a message: `str` as text, bytes-like as binary. Blocks while the peer does not take it.

        Messages leave whole, in the order of the calls, whichever greenlets they come from.

        Args:
            message: the message; or an iterable of its parts, all text or all binary, each of which is sent as it
                comes (RFC 6455 5.4). When the iterable raises after its first part, the connection is closed with 1011.
            compress: whether to compress it, where that was negotiated; None compresses what is over the threshold.

        Raises:
            ConnectionClosed: the connection is over, or has begun to close; it is an `OSError` with errno EPIPE.
            TypeError: `message` is of another type.
            UnicodeEncodeError: a `str` has a lone surrogate, for which UTF-8 has no bytes; it is not sent.
            ConcurrencyError: called while this very greenlet produces the parts of another message; or in another
                thread than that of the connection.
        """
        if type(message) is bytes:
            payload, head, headers = message, BINARY, _BINARY_HEADERS
        elif type(message) is str:
            payload, head, headers = message.encode(), TEXT, _TEXT_HEADERS
        else:
            self._send_other(message, compress)
            return
        size = len(payload)
        if size > self._plain_limit or compress is not None:
            if compress is not None or not -1 < self._plain_limit < size <= PLAIN_LIMIT:
                self._send_message(head, payload, compress)
                return
            extension: Any = self._protocol.extension
            payload = extension.encode(payload)  # as it reaches the threshold
            head |= extension.header_bits
            size, headers = len(payload), _HEADERS[head]
        header = headers[size] if size < 126 else _medium_header(head, 126, size)
        if self._messages:  # the handler will be back for them with more to send
            corked = self._corked
            if 0 < len(corked) < CORK_PARTS:
                corked.append(header)
                corked.append(payload)
            else:
                self._check_thread()
                self._send_frame(header, payload)
            return
        frame, stream = header + payload, self._stream
        if get_thread() != stream.poller.thread:
            raise self._wrong_thread()
        try:
            if self._corked or stream.blocked:
                stream.send(frame)
            else:
                transmit = stream.transmit
                sent = transmit(frame)
                if sent != len(frame):
                    stream.send_rest(memoryview(frame)[sent:])
        except BlockingIOError:
            self._send_rest(frame)
        except OSError:
            raise self._send_error() from None
        if _is_time():
            stream.poller.turns.look()

    def _send_other(self, message: Any, compress: bool | None) -> None:
        """Send what is not exactly str or bytes; a buffer is copied, as it may change while it waits."""
        if isinstance(message, str):
            self._send_message(TEXT, message.encode(), compress)
        elif isinstance(message, (bytes, bytearray, memoryview)):
            self._send_message(BINARY, bytes(message), compress)
        elif hasattr(message, "__iter__") and not isinstance(message, Mapping):
            self._send_parts(message, compress)
        else:
            raise TypeError(f"a message is str or bytes-like, not {type(message).__name__}")

    def _check_thread(self) -> None:
        if get_thread() != self._poller.thread:
            raise self._wrong_thread()

    def _wrong_thread(self) -> ConcurrencyError:
        return ConcurrencyError(
            "a connection belongs to the thread in which it was opened: with loop = gevent.get_hub().loop of that "
            "thread, call loop.run_callback_threadsafe(gevent.spawn, ws.send, message) here"
        )

    def _send_message(self, head: int, payload: Payload, compress: bool | None) -> None:
        """Send one message of any size, on either side."""
        self._check_thread()
        if self._plain_limit == PLAIN_LIMIT and self._protocol.extension is None:  # nothing is to be done to it
            self._send_frame(encode_header(head, len(payload)), payload)
            return
        extension = self._protocol.extension
        if extension is not None and len(payload) > LARGE_TO_COMPRESS and extension.wants(len(payload), compress):
            head, payload, compress = head | extension.header_bits, self._compress(payload), False
        self._take_turn()
        self._send_frame(*self._protocol.encode_message(head, payload, compress))

    def _compress(self, payload: Payload) -> memoryview:
        """Compress a large message in slices, with the loop's turn between them when it is due."""
        compressed = bytearray()
        with self._alone():
            extension: Any = self._protocol.extension
            for part in extension.encode_slowly(payload):
                compressed += part
                self._poller.turns.spend(UNITS)
        return memoryview(compressed)

    def _send_frame(self, header: bytes, payload: Payload) -> None:
        try:
            if len(payload) > LARGE:
                self._stream.send_large(header, payload)
            elif self._messages and len(payload) <= PLAIN_LIMIT:
                begins = not self._corked
                self._stream.cork(header + payload)
                if begins:  # a burst, which is counted when it is full, or has its end
                    return
            else:
                self._stream.send(header + payload)
        except OSError:
            raise self._send_error() from None
        self._poller.turns.spend(FRAME_UNITS + len(payload) // UNIT_SIZE)

    def _send_rest(self, frame: bytes) -> None:
        try:
            self._stream.send_rest(frame)
        except OSError:
            raise self._send_error() from None

    def _take_turn(self) -> None:
        """Block while another greenlet sends the parts of a message, between which no other message may go."""
        try:
            self._stream.wait_for_room()
        except OSError:
            raise self._send_error() from None
        while self._parts is not None and not self.closed:  # last: nobody else may begin before we do
            if self._parts.owner is getcurrent():
                raise ConcurrencyError("this greenlet is sending the parts of a message")
            self._parts.done.wait()
        if self.closed:
            raise self.closed_error()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no other message begin meanwhile."""
        self._take_turn()
        self._parts = turn = _Turn(getcurrent(), Event())
        self._plain_limit = -1
        try:
            yield
        finally:
            self._parts = None
            self._plain_limit = self._get_plain_limit()
            turn.done.set()

    def _send_parts(self, parts: Iterable[Any], compress: bool | None) -> None:
        """Send one message in fragments, as its parts come."""
        self._check_thread()
        begun = finished = False
        try:
            with self._alone():
                for header, payload in self._protocol.encode_parts(parts, compress):
                    if self.closed:
                        raise self.closed_error()
                    begun = True
                    self._send_frame(header, payload)
            finished = True
        finally:
            if begun and not finished and not self.closed:
                self.begin_close(1011, "a message was not finished")

    def _send_error(self) -> ConnectionClosed:
        """Return the error for a send that failed: the connection is lost."""
        self._lose("the connection was lost while sending")
        return self.closed_error()
