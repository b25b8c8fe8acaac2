"""deflate.c: what the C core makes of small messages, read by zlib and by the reader of deflates.py."""

from __future__ import annotations

import json
import os
import random
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit.core.deflates import LIMIT, TAIL, inflate, largest_distance, pair, raw, records

from geventws._core import deflate
from geventws.protocol.compressors import isal_zlib
from geventws.protocol.permessage_deflate import PerMessageDeflate

__test__ = os.environ.get("GEVENTWS_PURE_PYTHON", "0") in ("", "0")  # whether pytest collects this module

LEAST, MOST, STORED = 256, 4096, 6

text = st.text(st.sampled_from('{}[]:,"0123456789abcdef é'), max_size=300).map(str.encode)
pieces = st.lists(st.tuples(text | st.binary(max_size=40), st.integers(1, 60)), max_size=8)


def check(data: bytes, window: int = 1 << 15) -> int:
    """Compress, inflate, and return the size; 0 for a message that is left to zlib."""
    compressed = deflate(data, window)
    if compressed:
        inflater = zlib.decompressobj(-15)
        assert inflater.decompress(compressed + TAIL) == data
        assert not inflater.eof and not inflater.unused_data
        assert len(compressed) <= len(data) + STORED
    assert bool(compressed) is (LEAST <= len(data) <= MOST)
    return len(compressed)


@settings(max_examples=400, deadline=None)
@given(pieces, st.sampled_from([8, 9, 10, 15]))
@example([(bytes(range(256)), 16)], 15)
@example([(b"x", 4096)], 15)
@example([(b"x", 4097)], 15)
def test_what_was_compressed_is_inflated(parts: list[tuple[bytes, int]], bits: int) -> None:
    data = b"".join(piece * count for piece, count in parts)
    check(data[:MOST], 1 << bits)
    check(data)


def deepest(counts: list[int]) -> int:
    """Return how many bits the longest code of Huffman's has for what occurs so often."""
    nodes = [(count, 0) for count in counts]
    while len(nodes) > 1:
        (first, depth), (second, other), *rest = sorted(nodes)
        nodes = [(first + second, max(depth, other) + 1), *rest]
    return nodes[0][1]


def test_every_size() -> None:
    rng = random.Random(7)
    data = records(6000)
    for size in range(4097):
        start = rng.randrange(1000)
        assert check(data[start : start + size]) <= size


def test_lengths_and_distances_of_all_kinds() -> None:
    rng = random.Random(8)
    noise = bytes(rng.choices(range(200, 256), k=MOST))
    for length in [*range(3, 34), *range(34, 259, 7), 257, 258, 259, 260, 516, 517]:
        for distance in [*range(1, 34), 64, 65, 96, 97, 1024, 1025, 3000]:
            data = (noise[:distance] * (length // distance + 2))[: distance + length]
            check(noise[:90] + data[:MOST] + b"." * 40)


@pytest.mark.parametrize("window", [0, 1 << 15])
def test_codes_that_would_be_too_long(window: int) -> None:
    """These frequencies would make codes of 16 bits, of which 15 are allowed, where nothing is a match."""
    for seed in range(100):
        rng = random.Random(seed)
        counts = [1, 1, 3, 4]
        while len(counts) < 16:
            counts.append(counts[-2] + counts[-1])
        data = b"".join(bytes([byte]) * count for byte, count in zip(rng.sample(range(256), 16), counts, strict=True))
        assert deepest([1, *counts]) == 16  # the end of the block occurs once
        shuffled = bytes(rng.sample(data, len(data)))
        assert check(shuffled, window)
        assert window or largest_distance(deflate(shuffled, 0)) == 0
        assert check((shuffled + bytes(rng.sample(range(256), rng.randrange(200))))[:MOST], window)


@pytest.mark.parametrize("bits", [8, 9, 10, 11, 15])
def test_no_distance_beyond_the_window(bits: int) -> None:
    data = records(300) * 12
    assert 200 < largest_distance(deflate(data[:MOST], 1 << bits)) <= 1 << bits


def test_size() -> None:
    """That of zlib at level 2, within 2 per cent."""
    sources = [path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py"))[:40]]
    rows = [json.dumps({"id": i, "user": f"user{i % 97}", "on": i % 3 == 0}).encode() for i in range(100)]
    documents = [source[at : at + size] for source in sources for at, size in ((0, 700), (500, 2500), (900, MOST))]
    documents += [b",".join(rows[:count]) for count in range(10, 80)]
    ours = sum(len(deflate(document, 1 << 15)) for document in documents)
    assert ours < 1.02 * sum(len(raw(document, 2)) for document in documents)


@pytest.mark.parametrize("start", [0, 1000, 1 << 20, 123456789])
@pytest.mark.parametrize("step", [1, 7])
def test_size_of_tables_of_binary_numbers(start: int, step: int) -> None:
    """What repeats three bytes at a time is where zlib does better."""
    for size in (500, 1000, MOST):
        table = struct.pack(f"<{size // 4}I", *range(start, start + size // 4 * step, step))
        assert len(deflate(table, 1 << 15)) < 1.8 * len(raw(table, 3))


@pytest.mark.parametrize("size", [LEAST, 1000, MOST])
def test_noise_is_stored(size: int) -> None:
    for seed in range(50):
        assert check(random.Random(seed).randbytes(size)) == size + STORED


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("size", [1000, MOST])
def test_levels_and_kinds_of_data(level: int, size: int) -> None:
    """Levels above 2 are zlib's, and beyond 1 KiB isal is faster; whatever a payload is in, it is compressed."""
    server, client = pair(PerMessageDeflate(level=level))
    data = records(size + 100)[:size]
    for payload in (data, bytearray(data), memoryview(data)):
        compressed = server.encode(payload)
        assert (compressed == deflate(data, 1 << 15)) is (level < 3 and (size == 1000 or isal_zlib is None))
        assert inflate(client, compressed, True, LIMIT) == data


@pytest.mark.parametrize("size", [1000, MOST + 1])
def test_what_is_no_payload_is_refused(size: int) -> None:
    with pytest.raises(TypeError):
        pair(PerMessageDeflate())[0].encode([1] * size)  # type: ignore[arg-type]
