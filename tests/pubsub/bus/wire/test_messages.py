"""Messages as they travel: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventws.frames import Opcode
from geventws.protocol.prepared import PreparedMessage
from geventws.pubsub.bus.wire.messages import (
    PLACED_HEAD,
    BadMessage,
    Names,
    Placed,
    get_node,
    pack_message,
    unpack_message,
    unpack_placed,
)

NODE = b"12345678"


@given(st.text() | st.binary(), st.sampled_from([None, True, False]), st.none() | st.text(), st.integers(0, 2**64 - 1))
def test_a_message_comes_back(message: str | bytes, compress: bool | None, key: str | None, number: int) -> None:
    data = pack_message(NODE, number, PreparedMessage(message, compress), key)
    parcel = unpack_message(data)
    assert (parcel.node, parcel.number, parcel.key) == (NODE, number, key)
    assert parcel.message.compress is compress
    assert parcel.message.opcode == (Opcode.TEXT if isinstance(message, str) else Opcode.BINARY)
    assert parcel.message.payload == (message.encode() if isinstance(message, str) else message)
    assert get_node(data) == NODE
    assert unpack_placed(data) is None


def test_the_bytes_are_those_of_the_page() -> None:
    assert pack_message(NODE, 1, PreparedMessage("hi"), None) == b"\x01\x01" + NODE + bytes(7) + b"\x01hi"
    assert pack_message(NODE, 1, PreparedMessage(b"hi", True), "k") == (
        b"\x01\x0a" + NODE + bytes(7) + b"\x01" + b"\x00\x00\x00\x01k" + b"hi"
    )
    assert unpack_placed(PLACED_HEAD + b"epoch:12:a:b") == Placed("epoch", 12, b"a:b")


@pytest.mark.parametrize("data", [b"", b"\x02", b"\x00" * 30, b"hello"])
def test_another_version_is_told(data: bytes) -> None:
    with pytest.raises(BadMessage, match="its version is|it is empty"):
        unpack_message(data)


@pytest.mark.parametrize("data", [
    b"\x01",
    b"\x01\x01" + bytes(15),
    b"\x01\x10" + bytes(16),  # a flag that there is not
    b"\x01\x86" + bytes(16),
    b"\x01\x06" + bytes(16),  # to be compressed, and not to be
    b"\x01\x08" + bytes(16) + b"\xff\xff\xff\xffk",
    b"\x01\x08" + bytes(16) + b"\x00",
    b"\x01\x08" + bytes(16) + b"\x00\x00\x00\x01\xff",
    b"\x01\x01" + bytes(16) + b"\xff",
])  # fmt: skip
def test_what_is_none_is_told(data: bytes) -> None:
    with pytest.raises(BadMessage):
        unpack_message(data)


@pytest.mark.parametrize("rest", [b"", b"epoch", b"epoch:", b"epoch:a:", b"\xff:1:x"])
def test_a_position_that_is_none_is_told(rest: bytes) -> None:
    with pytest.raises(BadMessage):
        unpack_placed(PLACED_HEAD + rest)


@given(st.binary())
def test_nothing_else_is_raised(data: bytes) -> None:
    for unpack in (unpack_message, unpack_placed):
        for head in (b"", b"\x01", PLACED_HEAD, b"\x01\x0b" + NODE):
            try:
                unpack(head + data)
            except BadMessage:
                pass


def test_names_do_not_meet() -> None:
    names = Names("a:")
    assert names.channel("room:7") == b"a:t:room:7"
    assert names.probes(NODE) == b"a:n:3132333435363738"
    assert names.keys("\udcff") == (b"a:m:\xed\xb3\xbf", b"a:h:\xed\xb3\xbf")
