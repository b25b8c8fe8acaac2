"""Compressed messages on the wire: whole ones, broken ones, and what stands around them (RFC 7692)."""

from __future__ import annotations

import random
import zlib
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit import frames
from kit.clients import RawClient
from kit.core.deflates import TAIL, bomb, records
from kit.core.deflates import raw as deflate

from geventws import PerMessageDeflate, WebSocketWSGI, connect
from geventws.websocket import get_connection

HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")
LIMIT = 1000


def echo(ws) -> None:
    for message in ws:
        ws.send(message)


def compressed(payload: bytes, opcode: int = frames.TEXT, **options) -> bytes:
    return frames.frame(opcode, payload, rsv=4, **options)


@pytest.fixture
def talk(serve):
    """Serve an echo that keeps no context to a client that compresses."""

    def talk(tls: dict[str, Any] | None = None, **options: Any) -> RawClient:
        site = serve(WebSocketWSGI(echo, max_message_size=LIMIT, **options), **(tls or {}))
        return site.connect(sec_websocket_extensions="permessage-deflate")

    return talk


def send(client: RawClient, data: bytes, way: str) -> None:
    for piece in (data[i : i + 1] for i in range(len(data))) if way == "byte by byte" else (data,):
        client.send(piece)
        gevent.sleep(0)


def inflated(frame: frames.Frame) -> bytes:
    return zlib.decompressobj(-15).decompress(frame.payload + TAIL) if frame.rsv else frame.payload


both_ways = pytest.mark.parametrize("way", ["whole", "byte by byte"])


@both_ways
def test_messages_of_all_kinds_in_one_read(talk, way):
    client = talk()
    text = records(900)
    parts = [
        (frames.text("plain"), b"plain"),
        (compressed(HELLO), b"Hello"),
        (compressed(deflate(text), frames.BINARY), text),
        (compressed(b"\x00"), b""),  # RFC 7692 7.2.3.6
        (compressed(b""), b""),
        (compressed(b"\xf3" + HELLO[1:] + b"\x00"), b"Hello"),  # 7.2.3.4: BFINAL
        (compressed((b"\xf3" + HELLO[1:]) * 2 + b"\x00"), b"HelloHello"),
        (compressed(HELLO[:3], fin=False) + frames.frame(frames.CONTINUATION, HELLO[3:]), b"Hello"),
        (compressed(deflate("\u20ac".encode() * 300)), "\u20ac".encode() * 300),
        (frames.binary(b"end"), b"end"),
    ]
    send(client, b"".join(part for part, _ in parts), way)
    replies = [client.read_frame() for _ in parts]
    assert [inflated(reply) for reply in replies] == [message for _, message in parts]
    assert [bool(reply.rsv) for reply in replies] == [len(message) >= 512 for _, message in parts]
    client.leave()


BROKEN = {
    "corrupt": (compressed(b"\x07"), 1007),
    "cut short": (compressed(HELLO[:3]), 1007),
    "before the first byte": (compressed(bytes.fromhex("f2 00 11 00 00")), 1007),
    "text": (compressed(deflate(b"\xed\xa0\x80")), 1007),
    "text, cut": (compressed(deflate(b"abc\xe2\x82")), 1007),
    "too long": (compressed(deflate(bytes(LIMIT + 1))), 1009),
    "bomb": (compressed(deflate(bytes(1 << 19))), 1009),
    "frame too long": (compressed(bomb(4 << 20)), 1009),
    "rsv2": (frames.frame(frames.TEXT, HELLO, rsv=6), 1002),
    "ping": (compressed(HELLO, frames.PING), 1002),
    "continuation": (compressed(HELLO, fin=False) + compressed(b"\x00", frames.CONTINUATION), 1002),
    "in a message": (frames.frame(frames.TEXT, "a", fin=False) + compressed(HELLO), 1002),
    "unmasked": (compressed(HELLO, key=None), 1002),
}


@pytest.mark.parametrize("before", [frames.text("before"), compressed(HELLO)], ids=["plain", "compressed"])
@pytest.mark.parametrize("way", ["whole", "byte by byte", "and more"])
@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_has_its_code(talk, log, data, code, way, before):
    client = talk()
    send(client, before + data + (compressed(HELLO) + frames.text("behind") if way == "and more" else b""), way)
    assert client.read_frame().payload in (b"before", b"Hello")
    client.expect_close(code, None, answer=False)
    assert len(log()) == 1


