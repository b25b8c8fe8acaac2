"""permessage-deflate: compressed messages (RFC 7692). No I/O.

    PerMessageDeflate   the wishes of an endpoint or a client: negotiates; immutable, shared by all its connections
    Deflate             the result for one connection: compresses and inflates its messages

They are a `Negotiator` and an `Extension` of extension.py.

By default neither side keeps a context from one message to the next. So compressors are shared (compressors.py), an
inflater lives for one message, and an idle connection holds neither. Where context is kept, both are made for the first
message that needs them, with small windows.

A message is inflated in steps, and the limit is checked after each: so a bomb can take up no more memory than the
limit, one inflater, and one slice of its input.

Where no context is kept, the C core inflates the messages that come in one piece (inflate.c). This module inflates all
others, and says what is wrong with a message. At levels 1 and 2 without context, the core also compresses small
messages (deflate.c), in half the time of zlib. zlib does the rest; without the C core, it does everything.

If the package `isal` is installed, it compresses messages above 1 KiB at levels 1 and 2 where no context is kept: 16 KB
in 0.3 to 0.5 x the time of zlib. Only zlib inflates: it takes 0.6 x isal's time for 1 KB, though 2 x for 16 KB.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from .._core import deflate
from ..exceptions import HandshakeError, InvalidData, PayloadTooBig
from ..frames import RSV1
from ..http.headers import Parameters
from .compressors import LARGE, SMALL, Compressors, get_compressors
from .extension import Data

if TYPE_CHECKING:
    from zlib import _Compress, _Decompress

# RFC 7692 7.1.2: decimal, no leading zeros; a table leaves no other spelling.
_WINDOW_BITS = {str(bits): bits for bits in range(8, 16)}
_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
_WINDOWS = ("server_max_window_bits", "client_max_window_bits")

# RFC 7692 7.2.1: a flush ends with these bytes, which are not sent.
_FLUSHED = b"\x00\x00\xff\xff"
# An empty final block. An inflater sees it as one only after data that ended with a block.
_FINAL_BLOCK = b"\x03\x00"
# RFC 7692 7.2.3.6: the empty message.
_EMPTY = b"\x00"

_SLICE = 8 << 10  # input per step: what zlib has not consumed is copied, so larger slices would be quadratic
_INFLATER = 10 << 10  # what an inflater takes besides its window
_STEP = 32 << 10  # output per step: the size of CPython's first buffer, so that a full one is not copied


@dataclass(frozen=True, slots=True, kw_only=True)
class PerMessageDeflate:
    """How a server compresses with its clients, or a client with its server, as far as the other side agrees.

    Immutable, so one may serve any number of endpoints and connections. The names are those of RFC 7692 7.1;
    "server" and "client" mean the same on both sides.

    Args:
        server_no_context_takeover: the server compresses each message by itself. True by default, so that an
            idle connection keeps no compressor (for a client: no inflater). With False, small messages that
            resemble each other shrink further, for about 40 KB on each connection (a client: 11 KB).
        client_no_context_takeover: the same for the client's messages, with the sizes exchanged. A server asks for it
            whether or not the client has offered it. True by default.
        server_max_window_bits: the server refers back at most 2 ** bits bytes, 8 to 15. By default 15 if the server
            keeps no context, 12 if it does. The other side may ask for less.
        client_max_window_bits: the same for the client. A server can ask for it only if the client offers it. False
            leaves it out: a client does not offer it, and a server does not ask for it.
        level: 1 (fast) to 9 (small), or 0 (no compression); 2 by default.
        memory_level: zlib's memLevel, 1 to 9, for messages that zlib compresses; by default 8, or 5 if context is kept
            and for messages of up to 4 KiB.
        threshold: bytes; smaller messages are sent uncompressed. 512 by default.

    Raises:
        ValueError: an argument is out of range.
    """

    server_no_context_takeover: bool = True
    client_no_context_takeover: bool = True
    server_max_window_bits: int | None = None
    client_max_window_bits: int | Literal[False] | None = None
    level: int = 2
    memory_level: int | None = None
    threshold: int = 512

    name: ClassVar[str] = "permessage-deflate"

    def __post_init__(self) -> None:
        _check_range("server_max_window_bits", self.server_max_window_bits, 8, 15)
        if self.client_max_window_bits is not False:
            _check_range("client_max_window_bits", self.client_max_window_bits, 8, 15)
        _check_range("level", self.level, 0, 9)
        _check_range("memory_level", self.memory_level, 1, 9)
        _check_range("threshold", self.threshold, 0, 1 << 62)

    def accept(self, offers: list[Parameters]) -> tuple[Parameters, Deflate] | None:
        """Server: answer the first of a client's offers that is valid (RFC 7692 7.1).

        Args:
            offers: the parameters of each offer, in the client's order.

        Returns:
            The parameters of the answer and the connection's `Deflate`; None: every offer must be declined.
        """
        for parameters in offers:
            try:
                asked = _read_parameters(parameters, offer=True)
            except ValueError:
                continue
            return self._answer(asked)
        return None

    def offer(self) -> Parameters:
        """Client: return the parameters of the one offer to make.

        Only where `client_max_window_bits` is among them may a server ask for a smaller window.
        """
        server, client = self._windows()
        parameters = self._flags({})
        if server < 15:
            parameters.append(("server_max_window_bits", str(server)))
        if self.client_max_window_bits is not False:
            parameters.append(("client_max_window_bits", str(client) if client < 15 else None))
        return parameters

    def check(self, parameters: Parameters) -> Deflate:
        """Client: return the connection's `Deflate` for the parameters of the server's answer.

        An answer without some of the offered parameters is valid: we support what it means.

        Raises:
            HandshakeError: the answer is one that RFC 7692 7.1 does not allow.
        """
        try:
            told = _read_parameters(parameters, offer=False)
            if self.client_max_window_bits is False and "client_max_window_bits" in told:
                raise ValueError("client_max_window_bits, which was not offered")  # RFC 7692 7.1.2.2
        except ValueError as error:
            message = f"the server's answer to permessage-deflate has {error}"
            raise HandshakeError(0, message, option="compression") from None
        window = min(self._windows()[1], told.get("client_max_window_bits", 15))
        forgets = self.client_no_context_takeover or "client_no_context_takeover" in told
        inflate_window = told.get("server_max_window_bits", 15)
        return self._make(window, forgets, inflate_window, "server_no_context_takeover" in told)

    def _answer(self, asked: dict[str, int]) -> tuple[Parameters, Deflate]:
        server, client = self._windows()
        parameters = self._flags(asked)
        server = min(server, asked.get("server_max_window_bits", 15))
        if server < 15 or "server_max_window_bits" in asked:
            parameters.append(("server_max_window_bits", str(server)))
        # RFC 7692 7.1.2.2: to a client that did not offer it, this one must not be sent.
        client = min(client, asked.get("client_max_window_bits", 0)) or 15
        if "client_max_window_bits" in asked and self.client_max_window_bits is not False:
            parameters.append(("client_max_window_bits", str(client)))
        agreed = dict(parameters)
        forgets, inflate_forgets = (flag in agreed for flag in _FLAGS)
        return parameters, self._make(server, forgets, client, inflate_forgets)

    def _windows(self) -> tuple[int, int]:
        server = self.server_max_window_bits or (15 if self.server_no_context_takeover else 12)
        client = self.client_max_window_bits or (15 if self.client_no_context_takeover else 12)
        return server, client

    def _flags(self, asked: dict[str, int]) -> Parameters:
        return [(flag, None) for flag in _FLAGS if flag in asked or getattr(self, flag)]

    def _make(self, window: int, forgets: bool, inflate_window: int, inflate_forgets: bool) -> Deflate:
        small, large = (
            get_compressors(self.level, self.memory_level or (default if forgets else 5), window, forgets)
            for default in (5, 8)
        )
        return Deflate(self.threshold, small, large, inflate_window, inflate_forgets)


def _check_range(option: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise ValueError(f"{option} must be from {low} to {high}, not {value!r}")


def _read_parameters(parameters: Parameters, offer: bool) -> dict[str, int]:
    """Return the parameters by name, with their windows; raise ValueError for what RFC 7692 7.1 rules out."""
    found: dict[str, int] = {}
    for spelling, value in parameters:
        name = spelling.lower()
        if name in found:
            raise ValueError(f"{name} twice")
        if name in _FLAGS and value is None:
            found[name] = 1
        elif name in _WINDOWS and value in _WINDOW_BITS:
            found[name] = _WINDOW_BITS[value]
        elif offer and name == "client_max_window_bits" and value is None:
            found[name] = 15
        else:
            raise ValueError(f"the parameter {spelling!r} of value {value!r}")
    return found


class Deflate:
    """The compression of one connection, as negotiated.

    Each direction is for one caller at a time; the two are independent. Not to be used after an error.

    Attributes:
        threshold: bytes; messages below it are better sent as they are.
        fast_path: whether received messages have no context, so that the C core can inflate them.
    """

    header_bits = RSV1  # RFC 7692 6: "This document allocates the RSV1 bit of the WebSocket header for PMCEs"

    __slots__ = (
        "threshold",
        "fast_path",
        "_small",
        "_compressors",
        "_compressor",
        "_inflate_window",
        "_inflater",
    )

    def __init__(
        self,
        threshold: int,
        small: Compressors,
        compressors: Compressors,
        inflate_window: int,
        inflate_forgets: bool,
    ) -> None:
        self.threshold: int = threshold
        self.fast_path: bool = inflate_forgets
        self._small = small  # for messages of up to SMALL bytes
        self._compressors = compressors  # for larger ones
        self._compressor: _Compress | None = None  # set if context is kept, or a message is being sent in parts
        # A window is what has to be kept: in a message that stands by itself no distance is too far, as in inflate.c.
        self._inflate_window = 15 if inflate_forgets else max(inflate_window, 9)
        self._inflater: _Decompress | None = None  # set if context is kept, or a message is being received

    @property
    def sharing(self) -> Hashable:
        """A key that is equal for all connections that compress a message alike; None if context is kept."""
        return (self.threshold, self._small, self._compressors) if self._compressors.forgets else None

    def wants(self, size: int, compress: bool | None) -> bool:
        """Return whether to compress a message of `size` bytes; `compress` is the sender's wish, or None."""
        return size >= self.threshold if compress is None else compress

    def longest(self, size: int) -> int:
        """Return the most bytes that a message may be encoded in: at the worst, deflate makes nine bits of eight."""
        return size + (size >> 3) + 64

    def measure(self) -> int:
        """Return how many bytes the inflater takes while a message is being received."""
        return 0 if self._inflater is None else (1 << self._inflate_window) + _INFLATER

    def encode(self, payload: Data) -> bytes | bytearray:
        """Compress one whole message (RFC 7692 7.2.1)."""
        compressors, size = self._small, len(payload)
        if size <= compressors.most and (small := deflate(payload, compressors.reach)):
            return small
        if not size:
            return _EMPTY
        if size > LARGE:  # what comes of it is not held twice, as zlib and `+` would
            compressed = bytearray()
            for part in self.encode_slowly(payload):
                compressed += part
            return compressed
        if size > SMALL:
            compressors = self._compressors
        if not compressors.forgets:
            return self.encode_part(payload, True)
        compressor = compressors.take()
        whole = _deflate(compressor, payload, zlib.Z_FULL_FLUSH)
        compressors.give(compressor)
        return whole

    def encode_slowly(self, payload: Data) -> Iterator[bytes]:
        """Yield a whole message, compressed, in parts, so that others may have their turn between them.

        Nothing else may be compressed until the last part was taken. If the caller stops earlier, nothing has changed.
        """
        compressors, view = self._compressors, memoryview(payload)
        kept = None if compressors.forgets else self._compressor  # not that of a message in parts
        compressor = kept.copy() if kept is not None else compressors.take()
        for start in range(0, len(view), LARGE):
            yield compressor.compress(view[start : start + LARGE])
        yield compressor.flush(zlib.Z_FULL_FLUSH if compressors.forgets else zlib.Z_SYNC_FLUSH)[:-4]
        if compressors.forgets:
            compressors.give(compressor)
        else:
            self._compressor = compressor

    def encode_part(self, payload: Data, final: bool) -> bytes | bytearray:
        """Compress the next part of a message, so that the peer can inflate all of it at once.

        Args:
            payload: the part; may be empty.
            final: whether the message ends with it.

        Returns:
            The payload of the part's frame.
        """
        compressors = self._compressors
        compressor = self._compressor or compressors.take()
        if not final:
            self._compressor = compressor
            return compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        compressed = _deflate(compressor, payload, zlib.Z_FULL_FLUSH if compressors.forgets else zlib.Z_SYNC_FLUSH)
        if compressors.forgets:
            self._compressor = None
            compressors.give(compressor)
        else:
            self._compressor = compressor
        return compressed or _EMPTY  # a second flush in a row may output nothing

    def decode(self, data: Data, final: bool, limit: int) -> Iterator[bytes]:
        """Inflate the next part of a message, in pieces of at most 32 KiB, all of which must be taken.

        RFC 7692 7.2.2: "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the message."

        Args:
            data: the part, cut anywhere.
            final: whether the message ends with it.
            limit: the most bytes that the part may inflate to. The caller counts those of earlier parts.

        Raises:
            InvalidData: the data is not deflate, or ends within a block.
            PayloadTooBig: it inflates to more than `limit`.
        """
        if not data and self._inflater is None:
            return
        left = limit if limit > 0 else 0  # zlib takes a length of 0 for none
        for part in (data,) if len(data) <= _SLICE else _cut(data):
            rest: Data | None = part
            while rest is not None:
                piece, rest = self._step(rest, left + 1 if left < _STEP else _STEP)
                left -= len(piece)
                if left < 0:
                    self._inflater = None
                    raise PayloadTooBig(f"the compressed data inflates to more than {limit} bytes", limit=limit)
                if piece:
                    yield piece
        if final and self._inflater is not None:
            self._end(self._inflater)

    def _end(self, inflater: _Decompress) -> None:
        """End a message (RFC 7692 7.2.2): if it does not end between two blocks, it was cut short.

        Between two blocks the four bytes of a flush inflate to nothing. Within a block they may inflate to anything;
        they may even end the block, but then they inflate to something before that.
        """
        self._inflater = None if self.fast_path else inflater
        try:
            whole = not inflater.decompress(_FLUSHED, 1)
            last = inflater if self.fast_path else inflater.copy()  # the original goes on with the next message
            whole = whole and not last.decompress(_FINAL_BLOCK, 1) and last.eof and not last.unused_data
        except zlib.error:
            whole = False
        if not whole:
            self._inflater = None
            raise InvalidData("the compressed data ends within a block", option="compression")

    def _step(self, data: Data, room: int) -> tuple[bytes, bytes | None]:
        """Inflate at most `room` bytes; return them, and what of `data` is left (None: it is done)."""
        inflater = self._inflater or zlib.decompressobj(-self._inflate_window)
        try:
            inflated = inflater.decompress(data, room)
        except zlib.error as error:
            self._inflater = None
            raise InvalidData(f"the compressed data is corrupt: {error}", option="compression") from None
        if not inflater.eof:
            self._inflater = inflater
            return inflated, inflater.unconsumed_tail if len(inflated) == room else None
        # RFC 7692 7.2.3.4: after a final block a new stream begins, without context. A sender may end a message with
        # such a block, with or without the byte that the bytes of a flush complete to an empty block.
        self._inflater = None
        return inflated, inflater.unused_data or None


def _deflate(compressor: _Compress, payload: Data, mode: int) -> bytes:
    return (compressor.compress(payload) + compressor.flush(mode))[:-4]


def _cut(data: Data) -> Iterator[Data]:
    """Cut data into slices that are inflated one by one."""
    view = memoryview(data)
    for start in range(0, len(view), _SLICE):
        yield view[start : start + _SLICE]
