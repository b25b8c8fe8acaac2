"""Topics with history in Redis: two Lua scripts, their commands and answers. No I/O.

A topic has a hash and a stream. The hash has the epoch (`e`), the offset of the last message (`o`), and for each node
that has published lately the number and the time of its last message. The stream has the last messages, by offset.

    write   gives a message its position, keeps it and publishes it, unless it was written before
    read    returns the messages after a position; all messages if the position is of another epoch

The hash outlives the messages, so that a topic without traffic for a while keeps its epoch.
"""

from __future__ import annotations

import hashlib
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, NamedTuple

from .messages import PLACED_HEAD
from .resp import pack

if TYPE_CHECKING:
    from ...history import Position, Rule

KEPT_SECONDS = 86_400
"""Seconds for which Redis keeps the epoch of a topic at least, after it was last written or read."""

BATCH = 1000
"""Messages that are read at once, at most."""

BATCH_BYTES = 1024 * 1024
"""Bytes that are read at once; one message is always read, however large it is."""

WRITE = b"""
local meta, stream = KEYS[1], KEYS[2]
local channel, node, number, limit, kept, body = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', meta, 'e', 'o', node)
local epoch, offset, last = known[1], tonumber(known[2]) or 0, known[3]
if last then
    if number <= tonumber(string.match(last, '^%d+')) then return 0 end
elseif redis.call('HLEN', meta) > 34 then
    local fields = redis.call('HGETALL', meta)
    for i = 1, #fields, 2 do
        local when = string.match(fields[i + 1], '^%d+:(%d+)$')
        if when and now - tonumber(when) > 60000 then redis.call('HDEL', meta, fields[i]) end
    end
end
if not epoch then
    epoch = ARGV[7]
    redis.call('DEL', stream)
    redis.call('HSET', meta, 'e', epoch)
end
offset = string.format('%.0f', offset + 1)
redis.call('XADD', stream, 'MAXLEN', '=', limit, '0-' .. offset, 'm', body, 't', now)
redis.call('PEXPIRE', stream, kept)
redis.call('HSET', meta, 'o', offset, node, ARGV[3] .. ':' .. string.format('%.0f', now))
redis.call('PEXPIRE', meta, ARGV[8])
redis.call('PUBLISH', channel, ARGV[9] .. epoch .. ':' .. offset .. ':' .. body)
return 1
"""

READ = b"""
local meta, stream = KEYS[1], KEYS[2]
local known = redis.call('HMGET', meta, 'e', 'o')
local epoch, offset, from = known[1], known[2] or '0', '-'
if not epoch then
    epoch = ARGV[3]
    redis.call('DEL', stream)
    redis.call('HSET', meta, 'e', epoch, 'o', '0')
end
redis.call('PEXPIRE', meta, ARGV[4])
if epoch == ARGV[1] then from = '(0-' .. ARGV[2] end
local found, size = {}, 0
for _, entry in ipairs(redis.call('XRANGE', stream, from, '+', 'COUNT', ARGV[5])) do
    size = size + #entry[2][2]
    if size > tonumber(ARGV[6]) and #found > 0 then break end
    found[#found + 1] = {string.sub(entry[1], 3), entry[2][2], entry[2][4]}
end
local time = redis.call('TIME')
return {epoch, offset, string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), found}
"""

SCRIPTS = (WRITE, READ)
_WRITE_NAME, _READ_NAME = [hashlib.sha1(script, usedforsecurity=False).hexdigest().encode() for script in SCRIPTS]


class Entry(NamedTuple):
    """A message of a stream.

    Attributes:
        offset: its offset.
        data: the packed message.
        age: seconds since it was published.
    """

    offset: int
    data: bytes
    age: float


class Reading(NamedTuple):
    """The answer of `read`.

    Attributes:
        epoch: the topic's epoch.
        offset: the offset of the last message published.
        entries: messages, the oldest first; more may follow.
    """

    epoch: str
    offset: int
    entries: list[Entry]


def _kept(rule: Rule) -> bytes:
    return b"%d" % (max(rule.seconds, KEPT_SECONDS) * 1000)


def pack_write(keys: tuple[bytes, bytes], channel: bytes, node: bytes, number: int, rule: Rule, data: bytes) -> bytes:
    """Return the command that publishes a message of a topic with history.

    Args:
        keys: the topic's.
        channel: the topic's.
        node: the name of this process.
        number: the message's number there.
        rule: how much of the topic is kept.
        data: the packed message.
    """
    numbers = (b"%d" % number, b"%d" % rule.max_messages, b"%d" % (rule.seconds * 1000))
    rest = (data, token_urlsafe(6).encode(), _kept(rule), PLACED_HEAD)
    return pack(b"EVALSHA", _WRITE_NAME, b"2", *keys, channel, node, *numbers, *rest)


def pack_read(keys: tuple[bytes, bytes], rule: Rule, after: Position | None) -> bytes:
    """Return the command that reads a topic with history.

    Args:
        keys: the topic's.
        rule: how much of it is kept.
        after: the position after which to read; None for all.
    """
    epoch, offset = (after.epoch.encode(), b"%d" % after.offset) if after is not None else (b"", b"0")
    rest = (token_urlsafe(6).encode(), _kept(rule), b"%d" % BATCH, b"%d" % BATCH_BYTES)
    return pack(b"EVALSHA", _READ_NAME, b"2", *keys, epoch, offset, *rest)


def parse_reading(reply: Any) -> Reading:
    """Return the content of an answer of `read`.

    Raises:
        ValueError: it is no such answer.
    """
    try:
        epoch, offset, now, found = reply
        entries = [Entry(int(at), data, max(0, int(now) - int(then)) / 1000) for at, data, then in found]
        return Reading(epoch.decode("ascii"), int(offset), entries)
    except (TypeError, AttributeError):
        raise ValueError("not an answer of the script") from None