def test_the_first_breach_is_the_one_that_is_told(talk):
    client = talk()
    too_long = compressed(deflate(bytes(LIMIT + 1)))
    client.send(compressed(HELLO) + too_long + compressed(b"\x07") + frames.frame(frames.TEXT, b"\xff"))
    assert client.read_frame().payload == b"Hello"
    client.expect_close(1009, None, answer=False)


def test_a_peer_that_refers_to_its_last_message_is_refused(talk):
    """It has agreed to client_no_context_takeover; RFC 7692 7.2.3.2."""
    client = talk()
    client.send(compressed(HELLO) + compressed(bytes.fromhex("f2 00 11 00 00")))
    assert client.read_frame().payload == b"Hello"
    client.expect_close(1007, None, answer=False)


@both_ways
def test_over_tls(talk, secure, way):
    client = talk(secure)
    send(client, compressed(HELLO) + frames.text("plain") + compressed(deflate(b"abc" * 300), frames.BINARY), way)
    assert [inflated(client.read_frame()) for _ in range(3)] == [b"Hello", b"plain", b"abc" * 300]
    client.send(compressed(b"\x07"))
    client.expect_close(1007, None, answer=False)


def test_two_connections_know_nothing_of_each_other(talk):
    one, two = talk(), talk()
    one.send(compressed(HELLO))
    assert one.read_frame().payload == b"Hello"
    two.send(compressed(bytes.fromhex("f2 00 11 00 00")))
    two.expect_close(1007, None, answer=False)
    one.leave()


@both_ways
def test_where_context_is_kept_it_is_used(talk, way):
    client = talk(compression=PerMessageDeflate(client_no_context_takeover=False))
    send(client, compressed(HELLO) + compressed(bytes.fromhex("f2 00 11 00 00")) * 2, way)
    assert [client.read_frame().payload for _ in range(3)] == [b"Hello"] * 3
    client.leave()


@pytest.mark.parametrize("keep", [False, True], ids=["forgets", "keeps"])
@pytest.mark.parametrize("secured", [False, True], ids=["tcp", "tls"])
def test_many_small_bombs_wait_in_the_kernel_for_a_busy_handler(serve, secure, keep, secured):
    """Each is within the limit. What one read takes is at most 16 KB of them, which stay as they came."""
    size, held, leave = 1 << 20, [], Event()

    def handler(ws) -> None:
        leave.wait()
        assert len(ws.wait()) == size
        held.append(get_connection(ws).held)
        ws.close()

    options = PerMessageDeflate(client_no_context_takeover=not keep)
    site = serve(WebSocketWSGI(handler, compression=options), **(secure if secured else {}))
    client = site.connect(sec_websocket_extensions="permessage-deflate")
    piece = compressed(deflate(bytes(size)), frames.BINARY)
    for _ in range(10):
        client.send(piece * 30)
        gevent.sleep(0.01)
    leave.set()
    client.expect_close(answer=True)
    assert len(piece) < held[0] <= size + (64 << 10)


def fixed_codes(message: bytes) -> bytes:
    """Return the message in nine bits for most of its bytes: deflate at its worst."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15, 8, zlib.Z_FIXED)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@both_ways
@pytest.mark.parametrize("encode", [deflate, fixed_codes])
def test_what_deflate_cannot_shrink_has_the_same_limit(talk, way, encode):
    client = talk()
    noise = random.Random(1).choices(range(144, 256), k=LIMIT)  # what fixed codes have nine bits for
    message = bytes(noise)
    assert len(encode(message)) > LIMIT or encode is deflate
    send(client, compressed(encode(message), frames.BINARY), way)
    assert inflated(client.read_frame()) == message
    client.send(compressed(encode(message + b"!"), frames.BINARY))
    client.expect_close(1009, None)


@pytest.mark.parametrize("whole", [True, False])
def test_a_message_that_is_not_compressed_has_no_more_room(talk, whole):
    client = talk()
    client.send(frames.frame(frames.BINARY, b"x" * LIMIT))
    assert inflated(client.read_frame()) == b"x" * LIMIT
    client.send(frames.frame(frames.BINARY, b"x" * LIMIT + b"!")[: None if whole else -1])
    client.expect_close(1009, None)


def test_an_incompressible_message_of_the_largest_size(serve):
    site = serve(WebSocketWSGI(echo))
    message = random.Random(1).randbytes(1 << 20)
    with connect(f"ws://127.0.0.1:{site.port}/", proxy=None) as ws:
        ws.send(message)
        assert ws.wait() == message
