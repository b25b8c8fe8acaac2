"""compressors.py: pools of compressors that forget, and which one compresses what."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from kit.core.deflates import largest_distance

from geventws.protocol import compressors
from geventws.protocol.compressors import SMALL, TINY, Compressors, get_compressors

TEXT = b"what was said once, and what was said once, is said again" * 20


def compress(compressor: Any, data: bytes, mode: int) -> bytes:
    compressed: bytes = compressor.compress(data) + compressor.flush(mode)
    return compressed


def inflate(data: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(data)


def test_what_was_given_back_is_taken_again_and_has_forgotten() -> None:
    pool = Compressors(6, 8, 15, forgets=True)
    one = pool.take()
    first = compress(one, TEXT, zlib.Z_FULL_FLUSH)
    pool.give(one)
    assert pool.take() is one
    assert inflate(compress(one, TEXT, zlib.Z_FULL_FLUSH)) == inflate(first) == TEXT
    assert pool.take() is not one  # which nobody has given back


def test_no_more_than_a_few_are_kept() -> None:
    pool = Compressors(6, 8, 15, forgets=True)
    for compressor in [pool.take() for _ in range(10)]:
        pool.give(compressor)
    assert len({id(one) for one in [pool.take() for _ in range(10)]}) == 10
    kept = [pool.take() for _ in range(10)]
    for compressor in kept:
        pool.give(compressor)
    again = [pool.take() for _ in range(10)]
    assert sum(any(one is other for other in kept) for one in again) == 4


def test_each_kind_has_one_pool() -> None:
    assert get_compressors(2, 8, 15, True) is get_compressors(2, 8, 15, True)
    assert get_compressors(2, 8, 15, True) is not get_compressors(2, 8, 15, False)


@pytest.mark.parametrize("window", range(8, 16))
def test_a_window_is_never_exceeded(window: int) -> None:
    """zlib has none of 8 bits for raw deflate, and stays 262 bytes below one of 9, which makes 250."""
    pool = Compressors(9, 8, window, forgets=False)
    assert pool.reach == 1 << window
    near = TEXT[:64] + bytes(range(64)) + TEXT[:64]
    far = near + bytes(range(256)) * (pool.reach // 256) + near
    compressed = compress(pool.take(), far, zlib.Z_SYNC_FLUSH)
    assert inflate(compressed) == far
    assert 64 < largest_distance(compressed[:-4]) <= pool.reach


@pytest.mark.parametrize(
    ("level", "forgets", "most"),
    [(0, True, 0), (1, True, SMALL), (2, True, SMALL), (3, True, 0), (2, False, 0), (1, False, 0)],
)
def test_small_messages_are_the_cores_where_nothing_is_kept(
    level: int, forgets: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressors, "isal_zlib", None)
    assert Compressors(level, 8, 15, forgets).most == most


@pytest.mark.parametrize("window", [8, 9, 15])
def test_isal_leaves_the_core_the_tiny_ones(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used at levels 1 and 2 where nothing is kept, but has no window of 8 bits."""
    made = []

    class Isal:
        @staticmethod
        def compressobj(*arguments: int) -> Any:
            made.append(arguments)
            return zlib.compressobj(*arguments)

    monkeypatch.setattr(compressors, "isal_zlib", Isal)
    pool = Compressors(2, 8, window, forgets=True)
    pool.take()
    assert (pool.most, made) == ((SMALL, []) if window == 8 else (TINY, [(1, zlib.DEFLATED, -window, 8)]))
