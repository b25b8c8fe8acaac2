"""ws_receive of poller.c on compressed messages, as test_parity_receiving.py has it for the others."""

from __future__ import annotations

import os
from typing import Any

from deflates import inflater, raw
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import BINARY, CLOSE, CONTINUATION, PING, TEXT, feed, frame

from geventws.protocol import WebSocketProtocol

__test__ = os.environ.get("GEVENTWS_PURE_PYTHON", "0") in ("", "0")  # whether pytest collects this module

if __test__:
    from test_parity_receiving import (
        DEFLATED,
        PEER_IS_SERVER,
        TAKES_DEFLATED,
        WS_BINARY,
        WS_DATA,
        WS_TEXT,
        follow,
        outcome,
        receiver,
    )

RSV1 = 0x40
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
deflated = st.builds(
    lambda name, head: frame(head, bytes.fromhex(PAYLOADS[name])),
    st.sampled_from([*PAYLOADS, "hello", "hello", "final"]),
    st.sampled_from([TEXT | RSV1, BINARY | RSV1, BINARY | RSV1, TEXT & 0x0F | RSV1, CONTINUATION]),
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


def test_records() -> None:
    hello, fragment = frame(TEXT | RSV1, b"hello"), frame(TEXT & 0x0F | RSV1, b"hel")
    with receiver() as one:
        fd = one.near.fileno()
        one.far.sendall(frame(TEXT, b"one") * 2 + hello * 2 + frame(BINARY | RSV1, b"x" * 200) + fragment + hello)
        assert one.receive(1000 | TAKES_DEFLATED) == [
            *[(fd, WS_TEXT, b"one")] * 2,
            *[(fd, WS_TEXT | DEFLATED, b"hello")] * 2,
            (fd, WS_BINARY | DEFLATED, b"x" * 200),
            (fd, WS_DATA, fragment + hello),
        ]
        for limit in (1000, 4 | TAKES_DEFLATED, 1000 | TAKES_DEFLATED | PEER_IS_SERVER):
            one.far.sendall(hello)
            assert one.receive(limit) == [(fd, WS_DATA, hello)]
        for head in (TEXT | 0x60, TEXT | 0x50, PING | RSV1, CONTINUATION | RSV1):
            one.far.sendall(frame(head, b"hello"))
            assert one.receive(1000 | TAKES_DEFLATED) == [(fd, WS_DATA, frame(head, b"hello"))]
