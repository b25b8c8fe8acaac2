"""ws_receive of receive.c: what its records make Python hold for one descriptor, and what is left as it came."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from kit.core.deflates import raw
from kit.core.receiver import HAVE_C, WS_DATA, WS_TEXT, Receiver, receiver
from kit.frames import BINARY, RSV1, TEXT, frame

from geventws._core import FAST_DEFLATED, FAST_UNMASKED
from geventws.protocol.memory import PLACE, measure

__test__ = HAVE_C  # whether pytest collects this module

if __test__:
    from geventws._core._frame import lib

LIMIT = 64 * 1024
WIDE = "\U0001f600"

MESSAGES: dict[str, str | bytes] = {
    "tiny texts": WIDE,
    "tiny messages": b"ab",
    "texts": "a" * 1000,
    "texts with a wide character": "a" * 1000 + WIDE,
    "texts of two bytes a character": "a" * 1000 + "\u20ac",
    "texts of one": "a" * 1000 + "\xe9",
    "messages": b"a" * 1000,
    "large texts": "a" * 20_000,
    "large texts with a wide character": "a" * 20_000 + WIDE,
    "large messages": b"a" * 20_000,
}


def room(limit: int) -> int:
    return limit // 2 + int(lib.WS_LEAST_ROOM)


def take(one: Receiver, data: bytes, flags: int = 0) -> tuple[list[str | bytes], bytes]:
    """Return the messages of one call, and what it left."""
    one.far.sendall(data)
    records = one.receive(LIMIT | flags)
    rest = b"".join(found for _fd, kind, found in records if kind == WS_DATA)
    messages = [found.decode() if kind == WS_TEXT else found for _fd, kind, found in records if kind != WS_DATA]
    return messages, rest


def check(messages: list[Any], rest: bytes, sent: bytes, message: str | bytes, one_frame: bytes) -> None:
    """So many that they take what they may, or all; and the others are as they came."""
    assert messages == [message] * len(messages)
    assert rest == sent[len(one_frame) * len(messages) :]
    held, each = measure(messages), sys.getsizeof(message) + PLACE
    assert held <= room(LIMIT)
    if rest and len(message) >= 1000:  # a text counts as if it were wide, as long as there is room for that
        assert held + 2 * each > room(LIMIT) / 4


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
@pytest.mark.parametrize("masked", [True, False])
def test_what_one_call_makes_is_bounded(message: str | bytes, masked: bool) -> None:
    opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
    one_frame = frame(opcode, payload) if masked else frame(opcode, payload, key=None)
    sent = one_frame * (120_000 // len(one_frame))
    with receiver(max_records=4096, formats=1 << 14) as one:
        messages, rest = take(one, sent, 0 if masked else FAST_UNMASKED)
    check(messages, rest, sent, message, one_frame)


@pytest.mark.parametrize("message", [b"a" * 30_000, "a" * 30_000, "a" * 30_000 + WIDE, "a" * 10_000 + WIDE])
def test_what_one_call_inflates_is_bounded(message: str | bytes) -> None:
    """A message that does not fit was inflated in vain, and is still compressed, and masked."""
    opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
    one_frame = frame(opcode, raw(payload), rsv=RSV1)
    sent = one_frame * 100
    with receiver() as one:
        messages, rest = take(one, sent, FAST_DEFLATED)
    check(messages, rest, sent, message, one_frame)
    assert len(messages) < 100
    assert messages or sys.getsizeof(message) > room(LIMIT)  # then the protocol sees to it
