"""intake.py and memory.py at work: what a connection holds, by its own account and by tracemalloc."""

from __future__ import annotations

import sys
import tracemalloc
import zlib
from typing import Any

import gevent
import pytest
from gevent import pywsgi
from gevent.event import Event
from kit.core.deflates import inflater
from kit.frames import BINARY, CLOSE, CONTINUATION, MASK_KEY, PING, TEXT, binary, close, close_payload, frame, text

from geventws import ConnectionClosed, WebSocketApplication, WebSocketServer, WebSocketWSGI, connect
from geventws._core import FAST_DEFLATED, FAST_SIZE, FAST_UNMASKED
from geventws.engine.intake import find_fast_path
from geventws.engine.loop.poller import get_poller
from geventws.protocol.connection import WebSocketProtocol
from geventws.protocol.memory import SLACK
from geventws.websocket import get_connection

LIMIT = 256 * 1024
WIDE = "\U0001f600".encode()
DEFLATE = {"sec_websocket_extensions": "permessage-deflate"}
NOISE = 80 * 1024
"""Bytes that the test, gevent and what all connections share allocate meanwhile."""


def deflated(opcode: int, payload: bytes, key: bytes | None = MASK_KEY) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return frame(opcode, data[:-4], rsv=4, key=key)


def wide(size: int) -> bytes:
    return b"a" * (size - 4) + WIDE


def fragments(payload: bytes, size: int) -> bytes:
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    first, last = frame(TEXT, parts[0], fin=False), frame(CONTINUATION, parts[-1])
    return first + b"".join(frame(CONTINUATION, part, fin=False) for part in parts[1:-1]) + last


