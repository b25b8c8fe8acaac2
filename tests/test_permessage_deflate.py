"""permessage_deflate.py: negotiation on parameters as they are parsed, messages on literal bytes (RFC 7692)."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geventws import permessage_deflate
from geventws.exceptions import HandshakeError, InvalidData, PayloadTooBig
from geventws.headers import Parameters, build_extensions, parse_extensions
from geventws.permessage_deflate import Deflate, PerMessageDeflate

LIMIT = 1 << 20
KEEP = PerMessageDeflate(server_no_context_takeover=False, client_no_context_takeover=False)
BACKENDS = [None, permessage_deflate.isal_zlib] if permessage_deflate.isal_zlib else [None]
TAIL = b"\x00\x00\xff\xff"


@pytest.fixture(params=BACKENDS, ids=lambda module: module.__name__ if module else "zlib")
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(permessage_deflate, "isal_zlib", request.param)
    permessage_deflate._compressors.cache_clear()
    yield
    permessage_deflate._compressors.cache_clear()


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


def raw(data: bytes, level: int = 9) -> bytes:
    """Return the data as one message by zlib itself."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def records(size: int) -> bytes:
    rng = random.Random(size)
    rows = [{"id": i, "price": rng.random(), "side": rng.choice(["buy", "sell"])} for i in range(size // 40)]
    return json.dumps(rows).encode()[:size]


# Negotiation: the server's side


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("x", ""),
        ("x; client_max_window_bits", "; client_max_window_bits=15"),
        ("x; client_max_window_bits=10", "; client_max_window_bits=10"),
        ("x; client_max_window_bits=8", "; client_max_window_bits=8"),
        ("x; server_max_window_bits=8", "; server_max_window_bits=8"),
        ("x; server_max_window_bits=15", "; server_max_window_bits=15"),
        ('x; server_max_window_bits="10"', "; server_max_window_bits=10"),  # RFC 6455 9.1: the same as 10
        ("x; server_no_context_takeover; client_no_context_takeover", ""),
        (
            "x; client_max_window_bits=9; server_max_window_bits=11",
            "; server_max_window_bits=11; client_max_window_bits=9",
        ),
        ("x; Server_Max_Window_Bits=9", "; server_max_window_bits=9"),
    ],
)
def test_answer_by_default(header: str, expected: str) -> None:
    always = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    assert answer(PerMessageDeflate(), header) == always + expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("x", ""),
        ("x; server_no_context_takeover", "; server_no_context_takeover"),
        ("x; client_no_context_takeover", "; client_no_context_takeover"),
        ("x; client_max_window_bits", "; client_max_window_bits=15"),
    ],
)
def test_answer_when_context_is_kept_in_full_windows(header: str, expected: str) -> None:
    config = dataclasses.replace(KEEP, server_max_window_bits=15, client_max_window_bits=15)
    assert answer(config, header) == "permessage-deflate" + expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        # RFC 7692 7.1.2.1: the server's window may be told unasked; 7.1.2.2: the client's must not.
        ("x", "; server_max_window_bits=12"),
        ("x; server_max_window_bits=9", "; server_max_window_bits=9"),
        ("x; server_max_window_bits=14", "; server_max_window_bits=12"),
        ("x; client_max_window_bits", "; server_max_window_bits=12; client_max_window_bits=12"),
        ("x; client_max_window_bits=10", "; server_max_window_bits=12; client_max_window_bits=10"),
        ("x; client_max_window_bits=14", "; server_max_window_bits=12; client_max_window_bits=12"),
    ],
)
def test_answer_when_context_is_kept(header: str, expected: str) -> None:
    assert answer(KEEP, header) == "permessage-deflate" + expected


BAD = [
    "x; unknown",
    "x; unknown=1",
    "x; server_no_context_takeover=1",
    "x; client_no_context_takeover=true",
    "x; server_max_window_bits",
    *(
        f"x; {name}_max_window_bits={value}"
        for name in ("server", "client")
        for value in ("7", "16", "08", "0", "+9", "1e1", "0x9", "15.0", "999999999999999999999", '"08"')
    ),
    "x; server_no_context_takeover; server_no_context_takeover",
    "x; client_max_window_bits; client_max_window_bits=10",
    "x; server_max_window_bits=10; server_max_window_bits=10",
    "x; server_max_window_bits=10; SERVER_MAX_WINDOW_BITS=11",
]


@pytest.mark.parametrize("header", BAD)
def test_a_bad_offer_is_declined_and_the_next_is_tried(header: str) -> None:
    assert PerMessageDeflate().accept(offers(header)) is None
    expected = answer(PerMessageDeflate(), "x; server_max_window_bits=9")
    assert answer(PerMessageDeflate(), header + ", x; server_max_window_bits=9, x") == expected


