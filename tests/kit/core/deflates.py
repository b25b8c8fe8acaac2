"""Connections' ends and literal bytes for the tests of permessage-deflate, and a reader of deflate streams.

The reader knows RFC 1951 and nothing of the package.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable

from geventws.http.headers import Parameters, build_extensions, parse_extensions
from geventws.protocol.permessage_deflate import Deflate, PerMessageDeflate

LIMIT = 1 << 20
KEEP = PerMessageDeflate(server_no_context_takeover=False, client_no_context_takeover=False)
TAIL = b"\x00\x00\xff\xff"


def offers(header: str) -> list[Parameters]:
    return [parameters for _, parameters in parse_extensions(header)]


def answer(config: PerMessageDeflate, header: str) -> str | None:
    accepted = config.accept(offers(header))
    return None if accepted is None else build_extensions([(config.name, accepted[0])])


def pair(server: PerMessageDeflate, client: PerMessageDeflate | None = None) -> tuple[Deflate, Deflate]:
    """Return both ends of a connection, the server's first."""
    client = client or server
    accepted = server.accept([client.offer()])
    assert accepted is not None
    return accepted[1], client.check(accepted[0])


def inflater(keep: bool = False) -> Deflate:
    """Return a server's end that inflates what comes with or without context."""
    accepted = PerMessageDeflate(client_no_context_takeover=not keep).accept([[]])
    assert accepted is not None
    return accepted[1]


def inflate(end: Deflate, data: bytes | memoryview, final: bool, limit: int) -> bytes:
    """Return what the next part of a message inflates to."""
    return b"".join(end.decode(data, final, limit))


def raw(data: bytes, level: int = 9) -> bytes:
    """Return the data as one message by zlib itself."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def bomb(size: int) -> bytes:
    """Return so many zeros, compressed; quickly, for all mebibytes but the first look like it."""
    piece = min(size, 1 << 20)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(bytes(piece)) + compressor.flush(zlib.Z_FULL_FLUSH)) * (size // piece)


def records(size: int) -> bytes:
    rng = random.Random(size)
    rows = [{"id": i, "price": rng.random(), "side": rng.choice(["buy", "sell"])} for i in range(size // 40)]
    return json.dumps(rows).encode()[:size]


def largest_distance(data: bytes) -> int:
    """Walk a deflate stream (RFC 1951 3.2) and return how far it looks back."""
    number, position, far = int.from_bytes(data, "little"), 0, 0

    def take(count: int) -> int:
        nonlocal position
        position += count
        return number >> position - count & (1 << count) - 1

    def symbol(codes: dict[tuple[int, int], int]) -> int:
        code = 1
        while (code.bit_length() - 1, code) not in codes:
            assert code < 1 << 15
            code = code << 1 | take(1)
        return codes[code.bit_length() - 1, code]

    while position + 10 <= len(data) * 8:
        _final, kind = take(1), take(2)
        if kind == 0:
            position = (position + 7) // 8 * 8
            size, _ = take(16), take(16)
            position += 8 * size
            continue
        literals, distances = FIXED if kind == 1 else dynamic_codes(take, symbol)
        while (value := symbol(literals)) != 256:
            if value > 256:
                take(0 if value < 265 or value == 285 else (value - 261) // 4)
                value = symbol(distances)
                extra = max(value // 2 - 1, 0)
                far = max(far, (value + 1 if value < 2 else (2 + value % 2 << extra) + 1) + take(extra))
    return far


Codes = dict[tuple[int, int], int]


def huffman(lengths: list[int]) -> Codes:
    """Return the symbols by length and code, with a 1 before the code's bits (RFC 1951 3.2.2)."""
    codes: Codes = {}
    code = 0
    for length in range(1, 16):
        for value, own in enumerate(lengths):
            if own == length:
                codes[length, 1 << length | code] = value
                code += 1
        code <<= 1
    return codes


FIXED = (huffman([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8), huffman([5] * 30))


def dynamic_codes(take: Callable[[int], int], symbol: Callable[[Codes], int]) -> tuple[Codes, Codes]:
    """RFC 1951 3.2.7."""
    literals, distances, count = take(5) + 257, take(5) + 1, take(4) + 4
    own = [0] * 19
    for place in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)[:count]:
        own[place] = take(3)
    codes, lengths = huffman(own), list[int]()
    while len(lengths) < literals + distances:
        value = symbol(codes)
        if value < 16:
            lengths.append(value)
        elif value == 16:
            lengths += [lengths[-1]] * (3 + take(2))
        else:
            lengths += [0] * (3 + take(3) if value == 17 else 11 + take(7))
    return huffman(lengths[:literals]), huffman(lengths[literals:])