# What is sent, how many messages it is, and how many times the limit may be held.
ATTACKS = {
    "large deflated texts with a wide character": (deflated(TEXT, wide(LIMIT)), 40, 5),
    "deflated texts with a wide character": (deflated(TEXT, wide(16 * 1024)), 400, 2),
    "deflated zeros": (deflated(BINARY, bytes(LIMIT)), 40, 2),
    "large texts with a wide character": (frame(TEXT, wide(LIMIT)), 12, 5),
    "texts with a wide character": (frame(TEXT, wide(8000)), 400, 2),
    "large binary messages": (binary(bytes(LIMIT)), 12, 2),
    "large texts": (text("a" * LIMIT), 12, 2),
    "large texts of two bytes a character": (text("\xe9" * (LIMIT // 2)), 12, 2),
    "texts in fragments": (fragments(wide(LIMIT), 1000), 12, 5),
    "tiny texts with a wide character": (frame(TEXT, WIDE) * 1000, 30_000, 2),
    "tiny binary messages": (binary(b"ab") * 1000, 30_000, 2),
}


class Quiet(WebSocketApplication):
    """Is busy with on_open until it may go on; then it counts."""

    def __init__(self, handler: Any, **options: Any) -> None:
        super().__init__(origins=None, **options)
        self.handler = handler

    def on_open(self, ws: Any) -> None:
        ws.data = 0
        self.handler.see(ws)
        self.handler.go.wait()

    def on_message(self, ws: Any, message: Any) -> None:
        ws.data += 1

    on_bytes = on_message

    def on_close(self, ws: Any, code: int, reason: str) -> None:
        self.handler.count(ws.data)


class Busy:
    """A handler that takes no message until it may; then it counts them."""

    def __init__(self) -> None:
        self.go, self.seen, self.done = Event(), Event(), Event()
        self.ws: Any = None
        self.taken = 0

    def see(self, ws: Any) -> None:
        self.ws = ws
        self.seen.set()

    def count(self, taken: int) -> None:
        self.taken = taken
        self.done.set()

    def __call__(self, ws: Any) -> None:
        self.see(ws)
        self.go.wait()
        self.count(sum(1 for _ in ws))


class Traced:
    """What is allocated, and was at most, since the block began; in bytes."""

    def __enter__(self) -> Traced:
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *_: object) -> None:
        tracemalloc.stop()

    @property
    def now(self) -> int:
        return tracemalloc.get_traced_memory()[0] - self._before

    @property
    def peak(self) -> int:
        return tracemalloc.get_traced_memory()[1] - self._before


def until(happened: Any) -> None:
    while not happened():
        gevent.sleep(0.002)


def serve_busy(serve: Any, busy: Busy, host: str, secure: dict[str, Any]) -> Any:
    options = secure if "TLS" in host else {}
    kind = WebSocketServer if host == "WebSocketServer" else pywsgi.WSGIServer
    if "callbacks" in host:
        application: Any = Quiet(busy, max_message_size=LIMIT)
    else:
        application = WebSocketWSGI(busy, max_message_size=LIMIT, origins=None)
    return serve(application, server_class=kind, **options)


def held(ws: Any) -> int:
    """Return what is held for a connection by its own account, and what `wait` has of a message in pieces."""
    collected = getattr(ws, "_collected", None)
    return get_connection(ws).held + (0 if collected is None else sys.getsizeof(collected))


def check_held(ws: Any, traced: Traced, times: int, limit: int = LIMIT) -> None:
    """The account is right, within what small objects and the test itself make of it, and so is what it bounds."""
    assert held(ws) <= times * limit + SLACK
    assert traced.peak <= times * limit + SLACK
    assert traced.now - NOISE <= held(ws) <= 1.5 * traced.now + NOISE


@pytest.mark.parametrize("host", ["pywsgi", "WebSocketServer", "TLS", "callbacks", "TLS callbacks"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_waits_for_a_busy_handler_is_bounded(serve: Any, secure: Any, host: str, attack: str) -> None:
    frames, count, times = ATTACKS[attack]
    busy = Busy()
    client = serve_busy(serve, busy, host, secure).connect(**DEFLATE)
    busy.seen.wait()
    data = frames * (count // 1000 if "tiny" in attack else count) + close()
    with Traced() as traced:
        pushing = gevent.spawn(client.send, data)
        until(lambda: get_connection(busy.ws).stream.paused)
        gevent.sleep(0.02)
        check_held(busy.ws, traced, times)
    busy.go.set()
    pushing.get()
    busy.done.wait()
    assert busy.taken == count and busy.ws.close_code == 1000


@pytest.mark.parametrize("over", ["TCP", "TLS"])
@pytest.mark.parametrize("attack", ["large deflated texts with a wide character", "texts with a wide character"])
def test_the_client_is_bounded_too(scripted: Any, certificate: Any, tls: Any, over: str, attack: str) -> None:
    _frames, count, times = ATTACKS[attack]
    payload = wide(LIMIT if "large" in attack else 8000)
    make = deflated if "deflated" in attack else frame
    data = make(TEXT, payload, key=None) * count + frame(CLOSE, close_payload(1000), key=None)
    pair = {"certfile": certificate["certfile"], "keyfile": certificate["keyfile"]} if over == "TLS" else {}

    def script(peer: Any) -> None:
        peer.accept(more="Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n")
        go.wait()
        peer.socket.sendall(data)
        peer.rest()

    go = Event()
    port = scripted(script, **pair).port
    scheme, context = ("wss", tls) if over == "TLS" else ("ws", None)
    with connect(f"{scheme}://127.0.0.1:{port}/", ssl=context, proxy=None, max_message_size=LIMIT) as ws:
        with Traced() as traced:
            go.set()
            until(lambda: get_connection(ws).stream.paused)
            gevent.sleep(0.02)
            check_held(ws, traced, times)
        assert sum(1 for _ in ws) == count and ws.close_code == 1000


@pytest.mark.parametrize("host", ["pywsgi", "TLS", "callbacks"])
def test_a_reset_lifts_no_pause_and_loses_nothing(serve: Any, secure: Any, host: str) -> None:
    """Both what was accepted and what the kernel holds is still taken, within the bound, and then it is over."""
    frames, count, times = ATTACKS["large deflated texts with a wide character"]
    busy = Busy()
    client = serve_busy(serve, busy, host, secure).connect(**DEFLATE)
    busy.seen.wait()
    with Traced() as traced:
        client.send(frames * count)
        until(lambda: get_connection(busy.ws).stream.paused)
        client.reset()
        poller, turns = get_poller(), []
        receive = poller.receiver.receive
        poller.receiver.receive = lambda: turns.append(1) or receive()
        for _ in range(20):
            gevent.sleep(0.001)
        del poller.receiver.receive
        assert len(turns) < 5  # it is told once
        assert not get_connection(busy.ws).ended
        check_held(busy.ws, traced, times)
    busy.go.set()
    busy.done.wait()
    assert busy.taken == count and busy.ws.close_code == 1006


def test_a_reset_while_sending_and_receiving_are_held_back(serve: Any) -> None:
    busy = Busy()
    client = serve_busy(serve, busy, "pywsgi", {}).connect(receive_buffer=4096, **DEFLATE)
    busy.seen.wait()
    errors = []

    def send() -> None:
        with pytest.raises(ConnectionClosed) as error:
            busy.ws.send(bytes(10_000_000), compress=False)
        errors.append(error.value.code)

    sending = gevent.spawn(send)
    client.send(ATTACKS["deflated zeros"][0] * 10)
    until(lambda: get_connection(busy.ws).stream.paused and get_connection(busy.ws).stream.blocked)
    client.reset()
    sending.join()
    assert errors == [1006]
    busy.go.set()
    busy.done.wait()
    assert busy.ws.close_code == 1006


def test_a_close_while_much_is_kept_drops_it_and_is_answered(serve: Any) -> None:
    """The application wants no more: what was kept goes to nobody, and the close frame behind it is found."""

    def handler(ws: Any) -> None:
        until(lambda: get_connection(ws).stream.paused)
        ws.close(1000)
        codes.append(ws.close_code)

    codes: list[int] = []
    client = serve(WebSocketWSGI(handler, max_message_size=LIMIT, origins=None)).connect(**DEFLATE)
    client.send(ATTACKS["deflated texts with a wide character"][0] * 100)
    assert client.read_frame().opcode == CLOSE
    client.send(close())
    assert client.rest() == b""
    assert codes == [1000]


def test_pings_in_one_read_are_answered_in_slices(join: Any) -> None:
    """No pile of pongs is made before any of them leaves, and each ping has its pong."""
    count = 5000
    client = join(lambda ws: ws.wait())
    with Traced() as traced:
        client.send(frame(PING, b"x" * 100) * count)
        for _ in range(count):
            client.expect(b"\x8a\x64" + b"x" * 100)
        assert traced.peak < SLACK + 1_200_000  # the client's own frames, and what it has read
    client.leave()


TINY = frame(CONTINUATION, "\u0101", fin=False)  # a character of two bytes, for which Python takes 76


@pytest.mark.parametrize("over", ["TCP", "TLS"])
@pytest.mark.parametrize("waits", [True, False])
def test_tiny_pieces_are_bounded(serve: Any, secure: Any, over: str, waits: bool) -> None:
    """Whether they wait for the handler, or `wait` collects them to a whole message."""
    limit, sockets, go, result = 64 * 1024, [], Event(), []

    def handler(ws: Any) -> None:
        sockets.append(ws)
        if not waits:
            go.wait()
        result.append(ws.wait())

    application = WebSocketWSGI(handler, streaming=True, max_message_size=limit, origins=None)
    client = serve(application, **(secure if over == "TLS" else {})).connect()
    until(lambda: sockets)
    count = limit // 2 - 1
    data = frame(TEXT, "", fin=False) + TINY * count
    with Traced() as traced:
        pushing = gevent.spawn(client.send, data)
        if waits:
            until(lambda: pushing.dead and held(sockets[0]) > limit * 9 // 10)
        else:
            until(lambda: sockets[0]._stream.paused)
        check_held(sockets[0], traced, 2, limit)
    go.set()
    pushing.get()
    client.send(frame(CONTINUATION, "\u0101"))
    client.expect_close()
    assert result == ["\u0101" * (count + 1)]


def test_a_message_in_pieces_is_measured_in_bytes(serve: Any) -> None:
    result = []
    options = {"streaming": True, "max_message_size": 1000, "origins": None}
    site = serve(WebSocketWSGI(lambda ws: result.append(ws.wait()), **options))
    client = site.connect()
    client.send(text("\xe9" * 500))
    client.expect_close()
    client = site.connect()
    client.send(text("\xe9" * 501))
    client.expect_close(1009, None)
    assert result == ["\xe9" * 500, None]



@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("keep", [None, False, True])
def test_the_word_of_the_fast_path(client: bool, keep: bool | None) -> None:
    """The size that is allowed, as far as there are bits for it, and how the frames may be; 0 where none is allowed."""
    extension = None if keep is None else inflater(keep)
    flags = FAST_UNMASKED * client | FAST_DEFLATED * (keep is False)
    for size, allowed in ((1000, 1000), (FAST_SIZE, FAST_SIZE), (1 << 40, FAST_SIZE)):
        protocol = WebSocketProtocol(client=client, max_message_size=size, extension=extension)
        assert find_fast_path(protocol) == allowed | flags
        assert find_fast_path(protocol) is find_fast_path(protocol)  # not one for each connection
    protocol.receive_data(memoryview(bytearray(b"\x82")))
    assert find_fast_path(protocol) == 0
