"""The format of messages on the bus, and the names of channels and keys. No I/O.

A message:

     0   version, 1
     1   flags: IS_TEXT; COMPRESS or PLAIN, if its author has asked for that; HAS_KEY, if there is a key
     2   the node that has published it, 8 bytes
    10   its number there, 8 bytes, which rises from one message to the next
    18   if there is a key: its length in 4 bytes, and the key
         the message itself

A message to a topic with history is published by a script, which puts the position in front:

     0   version, 1
     1   PLACED
     2   the position, `epoch:offset:`
         the message, as above

Processes of different versions may share a bus during an upgrade: messages of another version are skipped.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ....frames import Opcode
from ....protocol.prepared import PreparedMessage

VERSION = 1

IS_TEXT = 0x01
COMPRESS = 0x02
PLAIN = 0x04
HAS_KEY = 0x08
PLACED = 0x80
KNOWN = IS_TEXT | COMPRESS | PLAIN | HAS_KEY

NODE_SIZE = 8
PLACED_HEAD = bytes([VERSION, PLACED])

_HEAD = struct.Struct(f"!BB{NODE_SIZE}sQ")
_COMPRESS = {None: 0, True: COMPRESS, False: PLAIN}
_ASKED = {0: None, COMPRESS: True, PLAIN: False}


class BadMessage(ValueError):
    """The bytes are no message of geventws's, or are of an unknown version."""


class Parcel(NamedTuple):
    """A message, and where it comes from.

    Attributes:
        node: the process that has published it.
        number: its number there.
        message: the message.
        key: what it is about; None for nothing.
    """

    node: bytes
    number: int
    message: PreparedMessage
    key: str | None


class Placed(NamedTuple):
    """A message of a topic with history, still packed, and the epoch and offset of its position."""

    epoch: str
    offset: int
    data: bytes


def encode(name: str) -> bytes:
    """Return the bytes of a topic, a member's name or a message's key. Lone surrogates are allowed."""
    return name.encode("utf-8", "surrogatepass")


def get_node(data: bytes) -> bytes:
    """Return the node that has published a message. For other bytes, the result has no meaning."""
    return data[2 : 2 + NODE_SIZE]


def pack_message(node: bytes, number: int, message: PreparedMessage, key: str | None) -> bytes:
    """Return the bytes of a message.

    Args:
        node: the name of this process.
        number: the message's number.
        message: the message.
        key: what it is about; None for nothing.
    """
    flags = _COMPRESS[message.compress]
    if message.opcode == Opcode.TEXT:
        flags |= IS_TEXT
    if key is None:
        return _HEAD.pack(VERSION, flags, node, number) + message.payload
    name = encode(key)
    head = _HEAD.pack(VERSION, flags | HAS_KEY, node, number)
    return b"".join((head, len(name).to_bytes(4, "big"), name, message.payload))


def unpack_message(data: bytes) -> Parcel:
    """Return the message in these bytes.

    Raises:
        BadMessage: they are no message, or are of another version.
    """
    if not data or data[0] != VERSION:
        raise BadMessage(f"its version is {data[0]}, not {VERSION}" if data else "it is empty")
    if len(data) < _HEAD.size:
        raise BadMessage("it is too short")
    _, flags, node, number = _HEAD.unpack_from(data)
    if flags & ~KNOWN or flags & COMPRESS and flags & PLAIN:
        raise BadMessage("its flags are unknown")
    start = end = _HEAD.size
    if flags & HAS_KEY:
        start += 4
        end = start + int.from_bytes(data[end:start], "big")
        if end > len(data):
            raise BadMessage("its key does not end")
    payload = data[end:]
    try:
        key = data[start:end].decode("utf-8", "surrogatepass") if flags & HAS_KEY else None
        message = PreparedMessage(payload.decode() if flags & IS_TEXT else payload, _ASKED[flags & (COMPRESS | PLAIN)])
    except UnicodeDecodeError:
        raise BadMessage("it is not UTF-8") from None
    return Parcel(node, number, message, key)


def unpack_placed(data: bytes) -> Placed | None:
    """Return the position and the bytes of a message; None if it has no position.

    Raises:
        BadMessage: the position is malformed.
    """
    if not data.startswith(PLACED_HEAD):
        return None
    epoch, _, rest = data[len(PLACED_HEAD) :].partition(b":")
    offset, _, message = rest.partition(b":")
    if not (epoch.isascii() and epoch and offset.isdigit() and len(offset) < 20):
        raise BadMessage("its position is malformed")
    return Placed(epoch.decode("ascii"), int(offset), message)


class Names:
    """The names of channels and keys.

    Args:
        prefix: the beginning of all names.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()

    def channel(self, topic: str) -> bytes:
        """Return the channel of a topic."""
        return b"%bt:%b" % (self._prefix, encode(topic))

    def probes(self, node: bytes) -> bytes:
        """Return the channel for a process's own probes."""
        return b"%bn:%b" % (self._prefix, node.hex().encode())

    def members(self, topic: str) -> bytes:
        """Return the key of a topic's members."""
        return b"%bp:%b" % (self._prefix, encode(topic))

    def alive(self, node: bytes) -> bytes:
        """Return the key that exists while a process is alive. Its node is given in hexadecimal digits."""
        return b"%bl:%b" % (self._prefix, node)

    def keys(self, topic: str) -> tuple[bytes, bytes]:
        """Return the keys of a topic with history: its hash, and its stream."""
        name = encode(topic)
        return b"%bm:%b" % (self._prefix, name), b"%bh:%b" % (self._prefix, name)
