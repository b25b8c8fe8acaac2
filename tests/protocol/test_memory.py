"""memory.py: how much texts take, also while they are decoded."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import pytest

from geventws.protocol.memory import LEAST_AHEAD, PAGES, PLACE, SLICE, copy, decode, fits, measure, read_ahead

SIZE = 1 << 20
WIDE = "\U0001f600".encode()

TEXTS = {
    "ASCII": b"a" * SIZE,
    "a wide character first": WIDE + b"a" * (SIZE - 4),
    "a wide character in the middle": b"a" * (SIZE // 2) + WIDE + b"a" * (SIZE // 2 - 4),
    "a wide character last": b"a" * (SIZE - 4) + WIDE,
    "a wide character now and then": (WIDE + b"a" * 60) * (SIZE // 64),
    "two bytes": "\xe9".encode() + b"a" * (SIZE - 2),
    "three bytes": "\u8a9e".encode() * (SIZE // 3),
}


@pytest.mark.parametrize("source", [bytearray, copy])
@pytest.mark.parametrize("payload", TEXTS.values(), ids=TEXTS)
def test_a_text_grows_in_the_place_of_what_it_comes_from(payload: bytes, source: Any) -> None:
    tracemalloc.start()
    try:
        copied = source(payload)
        tracemalloc.reset_peak()
        text = decode(copied)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text == payload.decode()
    assert peak < SIZE + max(sys.getsizeof(text), SIZE) + 8 * SLICE


@pytest.mark.parametrize("size", [0, 1, SLICE - 1, SLICE, SLICE + 1])
def test_characters_cut_anywhere(size: int) -> None:
    payload = b"a" * size + WIDE + "\xe9".encode()
    assert decode(bytearray(payload)) == payload.decode()


@pytest.mark.parametrize("size", [0, 1, PAGES - 1, PAGES, PAGES + 1, 3 * PAGES + 5])
def test_a_copy_is_what_was_copied(size: int) -> None:
    payload = "\u8a9e".encode() * (size // 3) + b"a" * (size % 3)
    for given in (payload, bytearray(payload), memoryview(payload)):
        assert decode(copy(given)) == payload.decode()


def test_pages_that_were_decoded_go_back_to_the_system() -> None:
    pages = copy(TEXTS["two bytes"])
    assert not isinstance(pages, bytearray)
    decode(pages)
    assert pages[: SIZE // 2] == bytes(SIZE // 2)


def test_what_is_not_utf_8() -> None:
    for wrong in (b"\xff", b"a" * SLICE + b"\xf0\x9f", b"\xed\xa0\x80"):
        with pytest.raises(UnicodeDecodeError):
            decode(bytearray(wrong))
        assert decode(bytearray(wrong), "replace") == wrong.decode("utf-8", "replace")


def test_what_messages_take() -> None:
    messages = ["", "a" * 100, "\u20ac" * 100, "\U0001f600" * 100, b"", bytes(100)]
    assert measure([]) == 0
    assert measure(messages) == sum(map(sys.getsizeof, messages)) + PLACE * len(messages)
    assert measure(["\U0001f600" * 1000]) > 4000


def test_a_message_fits_besides_what_waits() -> None:
    """It is there twice while it is decoded; five times, should a text have a wide character."""
    assert fits(SIZE, False, 0, SIZE)  # where nothing waits, whatever it is
    assert fits(SIZE // 2, True, SIZE, SIZE) and not fits(SIZE // 2 + 1, True, SIZE, SIZE)
    assert fits(SIZE // 5, False, SIZE, SIZE) and not fits(SIZE // 5 + 1, False, SIZE, SIZE)


def test_what_may_wait() -> None:
    assert read_ahead(SIZE) == SIZE * 7 // 8
    assert read_ahead(0) == read_ahead(1000) == LEAST_AHEAD
