"""Frames and streams as hypothesis thinks of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from kit.frames import Frame

sizes = st.one_of(st.integers(0, 20), st.sampled_from([124, 125, 126, 127, 128, 255, 1023, 1024, 1025, 65535, 65536]))
good_heads = st.sampled_from([0x81, 0x82, 0x80, 0, 1, 2, 0x89, 0x8A, 0x88])
heads = st.one_of(good_heads, good_heads, good_heads, st.integers(0, 255))
keys = st.binary(min_size=4, max_size=4)
forms = st.sampled_from([None, None, None, None, 8])
limits = st.sampled_from([0, 10, 125, 126, 65535, 65536, 1 << 20, 2**32, 2**63 - 1, 2**64 - 1])


@st.composite
def good_frames(draw: Any, masked: bool) -> bytes:
    """Draw a frame of any kind; most are good."""
    head, size = draw(heads), draw(sizes)
    body = (draw(st.binary(max_size=40)) * (size // 40 + 1) + bytes(size))[:size]
    if head & 0x08:
        body = body[:125]
    form = draw(forms) if not head & 0x08 else None
    return Frame(head & 0x0F, body, head >= 0x80, head >> 4 & 7).encode(draw(keys) if masked else None, form)


@st.composite
def streams(draw: Any, masked: bool) -> bytes:
    """Draw frames that end anywhere, with a byte changed here and there, or any bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60))
    data = bytearray(b"".join(draw(st.lists(good_frames(masked), max_size=6))))
    if data and draw(st.booleans()):
        data[draw(st.integers(0, min(len(data) - 1, 40)))] = draw(st.integers(0, 255))
    return bytes(data[: len(data) - draw(st.integers(0, min(len(data), 20)))])
