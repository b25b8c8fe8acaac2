"""What travels over the bus: the bytes of a message, and the names of channels and keys. No I/O.

A message:

     0   version, 1
     1   flags: IS_TEXT; COMPRESS or PLAIN, where its author has said so; HAS_KEY, where one follows
     2   the node that has published it, 8 bytes
    10   its number there, 8 bytes, which rises from one to the next
    18   where there is a key: its length in 4 bytes, and the key
         the message itself

One of a topic with history comes from the script that gives it its position, with that in front:

     0   version, 1
     1   PLACED
     2   the position, `epoch:offset:`
         the message, as above

Processes of different versions may share a bus while they are replaced: what has another version is skipped.
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
    """What has come is no message of ours, or one of a version that is not known here."""


class Parcel(NamedTuple):
    """A message, and whose it is.

    Attributes:
        node: the process that has published it.
        number: its number there.
        message: the message.
        key: what it is about.
    """

    node: bytes
    number: int
    message: PreparedMessage
    key: str | None


class Placed(NamedTuple):
    """A message of a topic with history, and its position there."""

    epoch: str
    offset: int
    data: bytes


def encode(name: str) -> bytes:
    """Return the bytes of a topic or a key."""
    return name.encode("utf-8", "surrogatepass")


def get_node(data: bytes) -> bytes:
    """Return who has published a message, as far as it is one."""
    return data[2 : 2 + NODE_SIZE]


def pack_message(node: bytes, number: int, message: PreparedMessage, key: str | None) -> bytes:
    """Return a message as it travels.

    Args:
        node: this process.
        number: the message's number.
        message: the message.
        key: what it is about.
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
    """Return what a message says.

    Raises:
        BadMessage: it is none, or of another version.
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
    """Return the position of a message and the message, or None where it has none.

    Raises:
        BadMessage: it is no message.
    """
    if not data.startswith(PLACED_HEAD):
        return None
    epoch, _, rest = data[len(PLACED_HEAD) :].partition(b":")
    offset, _, message = rest.partition(b":")
    if not (epoch.isascii() and epoch and offset.isdigit() and len(offset) < 20):
        raise BadMessage("its position is none")
    return Placed(epoch.decode("ascii"), int(offset), message)


class Names:
    """The names of channels and keys.

    Args:
        prefix: what they all begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()

    def channel(self, topic: str) -> bytes:
        """Return the channel of a topic."""
        return b"%bt:%b" % (self._prefix, encode(topic))

    def probes(self, node: bytes) -> bytes:
        """Return the channel of a process's own."""
        return b"%bn:%b" % (self._prefix, node.hex().encode())

    def members(self, topic: str) -> bytes:
        """Return the key of a topic's members."""
        return b"%bp:%b" % (self._prefix, encode(topic))

    def alive(self, node: bytes) -> bytes:
        """Return the key of a process that is alive, whose node is given in hexadecimal digits."""
        return b"%bl:%b" % (self._prefix, node)

    def keys(self, topic: str) -> tuple[bytes, bytes]:
        """Return the keys of a topic with history: its hash, and its stream."""
        name = encode(topic)
        return b"%bm:%b" % (self._prefix, name), b"%bh:%b" % (self._prefix, name)
