"""permessage_deflate.py: messages on literal bytes (RFC 7692 7.2). See also test_deflate_*."""

from __future__ import annotations

import itertools
import random
import threading
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.core.deflates import KEEP, LIMIT, TAIL, inflate, inflater, largest_distance, pair, records

from geventws.exceptions import InvalidData
from geventws.protocol.permessage_deflate import PerMessageDeflate

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
        head = inflate(end, data[:cut], False, LIMIT)
        assert head + inflate(end, memoryview(data)[cut:], True, LIMIT) == expected
    end = inflater(keep)
    pieces = [inflate(end, data[i : i + 1], i == len(data) - 1, LIMIT) for i in range(len(data))]
    pieces += [] if data else [inflate(end, data, True, LIMIT)]
    assert b"".join(pieces) == expected
    # Whatever it was, the next message is read.
    if data:
        assert inflate(end, bytes.fromhex("f2 48 cd c9 c9 07 00"), True, 5) == b"Hello"


def test_example_of_context_takeover() -> None:
    """RFC 7692 7.2.3.2."""
    server, client = pair(KEEP)
    assert [server.encode(b"Hello").hex(" ") for _ in range(2)] == ["f2 48 cd c9 c9 07 00", "f2 00 11 00 00"]
    for payload in ("f2 48 cd c9 c9 07 00", "f2 00 11 00 00"):
        assert inflate(client, bytes.fromhex(payload), True, LIMIT) == b"Hello"


def test_no_context_takeover_is_each_message_by_itself(backend: None) -> None:
    server, client = pair(PerMessageDeflate())
    for _ in range(3):
        assert server.encode(b"Hello") == bytes.fromhex("f2 48 cd c9 c9 07 00")
    with pytest.raises(InvalidData, match="distance"):
        inflate(client, bytes.fromhex("f2 00 11 00 00"), True, LIMIT)


def test_an_empty_message_is_one_byte(backend: None) -> None:
    for config in (KEEP, PerMessageDeflate()):
        server, client = pair(config)
        for message in (b"", b"", b"Hello", b"", b"Hello"):
            payload = server.encode(message)
            assert payload == b"\x00" or message
            assert inflate(client, payload, True, LIMIT) == message


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
        inflate(inflater(keep), bytes.fromhex(payload), True, LIMIT)
    assert refusal.value.close_code == 1007


@pytest.mark.parametrize("payload", ["f2 48 cd", "00 05 00 fa ff 48 65", "00 ff 00 00 ff 48"])
def test_a_message_by_itself_that_was_cut_short(payload: str) -> None:
    with pytest.raises(InvalidData):
        inflate(inflater(), bytes.fromhex(payload), True, LIMIT)


@pytest.mark.parametrize("size", [1, 4096, 4097])
def test_small_and_large_messages_have_compressors_of_their_own(size: int, backend: None) -> None:
    server, client = pair(PerMessageDeflate(level=6))
    text = records(5000)[:size]
    for message in (text, records(9000), text):
        assert inflate(client, server.encode(message), True, 9000) == message


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
        assert inflate(client, server.encode(memoryview(message)), True, size) == message
        parts: list[bytes | bytearray] = [message[: size // 3], b"", bytearray(message[size // 3 :]), b""]
        payload = [server.encode_part(part, i == 3) for i, part in enumerate(parts)]
        inflated = [inflate(client, part, i == 3, size) for i, part in enumerate(payload)]
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
        data = b"".join(server.encode_part(part, i == len(parts) - 1) for i, part in enumerate(parts))
        pieces = [data[i : i + cut] for i in range(0, len(data), cut)]
        left, out = len(whole), b""
        for i, piece in enumerate(pieces):
            out += inflate(client, piece, i == len(pieces) - 1, left - len(out))
        assert out == whole


def test_connections_share_no_context(backend: None) -> None:
    """Messages of two connections, some in parts, in turns, through the same pool."""
    first, second = pair(PerMessageDeflate()), pair(PerMessageDeflate())
    text = records(5000)
    head = first[0].encode_part(text, False)
    between = second[0].encode(text)
    rest = first[0].encode_part(text, True)
    for payload, message in ((between, text), (head + rest, text * 2), (second[0].encode(text), text)):
        assert zlib.decompressobj(-15).decompress(payload + TAIL) == message


def test_threads_share_compressors(backend: None) -> None:
    text, wrong = records(3000), []

    def run() -> None:
        server, client = pair(PerMessageDeflate())
        for _ in range(100):
            if inflate(client, server.encode(text), True, 3000) != text:
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
        server.encode("text")  # type: ignore[arg-type]
    assert inflate(client, server.encode(b"Hello"), True, 5) == b"Hello"


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
        payload = server.encode(message)
        distances.append(largest_distance(payload + TAIL))
        assert inflate(client, payload, True, len(message)) == message
    assert 250 <= max(distances) <= 1 << bits
