"""permessage_deflate.py: messages that were cut short are refused, unless they end between two blocks as all do."""

from __future__ import annotations

import functools
import random
import zlib

import pytest
from kit import frames
from kit.core.deflates import inflate, inflater, records
from kit.core.deflates import raw as deflate

from geventws import PerMessageDeflate, WebSocketWSGI
from geventws.exceptions import InvalidData

LIMIT = 1 << 20
COUNT = 200


@functools.cache
def cuts() -> list[bytes]:
    """Return messages of many kinds that were cut within a block."""
    dice = random.Random(5)
    found: list[bytes] = []
    while len(found) < COUNT:
        compressor = zlib.compressobj(dice.choice([1, 6, 9]), zlib.DEFLATED, -15, dice.choice([1, 8]))
        size = dice.randrange(40, 3000)
        text = records(size) if dice.random() < 0.7 else dice.randbytes(size)
        data = (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        cut = data[: dice.randrange(1, len(data))]
        if not ends_between_blocks(cut):
            found.append(cut)
    return found


def ends_between_blocks(data: bytes) -> bool:
    """Whether the bytes end with the head of a stored block, as those of a flush do: any such block may follow then."""
    texts = [b"", b"a", b"abc"]
    blocks = [len(text).to_bytes(2, "little") + (0xFFFF - len(text)).to_bytes(2, "little") + text for text in texts]
    try:
        so_far, *longer = (zlib.decompressobj(-15).decompress(data + block) for block in blocks)
    except zlib.error:
        return False
    return so_far == zlib.decompressobj(-15).decompress(data) and longer == [so_far + text for text in texts[1:]]


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("keep", [False, True])
def test_every_cut_is_refused(keep: bool, size: int) -> None:
    refused = 0
    for cut in cuts():
        end = inflater(keep)
        assert inflate(end, deflate(b"before"), True, LIMIT) == b"before"
        parts = [cut[at : at + size] for at in range(0, len(cut), size)]
        with pytest.raises(InvalidData, match="ends within a block|is corrupt"):
            for part in parts:
                inflate(end, part, part is parts[-1], LIMIT)
        refused += 1
    assert refused == COUNT


@pytest.mark.parametrize("keep", [False, True])
def test_every_cut_closes_with_1007(serve, keep: bool) -> None:
    taken: list[str | bytes] = []
    site = serve(WebSocketWSGI(taken.extend, compression=PerMessageDeflate(client_no_context_takeover=not keep)))
    for cut in cuts()[::4]:
        client = site.connect(sec_websocket_extensions="permessage-deflate")
        client.send(frames.frame(frames.BINARY, cut, rsv=4))
        client.expect_close(1007, None)
    assert taken == []


def test_what_ends_with_a_block_is_taken() -> None:
    """Nothing tells it from a whole message."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    end = inflater(True)
    for text in (b"one, ", b"two"):
        data = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
        assert inflate(end, data[:-4], True, LIMIT) == text
