"""Messages that are received piece by piece, and text that is not decoded."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event
from kit import frames

from geventws import ConnectionClosed


def first(payload: bytes) -> bytes:
    """Return the first fragment of a text message."""
    return frames.frame(frames.TEXT, payload, fin=False)


def more(payload: bytes) -> bytes:
    """Return a fragment that is neither the first nor the last."""
    return frames.frame(frames.CONTINUATION, payload, fin=False)


def last(payload: bytes) -> bytes:
    """Return the last fragment of a message."""
    return frames.frame(frames.CONTINUATION, payload)


def collect(ws) -> list:
    """Return the messages of a streaming connection, each as the list of its pieces."""
    messages = []
    while (pieces := ws.wait_pieces()) is not None:
        messages.append(list(pieces))
    return messages


# Receiving


def test_pieces_come_as_their_frames_do(join):
    seen, begun = [], Event()

    def handler(ws):
        pieces = ws.wait_pieces()
        seen.append(next(pieces))
        begun.set()
        seen.extend(pieces)

    client = join(handler, streaming=True)
    client.send(first("é".encode()[:1]) + more("é".encode()[1:] + b"a"))
    assert begun.wait(5)
    assert seen == ["éa"]
    client.send(more(b"b"))
    client.send(last(b"c"))
    client.expect_close(1000)
    client.site.settle()
    assert "".join(seen) == "éabc"


def test_messages_of_every_kind(inside):
    def client(client):
        client.send(frames.text("one") + frames.binary(b"two") + frames.text("") + frames.binary(b""))
        client.leave()

    assert inside(collect, client, streaming=True) == [["one"], [b"two"], [""], [b""]]


def test_a_message_larger_than_the_limit_can_be_taken_in_pieces(inside):
    def client(client):
        client.send(frames.binary(bytes(300_000)))
        client.leave()

    ((*pieces,),) = inside(collect, client, streaming=True, max_message_size=1000)
    assert b"".join(pieces) == bytes(300_000) and len(pieces) > 1


def test_no_piece_is_longer_than_128_kib(inside):
    sizes = []

    def handler(ws):
        for piece in ws.wait_pieces():
            sizes.append(len(piece))
            gevent.sleep(0.001)  # so that more comes at a time
        return sum(sizes)

    def client(client):
        client.send(frames.binary(bytes(4 << 20)))
        client.expect_close()

    assert inside(handler, client, streaming=True) == 4 << 20
    assert max(sizes) <= 128 << 10 and len(sizes) >= 32


def test_what_is_not_taken_of_a_message_is_skipped(inside):
    def handler(ws):
        next(ws.wait_pieces())
        return list(ws.wait_pieces())

    def client(client):
        client.send(first(b"a") + more(b"b") + last(b"c") + frames.text("next"))
        client.expect_close(1000)

    assert inside(handler, client, streaming=True) == ["next"]


def test_pieces_of_a_message_that_was_skipped_take_nothing_of_the_next(inside):
    def handler(ws):
        skipped = ws.wait_pieces()
        next(skipped)
        seen = [ws.wait_pieces()]
        with pytest.raises(RuntimeError, match="skipped"):
            next(skipped)
        return [*map(list, seen), *collect(ws)]

    def client(client):
        client.send(first(b"a") + last(b"b") + first(b"c") + last(b"d") + frames.text("e"))
        client.leave()

    assert inside(handler, client, streaming=True) == [["c", "d"], ["e"]]


def test_a_connection_that_ends_within_a_message(inside):
    def handler(ws):
        pieces = ws.wait_pieces()
        found = [next(pieces)]
        with pytest.raises(ConnectionClosed) as caught:
            next(pieces)
        return found, caught.value.code, ws.wait_pieces()

    def client(client):
        client.send(first(b"a"))
        client.reset()

    assert inside(handler, client, streaming=True) == (["a"], 1006, None)


def test_wait_returns_whole_messages_and_a_timeout_loses_nothing(inside):
    def handler(ws):
        found = [ws.wait(), ws.wait()]
        ws.send("go")
        while True:
            try:
                return [*found, ws.wait(timeout=0.01)]
            except TimeoutError:
                ws.send("on")

    def client(client):
        client.send(frames.text("one") + frames.binary(b"two"))
        client.expect(b"\x81\x02go")
        client.send(first(b"th"))
        client.expect(b"\x81\x02on")
        client.send(last(b"ree"))
        while client.read_frame().opcode != 8:
            pass
        client.send(frames.close(1000))

    assert inside(handler, client, streaming=True) == ["one", b"two", "three"]


def test_iterating_gives_whole_messages(inside):
    def client(client):
        client.send(first(b"a") + more(b"b") + last(b"c") + frames.binary(b"d"))
        client.leave()

    assert inside(list, client, streaming=True) == ["abc", b"d"]


def test_wait_refuses_a_message_over_the_limit(join):
    client = join(lambda ws: ws.wait(), streaming=True, max_message_size=1000)
    client.send(frames.binary(bytes(1001)))
    client.expect_close(1009, None, answer=False)


def test_a_handler_that_takes_no_pieces_holds_the_peer_back(join):
    go = Event()

    def handler(ws):
        go.wait()
        return sum(map(len, ws.wait_pieces()))

    client = join(handler, streaming=True, max_message_size=100_000)
    sender = gevent.spawn(client.send, frames.binary(bytes(30 << 20)))
    gevent.sleep(0.3)
    assert not sender.ready()
    go.set()
    sender.get(timeout=5)
    client.expect_close(1000)


def test_text_as_bytes(inside):
    def client(client):
        client.send(frames.text("é") + frames.binary(b"\xff") + first(b"\xc3") + last(b"\xa9"))
        client.leave()

    assert inside(list, client, decode_text=False) == ["é".encode(), b"\xff", "é".encode()]
    assert inside(collect, client, decode_text=False, streaming=True)[0] == ["é".encode()]


def test_text_as_bytes_is_still_checked(join):
    client = join(list, decode_text=False)
    client.send(frames.frame(frames.TEXT, b"\xff"))
    client.expect_close(1007, None, answer=False)
