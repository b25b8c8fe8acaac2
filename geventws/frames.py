"""The public codec: frames as values and as bytes (RFC 6455 section 5), without any I/O."""

from __future__ import annotations

import dataclasses
import enum
import os

from ._core import HAVE_C, mask, pure, scan
from .exceptions import PayloadTooBig, ProtocolError

__all__ = [
    "HAVE_C", "CloseCode", "Frame", "FrameParser", "Opcode", "encode_close", "encode_header", "mask", "parse_close",
]  # fmt: skip

NO_LIMIT = (1 << 63) - 1
"""The longest payload that a frame can announce: in 64 bits, "the most significant bit MUST be 0" (RFC 6455 5.2)."""

# The first byte of a frame (RFC 6455 5.2)
FIN = 0x80  # set in the last frame of a message
RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10  # for extensions
RESERVED = RSV1 | RSV2 | RSV3
OPCODE = 0x0F  # the bits of the opcode
CONTROL = 0x08  # the bit that is set in the opcodes of control frames

# The second byte
MASKED = 0x80  # set if a mask key follows; the other bits are the length, or say that it follows
LENGTH_16, LENGTH_64 = 126, 127  # the length follows in so many bits

DEFAULT_LIMIT = 1 << 20
"""The largest frame, and the largest message, that is accepted by default, in bytes."""

MAX_CONTROL_PAYLOAD = 125
"""The most bytes of a control frame's payload (RFC 6455 5.5)."""


class Opcode(enum.IntEnum):
    """The opcodes of RFC 6455 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


TEXT = FIN | Opcode.TEXT
BINARY = FIN | Opcode.BINARY
"""The first byte of a whole message without an extension."""


class CloseCode(enum.IntEnum):
    """The close codes of RFC 6455 7.4.1 and of its registry."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


_NORMAL = b"\x03\xe8"  # the payload of nearly all close frames

_NOT_ON_THE_WIRE = {1004, 1005, 1006, 1015}  # 7.4.1: reserved, to tell an application why a connection ended

VIOLATIONS = {
    # RFC 6455 5.2: "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values."
    pure.RESERVED_BITS: "a reserved bit is set that no extension has claimed",
    # 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_."
    pure.RESERVED_OPCODE: "the opcode is reserved",
    # 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented."
    pure.CONTROL_FRAGMENTED: "a control frame is fragmented",
    pure.CONTROL_TOO_LONG: f"a control frame is longer than {MAX_CONTROL_PAYLOAD} bytes",
    # 5.1: "a client MUST mask all frames that it sends to the server"; "A server MUST NOT mask any frames".
    pure.MASK_MISSING: "a client's frame is not masked",
    pure.MASK_UNEXPECTED: "a server's frame is masked",
    # 5.2: "in all cases, the minimal number of bytes MUST be used to encode the length".
    pure.LENGTH_NOT_MINIMAL: "a length is not encoded in the fewest bytes",
    pure.LENGTH_TOO_LARGE: "the top bit of a 64-bit length is set",
}
"""The violations that a scan can find, and how an error names each."""


def violation(status: int, data: bytes | bytearray | memoryview, max_payload: int) -> ProtocolError:
    """Return the error for a scan's status; `data` begins with the wrong header."""
    if status == pure.TOO_BIG:
        return frame_too_big(max_payload, _read_length(data))
    return ProtocolError(VIOLATIONS[status])


def frame_too_big(limit: int, size: int | None = None) -> PayloadTooBig:
    """Return the error for a frame over the limit (RFC 6455 10.4); `size` is None if the size is not known."""
    return PayloadTooBig(f"a frame is longer than the limit of {limit} bytes", limit=limit, size=size)


def _read_length(data: bytes | bytearray | memoryview) -> int:
    """Return the length that a complete header announces."""
    short = data[1] & ~MASKED
    return short if short < LENGTH_16 else int.from_bytes(data[2 : 4 if short == LENGTH_16 else 10], "big")


def valid_close_code(code: int) -> bool:
    """Whether a close frame may carry the code (RFC 6455 7.4, and the registry, where 1016 to 2999 are free)."""
    return (1000 <= code < 1015 and code not in _NOT_ON_THE_WIRE) or 3000 <= code < 5000