@pytest.mark.parametrize("value", ["", " 9", "9 ", "٩", "９", "1_0"])
def test_bits_that_int_would_read(value: str) -> None:
    assert PerMessageDeflate().accept([[("server_max_window_bits", value)]]) is None


def test_no_offers() -> None:
    assert PerMessageDeflate().accept([]) is None


# Negotiation: the client's side


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            PerMessageDeflate(),
            "server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
        (KEEP, "server_max_window_bits=12; client_max_window_bits=12"),
        (
            dataclasses.replace(KEEP, client_max_window_bits=15, server_max_window_bits=15),
            "client_max_window_bits",
        ),
    ],
)
def test_offer(config: PerMessageDeflate, expected: str) -> None:
    assert build_extensions([("x", config.offer())]) == "x; " + expected


@pytest.mark.parametrize(
    "header",
    [
        "x",
        "x; server_no_context_takeover",
        "x; client_no_context_takeover",
        "x; server_max_window_bits=8; client_max_window_bits=8",
        "x; server_max_window_bits=15; client_max_window_bits=15",
    ],
)
@pytest.mark.parametrize("config", [PerMessageDeflate(), KEEP], ids=["forgets", "keeps"])
def test_answers_that_a_client_takes(header: str, config: PerMessageDeflate) -> None:
    end = config.check(offers(header)[0])
    assert end.decompress(end.compress(b"Hello"), True, 5) == b"Hello"


@pytest.mark.parametrize("header", [*BAD, "x; client_max_window_bits"])
def test_answers_that_a_client_refuses(header: str) -> None:
    with pytest.raises(HandshakeError, match="permessage-deflate") as refusal:
        PerMessageDeflate().check(offers(header)[0])
    assert refusal.value.status == 0
    assert refusal.value.option == "compression"


def test_a_client_inflates_context_that_the_server_kept_in_spite_of_the_offer() -> None:
    end = PerMessageDeflate().check([])
    assert end.decompress(bytes.fromhex("f248cdc9c90700"), True, LIMIT) == b"Hello"
    assert end.decompress(bytes.fromhex("f200110000"), True, LIMIT) == b"Hello"


@pytest.mark.parametrize(
    "wrong",
    [
        {"server_max_window_bits": 7},
        {"client_max_window_bits": 16},
        {"level": 10},
        {"level": -1},
        {"memory_level": 0},
        {"threshold": -1},
    ],
)
def test_wrong_configurations(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PerMessageDeflate(**wrong)


def test_a_configuration_is_a_value() -> None:
    assert PerMessageDeflate() == PerMessageDeflate()
    assert hash(PerMessageDeflate()) == hash(PerMessageDeflate())
    with pytest.raises(dataclasses.FrozenInstanceError):
        PerMessageDeflate().level = 3  # type: ignore[misc]


# The examples of RFC 7692 7.2.3


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("f2 48 cd c9 c9 07 00", b"Hello"),  # 7.2.3.1
        ("00 05 00 fa ff 48 65 6c 6c 6f 00", b"Hello"),  # 7.2.3.3: a block with no compression
        ("f3 48 cd c9 c9 07 00 00", b"Hello"),  # 7.2.3.4: a block with BFINAL
        ("f2 48 05 00 00 00 ff ff ca c9 c9 07 00", b"Hello"),  # 7.2.3.5: two blocks
        ("00", b""),  # 7.2.3.6: an empty message
        ("02 00", b""),  # an empty block of fixed codes
        ("f3 48 cd c9 c9 07 00", b"Hello"),  # BFINAL, without the byte that 7.2.3.4 asks for
        ("f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00", b"HelloHello"),  # two streams in one message
        ("", b""),  # not deflate, but sent by some for an empty message
    ],
)
def test_examples_to_inflate(payload: str, expected: bytes, keep: bool) -> None:
    data = bytes.fromhex(payload)
    for cut in range(len(data)):
        end = inflater(keep)
        head = end.decompress(data[:cut], False, LIMIT)
        assert head + end.decompress(memoryview(data)[cut:], True, LIMIT) == expected
    end = inflater(keep)
    pieces = [end.decompress(data[i : i + 1], i == len(data) - 1, LIMIT) for i in range(len(data))]
    pieces += [] if data else [end.decompress(data, True, LIMIT)]
    assert b"".join(pieces) == expected
    # Whatever it was, the next message is read.
    if data:
        assert end.decompress(bytes.fromhex("f2 48 cd c9 c9 07 00"), True, 5) == b"Hello"


