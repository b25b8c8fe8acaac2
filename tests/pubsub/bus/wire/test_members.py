"""What travels of members, byte by byte."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventws.pubsub.bus.wire.members import (
    pack_beat,
    pack_change,
    pack_members,
    pack_stay,
    parse_beat,
    parse_members,
    unpack_stay,
)
from geventws.pubsub.bus.wire.messages import BadMessage, Names
from geventws.pubsub.interface import Stay

NODE = b"12345678"
NAMES = Names("gws:")


def test_a_stay_is_these_bytes() -> None:
    assert pack_stay(NODE, Stay(b"", "añ", '{"a":1}')) == b'\x01\x4012345678\x00\x00\x00\x03a\xc3\xb1{"a":1}'
    assert pack_stay(NODE, Stay(b"", "a", None, False)) == b"\x01\x4112345678\x00\x00\x00\x01a"


@given(st.text(min_size=1), st.text(), st.booleans())
def test_what_is_packed_is_read(name: str, info: str, there: bool) -> None:
    info = info.encode("utf-8", "replace").decode()
    stay = Stay(NODE, name, info if there else "", there)
    assert unpack_stay(pack_stay(NODE, stay)) == stay


@pytest.mark.parametrize("data", [
    b"\x01\x40", b"\x01\x4012345678\x00\x00\x00", b"\x01\x4012345678\x00\x00\x00\x05a",
    b"\x01\x4212345678\x00\x00\x00\x00",
    b"\x01\x4012345678\x00\x00\x00\x01\xff", b"\x01\x4012345678\x00\x00\x00\x01a\xff",
])  # fmt: skip
def test_what_is_no_stay_is_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        unpack_stay(data)


def test_commands_name_their_keys() -> None:
    change = pack_change(NAMES, NODE, "room", Stay(b"", "ana", "1"))
    keys = (b"gws:p:room", b"gws:l:3132333435363738", b"3132333435363738ana", b"gws:t:room")
    for word in (*keys, b"20000", b"604800000"):
        assert b"\r\n" + word + b"\r\n" in change
    assert b"\r\n3132333435363738ana\r\n" in pack_change(NAMES, NODE, "room", Stay(b"", "ana", "", False))
    assert pack_members(NAMES, NODE, "room").endswith(b"gws:p:room\r\n$6\r\ngws:l:\r\n$2\r\n16\r\n")
    assert pack_beat(NAMES, NODE, [b"abcdefgh"]).endswith(b"gws:l:\r\n$16\r\n6162636465666768\r\n")


def test_members_are_read_as_far_as_they_can_be_understood() -> None:
    reply = [b"3132333435363738ana", b"1", b"short", b"2", b"3132333435363738bob", b"\xff", b"zz32333435363738x", b""]
    assert parse_members(reply) == [Stay(NODE, "ana", "1")]
    for wrong in (None, 5, [b"odd"]):
        with pytest.raises(ValueError, match="no list of members"):
            parse_members(wrong)


@pytest.mark.parametrize("reply, known, dead", [([1], True, set()), ([0, b"3132333435363738"], False, {NODE})])
def test_a_beat_is_answered(reply: Any, known: bool, dead: set[bytes]) -> None:
    assert parse_beat(reply) == (known, dead)


@pytest.mark.parametrize("reply", [None, [], 5, [1, b"zz"]])
def test_what_is_no_answer_is_refused(reply: Any) -> None:
    with pytest.raises(ValueError):
        parse_beat(reply)