def parse_close(payload: bytes | bytearray | memoryview) -> tuple[int, str]:
    """Return code and reason of a close frame's payload; (1005, "") for an empty one.

    Raises:
        ProtocolError: one byte, or a code that may not be sent (1002); a reason that is not UTF-8 (1007).
    """
    if payload == _NORMAL:
        return 1000, ""
    # RFC 6455 7.1.5: "If this Close control frame contains no status code, _The WebSocket Connection Close Code_ is
    # considered to be 1005."
    if not payload:
        return CloseCode.NO_STATUS_RCVD.value, ""
    # 5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer".
    if len(payload) < 2:
        raise ProtocolError("a close frame holds a single byte")
    code = int.from_bytes(payload[:2], "big")
    if not valid_close_code(code):
        raise ProtocolError(f"close code {code} may not be sent")
    try:
        return code, str(payload[2:], "utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("a close reason is not UTF-8", CloseCode.INVALID_DATA) from None


def encode_close(code: int | None, reason: str = "") -> bytes:
    """Return the payload of a close frame; empty for code 1005 or None.

    Raises:
        ValueError: the code may not be sent, or the reason is longer than 123 bytes in UTF-8.
    """
    if code == 1000 and not reason:
        return _NORMAL
    # RFC 6455 7.4.1: "1005 is a reserved value and MUST NOT be set as a status code in a Close control frame".
    if code is None or code == CloseCode.NO_STATUS_RCVD:
        return b""
    if not valid_close_code(code):
        raise ValueError(f"close code {code} may not be sent")
    encoded = reason.encode()
    if len(encoded) > 123:
        raise ValueError("a close reason is at most 123 bytes in UTF-8")
    return code.to_bytes(2, "big") + encoded


def encode_header(head: int, length: int, mask_key: bytes | None = None) -> bytes:
    """Return a frame's header (RFC 6455 5.2).

    Args:
        head: the first byte: FIN, RSV1, RSV2 and RSV3 as above, and the opcode.
        length: of the payload, in bytes.
        mask_key: four bytes if the payload is masked.
    """
    bit = 0 if mask_key is None else MASKED
    if length < LENGTH_16:
        start = bytes((head, bit | length))
    elif length < 65536:
        start = bytes((head, bit | LENGTH_16, length >> 8, length & 255))
    else:
        start = bytes((head, bit | LENGTH_64)) + length.to_bytes(8, "big")
    return start if mask_key is None else start + mask_key


@dataclasses.dataclass
class Frame:
    """One frame (RFC 6455 5.2).

    Attributes:
        opcode: what the frame is.
        payload: its unmasked payload.
        fin: whether it ends its message.
        rsv1, rsv2, rsv3: the reserved bits.
    """

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False

    @property
    def head(self) -> int:
        """The first byte of the frame."""
        return self.fin << 7 | self.rsv1 << 6 | self.rsv2 << 5 | self.rsv3 << 4 | self.opcode

    @classmethod
    def from_head(cls, head: int, payload: bytes) -> Frame:
        """Return the frame with this first byte."""
        bits = (bool(head & bit) for bit in (FIN, RSV1, RSV2, RSV3))
        return cls(Opcode(head & OPCODE), payload, *bits)

    def encode(self, mask_key: bytes | None = None) -> bytes:
        """Return the frame's bytes, masked if a key of four bytes is given.

        Raises:
            ValueError: the key is not four bytes.
        """
        payload = self.payload if mask_key is None else mask(self.payload, mask_key)
        return encode_header(self.head, len(self.payload), mask_key) + payload


class FrameParser:
    """Turns bytes into frames, and frames into bytes, for either side, without any I/O.

    It checks the rules about single frames; `geventws.protocol` checks those about the order of frames.

    Args:
        masked_in: whether frames received must be masked, as a client's are.
        masked_out: whether `encode` masks, as a client does. A server is (True, False), a client (False, True);
            both may be masked, or neither.
        max_length: the longest payload of a data frame, in bytes.
        reserved_bits: the RSV bits (RSV1, RSV2, RSV3) that an extension uses in data frames.
    """

    def __init__(
        self,
        masked_in: bool = True,
        masked_out: bool = False,
        max_length: int = DEFAULT_LIMIT,
        reserved_bits: int = 0,
    ) -> None:
        self.masked_in = masked_in
        self.masked_out = masked_out
        self.max_length = max_length
        self.reserved_bits = reserved_bits
        self._buffer = bytearray()  # bytes that belong to no complete frame yet
        self._needed = 0  # how many bytes there have to be before another scan can find a frame

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Return the frames that `data` completes, in order; the rest is kept for the next call.

        Raises:
            ProtocolError: the bytes break RFC 6455. Frames before the violation are lost, and the parser cannot be
                used any more.
        """
        self._buffer += data
        frames: list[Frame] = []
        while len(self._buffer) >= max(self._needed, 1) and self._scan(frames):
            pass
        return frames

    def _scan(self, frames: list[Frame]) -> bool:
        """Take the complete frames off the buffer, and return whether to scan again."""
        buffer = self._buffer
        status, consumed, found, following = scan(buffer, self.max_length, self.reserved_bits, self.masked_in)
        if status > pure.FULL:
            raise violation(status, buffer[consumed:], self.max_length)
        frames += [Frame.from_head(head, bytes(buffer[at : at + size])) for at, size, _key, head in found]
        del buffer[:consumed]
        self._needed = 0 if following is None else following[0] + following[1] - consumed
        return status == pure.FULL

    def encode(self, frame: Frame) -> bytes:
        """Return the frame's bytes, masked with a new random key if this side masks."""
        return frame.encode(os.urandom(4) if self.masked_out else None)