def test_example_of_context_takeover() -> None:
    """RFC 7692 7.2.3.2."""
    server, client = pair(KEEP)
    assert [server.compress(b"Hello").hex(" ") for _ in range(2)] == ["f2 48 cd c9 c9 07 00", "f2 00 11 00 00"]
    for payload in ("f2 48 cd c9 c9 07 00", "f2 00 11 00 00"):
        assert client.decompress(bytes.fromhex(payload), True, LIMIT) == b"Hello"


def test_no_context_takeover_is_each_message_by_itself(backend: None) -> None:
    server, client = pair(PerMessageDeflate())
    for _ in range(3):
        assert server.compress(b"Hello") == bytes.fromhex("f2 48 cd c9 c9 07 00")
    with pytest.raises(InvalidData, match="distance"):
        client.decompress(bytes.fromhex("f2 00 11 00 00"), True, LIMIT)


def test_an_empty_message_is_one_byte(backend: None) -> None:
    for config in (KEEP, PerMessageDeflate()):
        server, client = pair(config)
        for message in (b"", b"", b"Hello", b"", b"Hello"):
            payload = server.compress(message)
            assert payload == b"\x00" or message
            assert client.decompress(payload, True, LIMIT) == message


# Data that does not inflate


@pytest.mark.parametrize(
    "payload",
    [
        "07",  # a block of the reserved type
        "00 05 00 00 00 48",  # a stored block of two lengths
        "02 00 11 00 00",  # a distance before the first byte
        "ff ff ff ff",
    ],
)
@pytest.mark.parametrize("keep", [False, True])
def test_corrupt_data(payload: str, keep: bool) -> None:
    with pytest.raises(InvalidData) as refusal:
        inflater(keep).decompress(bytes.fromhex(payload), True, LIMIT)
    assert refusal.value.close_code == 1007


@pytest.mark.parametrize("payload", ["f2 48 cd", "00 05 00 fa ff 48 65", "00 ff 00 00 ff 48"])
def test_a_message_by_itself_that_was_cut_short(payload: str) -> None:
    with pytest.raises(InvalidData):
        inflater().decompress(bytes.fromhex(payload), True, LIMIT)


# There and back

CONFIGS = [
    PerMessageDeflate(
        server_no_context_takeover=no_context,
        client_no_context_takeover=no_context,
        server_max_window_bits=bits,
        level=level,
    )
    for no_context, bits, level in itertools.product((True, False), (8, 9, 15), (0, 1, 2, 6))
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_messages_and_parts(config: PerMessageDeflate, backend: None) -> None:
    rng = random.Random(1)
    server, client = pair(config)
    for size in (0, 1, 5, 1000, 8192, 8193, 32767, 32768, 32769, 100_000):
        message = (records(size) + rng.randbytes(size))[:size] if size % 2 else records(size)
        assert client.decompress(server.compress(memoryview(message)), True, size) == message
        parts: list[bytes | bytearray] = [message[: size // 3], b"", bytearray(message[size // 3 :]), b""]
        payload = [server.compress_part(part, i == 3) for i, part in enumerate(parts)]
        inflated = [client.decompress(part, i == 3, size) for i, part in enumerate(payload)]
        assert b"".join(inflated) == message
        assert len(inflated[0]) == size // 3  # all of a part that was sent can be read


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=4), max_size=5),
    st.booleans(),
    st.integers(1, 50),
)
def test_messages_in_parts_cut_anywhere(messages: list[list[bytes]], keep: bool, cut: int) -> None:
    server, client = pair(KEEP if keep else PerMessageDeflate())
    for parts in messages:
        whole = b"".join(parts)
        data = b"".join(server.compress_part(part, i == len(parts) - 1) for i, part in enumerate(parts))
        pieces = [data[i : i + cut] for i in range(0, len(data), cut)]
        left, out = len(whole), b""
        for i, piece in enumerate(pieces):
            out += client.decompress(piece, i == len(pieces) - 1, left - len(out))
        assert out == whole


def test_connections_share_no_context(backend: None) -> None:
    """Messages of two connections, some in parts, in turns, through the same pool."""
    first, second = pair(PerMessageDeflate()), pair(PerMessageDeflate())
    text = records(5000)
    head = first[0].compress_part(text, False)
    between = second[0].compress(text)
    rest = first[0].compress_part(text, True)
    for payload, message in ((between, text), (head + rest, text * 2), (second[0].compress(text), text)):
        assert zlib.decompressobj(-15).decompress(payload + TAIL) == message


