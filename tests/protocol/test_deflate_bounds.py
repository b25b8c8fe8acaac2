"""permessage_deflate.py: what it may take of memory and time, whatever the peer sends."""

from __future__ import annotations

import random
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from kit.core.deflates import KEEP, LIMIT, bomb, inflate, inflater, pair, raw, records

from geventws.exceptions import PayloadTooBig
from geventws.protocol.permessage_deflate import PerMessageDeflate


@pytest.mark.parametrize("limit", [0, 1, 1000, 32767, 32768, 32769, 100_000])
@pytest.mark.parametrize("keep", [False, True])
def test_the_limit_is_exact(limit: int, keep: bool) -> None:
    text = bytes(limit) if limit % 2 else records(limit)
    assert inflate(inflater(keep), raw(text), True, limit) == text
    for size in (limit + 1, limit + 40_000):
        with pytest.raises(PayloadTooBig) as refusal:
            inflate(inflater(keep), raw(text.ljust(size)), True, limit)
        assert refusal.value.close_code == 1009


def test_a_negative_limit_is_not_taken_for_none() -> None:
    with pytest.raises(PayloadTooBig):
        inflate(inflater(), raw(b"Hello"), True, -1)


class Peak:
    """What the block allocated at most, in bytes."""

    def __enter__(self) -> Peak:
        tracemalloc.start()
        self.before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = tracemalloc.get_traced_memory()[1] - self.before
        tracemalloc.stop()


@pytest.mark.parametrize("size", [4 << 20, 256 << 20], ids=["one slice", "many slices"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_bomb_stops_at_the_limit(size: int, keep: bool) -> None:
    data = bomb(size)
    end = inflater(keep)
    started = time.process_time()
    with Peak() as peak, pytest.raises(PayloadTooBig) as refusal:
        inflate(end, data, True, LIMIT)
    assert peak.bytes <= LIMIT + (64 << 10)
    assert time.process_time() - started < 0.5  # some 2 ms, but for tracemalloc
    del refusal


@pytest.mark.parametrize("piece", [10, 100, 1000])
@pytest.mark.parametrize("keep", [False, True])
def test_a_bomb_in_fragments(piece: int, keep: bool) -> None:
    data = bomb(8 << 20)
    end, left = inflater(keep), LIMIT
    held = []
    with Peak() as peak, pytest.raises(PayloadTooBig):
        for start in range(0, len(data), piece):
            for inflated in end.decode(data[start : start + piece], False, left):
                held.append(inflated)
                left -= len(inflated)
    assert 0 <= left < LIMIT
    assert peak.bytes <= LIMIT + (64 << 10)


def test_a_bomb_in_carried_context() -> None:
    """What makes the second message large is in the first."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    seed = random.Random(1).randbytes(200)
    messages = [compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH) for data in (seed, seed * 20_000)]
    end = inflater(keep=True)
    assert inflate(end, messages[0][:-4], True, LIMIT) == seed
    with Peak() as peak, pytest.raises(PayloadTooBig):
        inflate(end, messages[1][:-4], True, LIMIT)
    assert peak.bytes <= LIMIT + (64 << 10)


@pytest.mark.parametrize("block", ["00 00 00 ff ff", "02 08 20 80 00", "03 00"], ids=["stored", "fixed", "final"])
@pytest.mark.parametrize("keep", [False, True])
def test_endless_empty_blocks_hold_nothing_and_cost_no_more_each(block: str, keep: bool) -> None:
    unit = bytes.fromhex(block)
    end = inflater(keep)
    with Peak() as peak:
        for _ in range(20):
            assert inflate(end, unit * 2000, False, 0) == b""
    assert peak.bytes <= 128 << 10
    times = [seconds(inflate, inflater(keep), unit * n, False, 0) for n in (4_000, 64_000)]
    assert times[1] < 16 * 4 * times[0] + 0.02


def test_time_grows_with_the_size() -> None:
    """What zlib leaves unconsumed is copied: that must not make it quadratic."""
    data = [raw(random.Random(1).randbytes(size)) for size in (1 << 19, 1 << 23)]
    small, large = (seconds(inflate, inflater(), part, True, 1 << 24) for part in data)
    assert large < 16 * 4 * small + 0.02


def seconds(run: Callable[..., object], *arguments: object) -> float:
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        run(*arguments)
        best = min(best, time.process_time() - started)
    return best


@pytest.mark.parametrize(
    ("config", "most"),
    [(PerMessageDeflate(), 500), (KEEP, 56 << 10)],
    ids=["by default", "context kept"],
)
def test_memory_of_an_idle_connection(config: PerMessageDeflate, most: int, backend: None) -> None:
    text = records(16_000)
    offer = config.offer()
    accepted = config.accept([offer])
    assert accepted is not None
    payload = config.check(accepted[0]).encode(text)
    accepted[1].encode(text)  # which makes the pool's first compressor
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        idle = []
        for _ in range(50):
            accepted = config.accept([offer])
            assert accepted is not None
            inflate(accepted[1], payload, True, LIMIT)
            accepted[1].encode(text)
            idle.append(accepted[1])
        assert (tracemalloc.get_traced_memory()[0] - before) / 50 <= most
    finally:
        tracemalloc.stop()


def test_after_a_refusal_nothing_is_held() -> None:
    end = inflater(keep=True)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(PayloadTooBig) as refusal:
            inflate(end, raw(bytes(LIMIT)), True, LIMIT - 1)
        assert refusal.value.__traceback__ is not None
        assert tracemalloc.get_traced_memory()[0] - before < 64 << 10
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("config", [PerMessageDeflate(), KEEP])
def test_what_comes_of_a_large_message_is_held_once(config: PerMessageDeflate) -> None:
    server, client = pair(config)
    message = random.Random(1).randbytes(16 << 20)
    with Peak() as peak:
        compressed = server.encode(message)
    assert peak.bytes < 1.25 * len(message)
    assert inflate(client, compressed, True, len(message)) == message
