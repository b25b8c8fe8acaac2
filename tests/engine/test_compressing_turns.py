"""Compressing a large message keeps nobody waiting: the loop has its turn between two slices, and the messages of the
connection still leave whole and in order."""

from __future__ import annotations

import random
import zlib

import gevent
import pytest
from kit import frames
from kit.sites.echoes import check

from geventws import PerMessageDeflate, PreparedMessage, PubSub, WebSocketWSGI, connect
from geventws.engine.loop import turns
from geventws.protocol.permessage_deflate import LARGE, Deflate

MEGABYTE = 1 << 20
LETTERS = random.Random(1).choices("abcdefgh ", k=MEGABYTE)
LARGE_TEXT = "".join(LETTERS)
OFFER = {"sec_websocket_extensions": "permessage-deflate"}
CONTEXTS = pytest.mark.parametrize("forgets", [True, False], ids=["alone", "takeover"])


@pytest.fixture(autouse=True)
def no_time(monkeypatch):
    monkeypatch.setattr(turns, "TURN", 0.0)


@pytest.fixture
def slices(monkeypatch):
    """What was compressed slowly, in parts."""
    parts = []
    encode_slowly = Deflate.encode_slowly

    def counting(self, payload):
        for part in encode_slowly(self, payload):
            parts.append(len(part))
            yield part

    monkeypatch.setattr(Deflate, "encode_slowly", counting)
    return parts


class Inflater:
    """A client's, for messages that are compressed or not."""

    def __init__(self, forgets: bool) -> None:
        self._forgets, self._inflater = forgets, zlib.decompressobj(-15)

    def read(self, client) -> str:
        frame = client.read_frame()
        if not frame.rsv:
            return frame.payload.decode()
        if self._forgets:
            self._inflater = zlib.decompressobj(-15)
        return self._inflater.decompress(frame.payload + b"\x00\x00\xff\xff").decode()


@CONTEXTS
def test_an_honest_peer_is_served_between_two_slices(serve, slices, forgets):
    def handler(ws):
        for message in ws:
            ws.send(LARGE_TEXT if message == "large" else message)

    site = serve(WebSocketWSGI(handler, compression=PerMessageDeflate(server_no_context_takeover=forgets)))
    greedy, honest, inflater = site.connect(**OFFER), site.connect(), Inflater(forgets)
    greedy.send(frames.text("large") * 2)
    while not slices:
        gevent.sleep(0)
    before = len(slices)
    check(honest)
    assert len(slices) - before < 6 < MEGABYTE // LARGE
    assert [inflater.read(greedy) for _ in range(2)] == [LARGE_TEXT] * 2
    greedy.leave()
    honest.leave()


@CONTEXTS
def test_messages_leave_in_the_order_of_the_calls(serve, slices, forgets):
    """Small ones of other greenlets wait while a large one is compressed, and the context stays the peer's."""

    def handler(ws):
        sending = [gevent.spawn(ws.send, LARGE_TEXT), gevent.spawn(ws.send, "small"), gevent.spawn(ws.send, "x" * 1000)]
        sending.append(gevent.spawn(ws.send, LARGE_TEXT[::-1]))
        gevent.joinall(sending, raise_error=True)
        ws.send("last")

    site = serve(WebSocketWSGI(handler, compression=PerMessageDeflate(server_no_context_takeover=forgets)))
    client, inflater = site.connect(**OFFER), Inflater(forgets)
    expected = [LARGE_TEXT, "small", "x" * 1000, LARGE_TEXT[::-1], "last"]
    assert [inflater.read(client) for _ in expected] == expected
    client.expect_close()


@CONTEXTS
@pytest.mark.parametrize("kind", [str, PreparedMessage])
def test_what_is_published_meanwhile_comes_after(serve, slices, forgets, kind):
    pubsub = PubSub()

    def handler(ws):
        pubsub.subscribe(ws, "room")
        sending = gevent.spawn(ws.send, kind(LARGE_TEXT))
        while not slices:
            gevent.sleep(0)
        pubsub.publish("room", "meanwhile")
        sending.get()

    site = serve(WebSocketWSGI(handler, compression=PerMessageDeflate(server_no_context_takeover=forgets)))
    client, inflater = site.connect(**OFFER), Inflater(forgets)
    assert [inflater.read(client) for _ in range(2)] == [LARGE_TEXT, "meanwhile"]
    client.expect_close()


@CONTEXTS
def test_one_that_is_given_up_midway_leaves_no_trace(serve, slices, forgets):
    """Whoever sends it is killed between two slices: what follows is in step with the peer."""

    def handler(ws):
        ws.send(LARGE_TEXT)
        before = len(slices)
        killed = gevent.spawn(ws.send, LARGE_TEXT[::-1])
        while len(slices) < before + 2:
            gevent.sleep(0)
        killed.kill()
        ws.send(LARGE_TEXT[1:])

    site = serve(WebSocketWSGI(handler, compression=PerMessageDeflate(server_no_context_takeover=forgets)))
    client, inflater = site.connect(**OFFER), Inflater(forgets)
    assert [inflater.read(client) for _ in range(2)] == [LARGE_TEXT, LARGE_TEXT[1:]]
    client.expect_close()


def test_a_connection_that_is_closed_meanwhile(serve, slices):
    errors = []

    def handler(ws):
        def send():
            try:
                ws.send(LARGE_TEXT)
            except OSError as error:
                errors.append(error.code)

        sending = gevent.spawn(send)
        while not slices:
            gevent.sleep(0)
        ws.close(4000)
        sending.join()

    client = serve(WebSocketWSGI(handler)).connect(**OFFER)
    client.expect_close(4000)
    while not errors:
        gevent.sleep(0.001)
    assert errors == [4000]


def test_a_clients_large_message(serve, slices):
    site = serve(WebSocketWSGI(lambda ws: ws.send(str(len(ws.wait())))))
    honest = serve(WebSocketWSGI(lambda ws: [ws.send(message) for message in ws])).connect()
    with connect(f"ws://127.0.0.1:{site.port}/", compression=PerMessageDeflate()) as ws:
        sending = gevent.spawn(ws.send, LARGE_TEXT)
        while not slices:
            gevent.sleep(0)
        before = len(slices)
        check(honest)
        assert len(slices) - before < 6
        sending.get()
        assert ws.wait() == str(MEGABYTE)
