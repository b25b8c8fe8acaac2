"""ws_receive of receive.c on compressed messages, as test_native.py has it for the others."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.core.deflates import inflater, raw, records
from kit.core.receiver import (
    WS_BINARY,
    WS_DATA,
    WS_TEXT,
    follow,
    outcome,
    receiver,
)
from kit.frames import BINARY, CLOSE, CONTINUATION, PING, RSV1, RSV2, RSV3, TEXT, Frame, feed, frame

from geventws._core import FAST_DEFLATED, FAST_UNMASKED
from geventws.exceptions import InvalidData, PayloadTooBig
from geventws.protocol.connection import WebSocketProtocol
from geventws.protocol.permessage_deflate import PerMessageDeflate

__test__ = os.environ.get("GEVENTWS_PURE_PYTHON", "0") in ("", "0")  # whether pytest collects this module

if __test__:
    from geventws._core._frame import ffi, lib

    INFLATER = ffi.gc(lib.ws_inflater_new(), lib.ws_inflater_free)

LIMIT = 500

PAYLOADS = {
    "hello": "f2 48 cd c9 c9 07 00",
    "nothing": "00",
    "no byte": "",
    "final": "f3 48 cd c9 c9 07 00 00",
    "two streams": "f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00",
    "bad text": raw(b"\xed\xa0\x80").hex(),
    "cut": "f2 48 cd",
    "corrupt": "07",
    "long": raw(bytes(LIMIT)).hex(),
    "too long": raw(bytes(LIMIT + 1)).hex(),
}
plain = st.sampled_from([frame(TEXT, b"plain"), frame(PING, b"?"), frame(TEXT, b"\xff"), frame(CLOSE)])
DEFLATED = [Frame(TEXT, rsv=RSV1), Frame(BINARY, rsv=RSV1)]
deflated = st.builds(
    lambda name, kind: frame(kind.opcode, bytes.fromhex(PAYLOADS[name]), fin=kind.fin, rsv=kind.rsv),
    st.sampled_from([*PAYLOADS, "hello", "hello", "final"]),
    st.sampled_from([*DEFLATED, DEFLATED[1], Frame(TEXT, fin=False, rsv=RSV1), Frame(CONTINUATION)]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(plain | deflated, max_size=5), st.data())
def test_receiving_is_what_the_protocol_makes_of_the_bytes(frames: list[bytes], data: Any) -> None:
    stream = b"".join(frames)
    expected, protocol = (WebSocketProtocol(extension=inflater(), max_message_size=LIMIT) for _ in range(2))
    feed(expected, stream)
    cut = data.draw(st.integers(0, len(stream)))
    with receiver() as one:
        for part in (stream[:cut], stream[cut:]):
            one.far.sendall(part)
            follow(one, protocol)
    assert outcome(protocol) == outcome(expected)


mangled = st.tuples(st.binary(max_size=400) | st.text(max_size=200).map(str.encode), st.data())


@settings(max_examples=300, deadline=None)
@given(mangled, st.integers(0, 500))
def test_inflating_in_one_step_is_what_the_steps_make_of_it(mangled: Any, limit: int) -> None:
    message, more = mangled
    intact = [raw(message, level) for level in (0, 1, 9)]
    payload = bytearray(more.draw(st.sampled_from(intact)))
    if more.draw(st.booleans()):
        payload[more.draw(st.integers(0, len(payload) - 1))] ^= more.draw(st.integers(1, 255))
    whole = inflate(bytes(payload), limit)
    try:
        assert whole in (None, b"".join(inflater().decode(payload, True, limit)))
    except (InvalidData, PayloadTooBig):
        assert whole is None
    assert whole is not None or payload not in intact or len(message) > limit


def inflate(payload: bytes, limit: int) -> bytes | None:
    """Return what ws_inflate makes of a message, with room for just so many bytes."""
    behind = b"\xaa" * 6
    data, target = bytearray(payload + behind), bytearray(limit + 1)
    size = lib.ws_inflate(INFLATER, ffi.from_buffer(data), len(payload), ffi.from_buffer(target), limit)
    assert data == payload + behind and target[limit:] == b"\0"
    return None if size < 0 else bytes(target[:size])


def test_records() -> None:
    hello, fragment = frame(TEXT, raw(b"hello"), rsv=RSV1), frame(TEXT, b"hel", fin=False, rsv=RSV1)
    long = frame(BINARY, raw(b"x" * 1000), rsv=RSV1)
    with receiver() as one:
        fd = one.near.fileno()
        one.far.sendall(frame(TEXT, b"one") * 2 + hello * 2 + long + frame(TEXT, b"two") * 2 + fragment + hello)
        assert one.receive(1000 | FAST_DEFLATED) == [
            *[(fd, WS_TEXT, b"one")] * 2,
            *[(fd, WS_TEXT, b"hello")] * 2,
            (fd, WS_BINARY, b"x" * 1000),
            *[(fd, WS_TEXT, b"two")] * 2,
            (fd, WS_DATA, fragment + hello),
        ]
        for limit in (1000, 4 | FAST_DEFLATED, 1000 | FAST_DEFLATED | FAST_UNMASKED):
            one.far.sendall(hello)
            assert one.receive(limit) == [(fd, WS_DATA, hello)]
        for opcode, rsv in ((TEXT, RSV1 | RSV2), (TEXT, RSV1 | RSV3), (PING, RSV1), (CONTINUATION, RSV1)):
            odd = frame(opcode, raw(b"hello"), rsv=rsv)
            one.far.sendall(odd)
            assert one.receive(1000 | FAST_DEFLATED) == [(fd, WS_DATA, odd)]


@pytest.mark.parametrize("size", [0, 100, 1000, 30_000])
def test_up_to_the_limit(size: int) -> None:
    message = records(2 * size)[:size]
    data = frame(BINARY, raw(message), rsv=RSV1)
    with receiver() as one:
        one.far.sendall(data)
        assert one.receive(max(size, 1) | FAST_DEFLATED) == [(one.near.fileno(), WS_BINARY, message)]
        if size > 1:
            one.far.sendall(data)
            assert one.receive(size - 1 | FAST_DEFLATED) == [(one.near.fileno(), WS_DATA, data)]


@pytest.mark.parametrize("payload", [PAYLOADS[name] for name in ("no byte", "final", "two streams", "cut", "corrupt")])
def test_what_cannot_be_inflated_is_left_as_it_came(payload: str) -> None:
    hello = frame(TEXT, raw(b"hello"), rsv=RSV1)
    data = frame(TEXT, bytes.fromhex(payload), rsv=RSV1)
    with receiver() as one:
        fd = one.near.fileno()
        one.far.sendall(hello + data + hello)
        assert one.receive(1000 | FAST_DEFLATED) == [(fd, WS_TEXT, b"hello"), (fd, WS_DATA, data + hello)]
        one.far.sendall(hello)
        assert one.receive(1000 | FAST_DEFLATED) == [(fd, WS_TEXT, b"hello")]


def test_messages_see_nothing_of_each_other() -> None:
    backwards = frame(BINARY, bytes.fromhex("02 11 00 00"), rsv=RSV1)  # refers to what came before, which nothing did
    with receiver() as one:
        one.far.sendall(frame(BINARY, raw(b"secret" * 9), rsv=RSV1) + backwards)
        assert [kind for _, kind, _ in one.receive(1000 | FAST_DEFLATED)] == [WS_BINARY, WS_DATA]


@pytest.mark.parametrize("room", [-1, 0, 5, 6, 6 + 1000])
def test_where_there_is_no_room(room: int) -> None:
    data = frame(BINARY, raw(bytes(1000)), rsv=RSV1)
    options = {"inflater": ffi.NULL} if room < 0 else {}
    with receiver(size=len(data) + max(room, 0), chunk=len(data), **options) as one:
        one.far.sendall(data)
        expected = (WS_BINARY, bytes(1000)) if room > 1000 else (WS_DATA, data)
        assert one.receive(1000 | FAST_DEFLATED) == [(one.near.fileno(), *expected)]


@pytest.mark.parametrize("size", [65536, 65537])
def test_what_a_large_message_costs_in_vain_has_a_bound(size: int) -> None:
    data = frame(BINARY, raw(bytes(size)), rsv=RSV1)
    with receiver() as one:
        one.far.sendall(data)
        expected = (WS_BINARY, bytes(size)) if size == 65536 else (WS_DATA, data)
        assert one.receive((1 << 20) | FAST_DEFLATED) == [(one.near.fileno(), *expected)]


@pytest.mark.parametrize("cut", [False, True])
def test_a_distance_beyond_the_window_of_a_message_by_itself(cut: bool) -> None:
    """However it comes, it is one or the other."""
    config = PerMessageDeflate(client_max_window_bits=9)
    accepted = config.accept([[("client_max_window_bits", None)]])
    assert accepted is not None
    part = random.Random(1).randbytes(8000)
    data = frame(BINARY, raw(part * 4), rsv=RSV1)
    protocol = WebSocketProtocol(extension=accepted[1])
    with receiver() as one:
        for piece in (data[:100], data[100:]) if cut else (data,):
            one.far.sendall(piece)
            follow(one, protocol)
    assert (protocol.inbox, protocol.failure) == ([part * 4], None)