def test_threads_share_compressors(backend: None) -> None:
    text, wrong = records(3000), []

    def run() -> None:
        server, client = pair(PerMessageDeflate())
        for _ in range(100):
            if client.decompress(server.compress(text), True, 3000) != text:
                wrong.append(1)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_a_payload_of_the_wrong_type_costs_no_other_message() -> None:
    server, client = pair(PerMessageDeflate())
    with pytest.raises(TypeError):
        server.compress("text")  # type: ignore[arg-type]
    assert client.decompress(server.compress(b"Hello"), True, 5) == b"Hello"


# Windows


@pytest.mark.parametrize("bits", [8, 9, 10])
@pytest.mark.parametrize("level", [1, 2, 6, 9])
def test_no_distance_beyond_the_window(bits: int, level: int, backend: None) -> None:
    config = PerMessageDeflate(server_max_window_bits=bits, level=level)
    server, client = pair(config)
    rng = random.Random(bits)
    period = rng.randbytes(1 << bits)
    distances = []
    for message in (records(6000), period * 5, period[:-1] * 5, period[:250] * 5):
        payload = server.compress(message)
        distances.append(largest_distance(payload + TAIL))
        assert client.decompress(payload, True, len(message)) == message
    assert 250 <= max(distances) <= 1 << bits


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


# Bounds: memory and time


@pytest.mark.parametrize("limit", [0, 1, 1000, 32767, 32768, 32769, 100_000])
@pytest.mark.parametrize("keep", [False, True])
def test_the_limit_is_exact(limit: int, keep: bool) -> None:
    text = bytes(limit) if limit % 2 else records(limit)
    assert inflater(keep).decompress(raw(text), True, limit) == text
    for size in (limit + 1, limit + 40_000):
        with pytest.raises(PayloadTooBig) as refusal:
            inflater(keep).decompress(raw(text.ljust(size)), True, limit)
        assert refusal.value.close_code == 1009


def test_a_negative_limit_is_not_taken_for_none() -> None:
    with pytest.raises(PayloadTooBig):
        inflater().decompress(raw(b"Hello"), True, -1)


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
    bomb = raw(bytes(size))
    end = inflater(keep)
    started = time.process_time()
    with Peak() as peak, pytest.raises(PayloadTooBig) as refusal:
        end.decompress(bomb, True, LIMIT)
    assert peak.bytes <= LIMIT + (64 << 10)
    assert time.process_time() - started < 0.5  # some 2 ms, but for tracemalloc
    del refusal


@pytest.mark.parametrize("piece", [10, 100, 1000])
@pytest.mark.parametrize("keep", [False, True])
def test_a_bomb_in_fragments(piece: int, keep: bool) -> None:
    bomb = raw(bytes(8 << 20))
    end, left = inflater(keep), LIMIT
    held = []
    with Peak() as peak, pytest.raises(PayloadTooBig):
        for start in range(0, len(bomb), piece):
            for inflated in end.inflate(bomb[start : start + piece], False, left):
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
    assert end.decompress(messages[0][:-4], True, LIMIT) == seed
    with Peak() as peak, pytest.raises(PayloadTooBig):
        end.decompress(messages[1][:-4], True, LIMIT)
    assert peak.bytes <= LIMIT + (64 << 10)


@pytest.mark.parametrize("block", ["00 00 00 ff ff", "02 08 20 80 00", "03 00"], ids=["stored", "fixed", "final"])
@pytest.mark.parametrize("keep", [False, True])
def test_endless_empty_blocks_hold_nothing_and_cost_no_more_each(block: str, keep: bool) -> None:
    unit = bytes.fromhex(block)
    end = inflater(keep)
    with Peak() as peak:
        for _ in range(20):
            assert end.decompress(unit * 2000, False, 0) == b""
    assert peak.bytes <= 128 << 10
    times = [seconds(inflater(keep).decompress, unit * n, False, 0) for n in (4_000, 64_000)]
    assert times[1] < 16 * 4 * times[0] + 0.02


def test_time_grows_with_the_size() -> None:
    """What zlib leaves unconsumed is copied: that must not make it quadratic."""
    data = [raw(random.Random(1).randbytes(size)) for size in (1 << 19, 1 << 23)]
    small, large = (seconds(inflater().decompress, part, True, 1 << 24) for part in data)
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
    payload = config.check(accepted[0]).compress(text)
    accepted[1].compress(text)  # which makes the pool's first compressor
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        idle = []
        for _ in range(50):
            accepted = config.accept([offer])
            assert accepted is not None
            accepted[1].decompress(payload, True, LIMIT)
            accepted[1].compress(text)
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
            end.decompress(raw(bytes(LIMIT)), True, LIMIT - 1)
        assert refusal.value.__traceback__ is not None
        assert tracemalloc.get_traced_memory()[0] - before < 64 << 10
    finally:
        tracemalloc.stop()
