"""The members of topics in Redis: four Lua scripts, their commands and answers, and the published changes. No I/O.

A topic has a hash. A field is a process (its node, in hexadecimal digits) followed by a member there; the value is the
member's info. Each process that is alive has one key, which expires unless it is renewed. So the fields of a process
that was killed can be recognised, and whoever reads them deletes them.

    announce   writes that a member is in a process, and publishes that; returns whether the process was alive
    withdraw   deletes a member of a process, and publishes that
    members    returns the members of a topic
    beat       renews the key of a process, and returns which of the given others are dead

This is published to the topic's channel:

     0   version, 1
     1   MEMBER, or MEMBER | GONE if the member has left
     2   the node, 8 bytes
    10   the length of the member's name, 4 bytes
    14   the name, and the member's info as JSON
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from ...interface import Stay
from .messages import NODE_SIZE, VERSION, BadMessage, encode
from .resp import pack

if TYPE_CHECKING:
    from collections.abc import Collection

    from .messages import Names

MEMBER = 0x40
GONE = 0x01

ALIVE_SECONDS = 20.0
"""Seconds after which a process that has not renewed its key counts as dead."""

KEPT_SECONDS = 7 * 86_400
"""Seconds after which a topic's members are forgotten if nobody has joined meanwhile."""

_HEAD = 2 + NODE_SIZE + 4

ANNOUNCE = b"""
local known = redis.call('EXISTS', KEYS[2])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return known
"""

WITHDRAW = b"""
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
"""

MEMBERS = b"""
local all, alive, found = redis.call('HGETALL', KEYS[1]), {}, {}
for i = 1, #all, 2 do
    local node = string.sub(all[i], 1, tonumber(ARGV[2]))
    if alive[node] == nil then alive[node] = redis.call('EXISTS', ARGV[1] .. node) == 1 end
    if alive[node] then
        found[#found + 1] = all[i]
        found[#found + 1] = all[i + 1]
    else
        redis.call('HDEL', KEYS[1], all[i])
    end
end
return found
"""

BEAT = b"""
local found = {redis.call('EXISTS', KEYS[1])}
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
for i = 3, #ARGV do
    if redis.call('EXISTS', ARGV[2] .. ARGV[i]) == 0 then found[#found + 1] = ARGV[i] end
end
return found
"""

MEMBER_SCRIPTS = (ANNOUNCE, WITHDRAW, MEMBERS, BEAT)
_NAMES = [hashlib.sha1(script, usedforsecurity=False).hexdigest().encode() for script in MEMBER_SCRIPTS]
_ANNOUNCE, _WITHDRAW, _MEMBERS, _BEAT = _NAMES


class Pulse(NamedTuple):
    """The answer of `beat`.

    Attributes:
        known: whether the process itself was alive in Redis before.
        dead: the other processes that are dead.
    """

    known: bool
    dead: set[bytes]


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % (seconds * 1000)


def pack_stay(node: bytes, stay: Stay) -> bytes:
    """Return the bytes to publish for a stay, whose `info` is JSON text."""
    name = encode(stay.member)
    flags = MEMBER if stay.there else MEMBER | GONE
    info = stay.info.encode() if stay.there else b""
    return b"".join((bytes((VERSION, flags)), node, len(name).to_bytes(4, "big"), name, info))


def unpack_stay(data: bytes) -> Stay:
    """Return the stay that was published; its `info` is JSON text.

    Raises:
        BadMessage: the bytes are not a stay.
    """
    end = _HEAD + int.from_bytes(data[_HEAD - 4 : _HEAD], "big")
    if len(data) < _HEAD or end > len(data) or data[1] & ~(MEMBER | GONE):
        raise BadMessage("it has no member")
    try:
        name, info = data[_HEAD:end].decode("utf-8", "surrogatepass"), data[end:].decode()
    except UnicodeDecodeError:
        raise BadMessage("it is not UTF-8") from None
    return Stay(data[2 : 2 + NODE_SIZE], name, info, not data[1] & GONE)


def pack_change(names: Names, node: bytes, topic: str, stay: Stay) -> bytes:
    """Return the command that writes, and publishes, that a member is in this process, or no longer is."""
    field, data = node.hex().encode() + encode(stay.member), pack_stay(node, stay)
    key, channel = names.members(topic), names.channel(topic)
    if not stay.there:
        return pack(b"EVALSHA", _WITHDRAW, b"1", key, field, channel, data)
    times = _milliseconds(ALIVE_SECONDS), _milliseconds(KEPT_SECONDS)
    keys = key, names.alive(node.hex().encode())
    return pack(b"EVALSHA", _ANNOUNCE, b"2", *keys, field, stay.info.encode(), *times, channel, data)


def pack_members(names: Names, node: bytes, topic: str) -> bytes:
    """Return the command that reads the members of a topic. It does not depend on `node`."""
    return pack(b"EVALSHA", _MEMBERS, b"1", names.members(topic), names.alive(b""), b"%d" % (2 * NODE_SIZE))


def parse_members(reply: Any) -> list[Stay]:
    """Return the members in an answer of `members`, without those that cannot be decoded.

    Raises:
        ValueError: it is no such answer.
    """
    if not isinstance(reply, list) or len(reply) % 2:
        raise ValueError("that is no list of members")
    stays = []
    for field, info in zip(reply[::2], reply[1::2], strict=True):
        try:
            node = bytes.fromhex(field[: 2 * NODE_SIZE].decode("ascii"))
            name = field[2 * NODE_SIZE :].decode("utf-8", "surrogatepass")
            stay = Stay(node, name, info.decode())
        except ValueError:
            continue
        if len(node) == NODE_SIZE and name:
            stays.append(stay)
    return stays


def pack_beat(names: Names, node: bytes, others: Collection[bytes]) -> bytes:
    """Return the command that renews this process's key, and asks which of the others are dead."""
    key = names.alive(node.hex().encode())
    words = [other.hex().encode() for other in others]
    return pack(b"EVALSHA", _BEAT, b"1", key, _milliseconds(ALIVE_SECONDS), names.alive(b""), *words)


def parse_beat(reply: Any) -> Pulse:
    """Return the content of an answer of `beat`.

    Raises:
        ValueError: it is no such answer.
    """
    if not isinstance(reply, list) or not reply:
        raise ValueError("that is no answer")
    return Pulse(reply[0] == 1, {bytes.fromhex(word.decode("ascii")) for word in reply[1:]})
