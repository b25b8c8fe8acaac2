"""Decoding what one peer has sent keeps nobody waiting: it goes on in the next turn. Here TURN is nothing, so that each
slice is a turn: what is counted is what is decoded for the greedy peers before the honest one is served."""

from __future__ import annotations

import itertools
import zlib

import gevent
import pytest
from kit.frames import BINARY, CONTINUATION, PING, PONG, TEXT, close, frame, text
from kit.sites.echoes import check

from geventws import PerMessageDeflate, WebSocketApplication, WebSocketWSGI
from geventws.engine.loop import turns
from geventws.protocol.memory import MAX_WORK, PIECE, PIECE_WORK
from geventws.protocol.messages import Assembler

MEGABYTE = 1 << 20
SLICE = MAX_WORK // PIECE_WORK


@pytest.fixture
def no_time(monkeypatch):
    monkeypatch.setattr(turns, "TURN", 0.0)


@pytest.fixture
def count(monkeypatch):
    """Count what is decoded, in frames and in pieces that were inflated."""
    counted = {"check_order": 0, "_add_piece": 0}

    def note(name):
        method = getattr(Assembler, name)

        def counting(self, *arguments):
            counted[name] += 1
            return method(self, *arguments)

        monkeypatch.setattr(Assembler, name, counting)

    for name in counted:
        note(name)
    return counted


def deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


