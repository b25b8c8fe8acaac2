"""messages.py: what many small parts of a message cost, in memory and time."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest
from kit.frames import BINARY, CONTINUATION, TEXT, feed, frame

from geventws.protocol.connection import WebSocketProtocol


def peak(data: bytes, size: int, **options: Any) -> int:
    """Return the most memory that feeding takes, beyond the bytes themselves."""
    protocol = WebSocketProtocol(**options)
    parts = [memoryview(bytearray(data[at : at + size])) for at in range(0, len(data), size)]
    tracemalloc.start()
    try:
        for part in parts:
            protocol.receive_data(part)
        assert protocol.failure is None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


SLACK = 100_000


def test_empty_fragments_cost_no_memory() -> None:
    assert peak(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 30_000, 4096) < SLACK


def test_tiny_fragments_pin_twice_their_message_at_the_most() -> None:
    count = 40_000
    data = frame(BINARY, fin=False) + frame(CONTINUATION, b"x", fin=False) * count
    assert peak(data, 4096, max_message_size=count) < 2 * count + SLACK


def test_a_frame_that_dribbles_in_pins_twice_its_message_at_the_most() -> None:
    count = 40_000
    assert peak(frame(BINARY, bytes(count)), 1) < 2 * count + SLACK


@pytest.mark.parametrize("unit", [frame(CONTINUATION, payload, fin=False) for payload in (b"x", b"")])
def test_fragments_take_time_in_proportion(unit: bytes) -> None:
    def seconds(count: int) -> float:
        best = 1e9
        for _ in range(3):
            protocol, parts = WebSocketProtocol(), [bytearray(unit * 100) for _ in range(count // 100)]
            feed(protocol, frame(BINARY, fin=False))
            started = time.process_time()
            for part in parts:
                protocol.receive_data(memoryview(part))
            best = min(best, time.process_time() - started)
        return best

    assert seconds(16_000) < 64 * max(seconds(1000), 1e-4)  # 16 times as many; 256 times the work if it were quadratic