BOMBS = {"zeros": bytes(MEGABYTE), "ascii": b"x" * MEGABYTE, "wide": "\U0001f600".encode() * (MEGABYTE // 4)}


class Site:
    """A server that answers with the sizes of messages, on one kind of host."""

    def __init__(self, serve, secure, host, **options) -> None:
        self.sizes: list[int] = []
        self.closed: list[int] = []
        tls = secure if host == "tls" else {}
        application = self.callbacks(**options) if host == "callbacks" else WebSocketWSGI(self.handle, **options)
        self.site = serve(application, **tls)

    def handle(self, ws) -> None:
        try:
            for message in ws:
                ws.send(self.answer(message), compress=False)
        finally:
            self.closed.append(ws.close_code)

    def answer(self, message) -> str:
        self.sizes.append(len(message))
        return message if len(message) < 100 and isinstance(message, str) else str(len(message))

    def callbacks(self, **options):
        class Application(WebSocketApplication):
            def on_message(app, ws, message):
                return self.answer(message)

            def on_bytes(app, ws, message):
                return self.answer(message)

            def on_close(app, ws, code, reason):
                self.closed.append(code)

        return Application(**options)

    def connect(self, deflating=False):
        offer = {"sec_websocket_extensions": "permessage-deflate"} if deflating else {}
        return self.site.connect(**offer)


HOSTS = ["blocking", "callbacks", "tls"]


@pytest.mark.parametrize("takeover", [False, True], ids=["alone", "takeover"])
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("host", HOSTS)
def test_bombs(serve, secure, no_time, count, host, bomb, takeover):
    """Four peers of them; an honest one is served between two slices of theirs."""
    site = Site(serve, secure, host, compression=PerMessageDeflate(client_no_context_takeover=not takeover))
    peers, honest = [site.connect(True) for _ in range(4)], site.connect()
    compressed = deflate(bomb)
    data = frame(BINARY if bomb[0] == 0 else TEXT, compressed, rsv=4) * 3
    for peer in peers:
        peer.send(data)
    rounds = []
    while sum(size > 100 for size in site.sizes) < 12 and len(rounds) < 40:
        before = count["_add_piece"]
        check(honest)
        rounds.append(count["_add_piece"] - before)
    assert max(rounds) <= 16 * SLICE
    size = len(bomb) if bomb[0] != 0xF0 else len(bomb) // 4
    for peer in peers:
        assert [peer.read_message() for _ in range(3)] == [str(size)] * 3
        peer.leave()
    honest.leave()


BEGIN = frame(TEXT, "a", fin=False)
FLOODS = {
    "fragments": (BEGIN + frame(CONTINUATION, b"b", fin=False) * 15_000 + frame(CONTINUATION, b"c"), 1),
    "empty fragments": (BEGIN + frame(CONTINUATION, b"", fin=False) * 15_000 + frame(CONTINUATION), 1),
    "messages of two fragments": ((BEGIN + frame(CONTINUATION, b"b")) * 3000, 3000),
}


@pytest.mark.parametrize(("data", "messages"), FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("host", HOSTS)
def test_floods_of_frames(serve, secure, no_time, count, host, data, messages):
    site = Site(serve, secure, host)
    flood, honest = site.connect(), site.connect()
    sending = gevent.spawn(flood.send, data)
    while not count["check_order"]:
        gevent.sleep(0)
    rounds = []
    for _ in range(20):
        before = count["check_order"]
        check(honest)
        rounds.append(count["check_order"] - before)
    assert max(rounds) <= 8 * MAX_WORK
    received = [flood.read_message() for _ in range(messages)]
    assert received == (["ab"] * 3000 if messages > 1 else [received[0]])
    sending.join()
    flood.leave()
    honest.leave()


@pytest.mark.parametrize("host", HOSTS)
def test_pings_are_answered_in_slices(serve, secure, no_time, host):
    site = Site(serve, secure, host)
    flood, honest = site.connect(), site.connect()
    sending = gevent.spawn(flood.send, b"".join(frame(PING, b"%05d" % number) for number in range(5000)) + text("end"))
    for _ in range(10):
        check(honest)
    pongs = []
    while (got := flood.read_frame()).opcode == PONG:
        pongs.append(got.payload)
    assert got.payload == b"end" and pongs[-1] == b"04999" and pongs == sorted(pongs)
    sending.join()
    flood.leave()


@pytest.mark.parametrize("host", HOSTS)
def test_what_follows_what_takes_long_is_not_lost(serve, secure, no_time, host):
    """A message and a close frame right behind a bomb, and a breach behind another."""
    site = Site(serve, secure, host)
    peer, other = site.connect(True), site.connect(True)
    bomb = frame(TEXT, deflate(b"x" * MEGABYTE), rsv=4)
    peer.send(bomb + text("after") + close(4000, "bye"))
    other.send(bomb + text("after") + frame(3))
    for client, code in ((peer, 4000), (other, 1002)):
        assert [client.read_message(), client.read_message()] == [str(MEGABYTE), "after"]
        client.expect_close(code, None, answer=code == 1002)
    while len(site.closed) < 2:
        gevent.sleep(0.001)
    assert sorted(site.closed) == [1002, 4000]


def test_a_peer_that_resets_in_the_middle_of_its_bomb(serve, secure, no_time, count):
    site = Site(serve, secure, "blocking", max_message_size=8 * MEGABYTE)
    peer, honest = site.connect(True), site.connect()
    peer.send(frame(TEXT, deflate(b"x" * 8 * MEGABYTE), rsv=4))
    while not count["_add_piece"]:
        gevent.sleep(0)
    peer.reset()
    check(honest)
    while site.site.pool and len(site.closed) < 1:
        gevent.sleep(0.001)
    check(honest)
    honest.leave()


def test_a_bomb_over_the_limit_is_refused_in_slices_too(serve, secure, no_time, count):
    site = Site(serve, secure, "blocking", max_message_size=4 * MEGABYTE)
    peer, honest = site.connect(True), site.connect()
    peer.send(frame(TEXT, deflate(b"x" * 5 * MEGABYTE), rsv=4))
    check(honest)
    assert count["_add_piece"] <= 6 * SLICE < 4 * MEGABYTE // PIECE
    peer.expect_close(1009, None)
    check(honest)


def test_a_handler_that_waits_with_a_timeout_does_not_hurry_it(serve, secure, no_time, count):
    """Nor is there more than one slice of it in a turn, however often it asks."""
    waits = []

    def handler(ws):
        while True:
            try:
                message = ws.wait(timeout=0)
            except TimeoutError:
                waits.append(count["_add_piece"])
                gevent.sleep(0)
                continue
            if message is None:
                return
            ws.send(str(len(message)))

    site = serve(WebSocketWSGI(handler, max_message_size=8 * MEGABYTE))
    peer = site.connect(sec_websocket_extensions="permessage-deflate")
    peer.send(frame(TEXT, deflate(b"x" * 8 * MEGABYTE), rsv=4))
    assert peer.read_message() == str(8 * MEGABYTE)
    steps = [later - earlier for earlier, later in itertools.pairwise(waits)]
    assert max(steps) <= 4 * SLICE
    peer.leave()
