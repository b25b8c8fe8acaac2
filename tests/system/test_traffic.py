"""Much traffic: concurrent senders, large messages, many connections; all of it arrives whole and in order."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
import time

import gevent
import pytest
from gevent.event import Event
from kit.clients import RawClient, handshake
from kit.frames import BINARY, CONTINUATION, TEXT, binary, close, frame, text

from geventws import WebSocketWSGI

MIB = 1 << 20


@pytest.fixture(params=["tcp", "tls"])
def options(request, secure):
    return secure if request.param == "tls" else {}


def test_senders_do_not_mix_and_keep_their_order(serve, options):
    """Five greenlets send at once, messages of 5 MB among small ones."""
    sizes = [5_000_000, 10, 70_000]

    def handler(ws):
        def send(name: int) -> None:
            for number, size in enumerate(sizes):
                ws.send(b"%d %d " % (name, number) + bytes((65 + name,)) * size)

        gevent.joinall([gevent.spawn(send, name) for name in range(5)], raise_error=True)

    client = serve(WebSocketWSGI(handler), **options).connect()
    seen = {name: 0 for name in range(5)}
    for _ in range(5 * len(sizes)):
        name, number, content = client.read_message().split(b" ")
        name = int(name)
        assert int(number) == seen[name]
        assert content == bytes((65 + name,)) * sizes[seen[name]]
        seen[name] += 1
    client.expect_close()


def test_small_messages_go_behind_a_large_one_that_blocks(serve, options):
    def handler(ws):
        large = gevent.spawn(ws.send, b"L" * 3_000_000)
        gevent.sleep(0)
        ws.ping(b"p")
        ws.send("small")
        large.join()

    client = serve(WebSocketWSGI(handler), **options).connect(receive_buffer=8192)
    assert client.read_frame().payload == b"L" * 3_000_000
    client.expect(b"\x89\x01p\x81\x05small")
    client.expect_close()


def test_large_message_there_and_back(serve, options):
    def echo(ws):
        for message in ws:
            ws.send(message)

    payload = random.Random(1).randbytes(16 * MIB)
    client = serve(WebSocketWSGI(echo, max_message_size=16 * MIB), **options).connect()
    sending = gevent.spawn(client.send, binary(payload))
    assert hashlib.sha256(client.read_message()).digest() == hashlib.sha256(payload).digest()
    sending.get()
    client.send(binary(payload + b"!")[:20])
    client.expect_close(1009, None, answer=False)


@pytest.mark.parametrize("piece", [1000, 65_536, 100_001])
def test_large_text_in_pieces_and_fragments(serve, piece):
    letters = "aé€😀"
    message = "".join(random.Random(2).choices(letters, k=200_000))
    data = message.encode()
    frames = b"".join(
        frame(TEXT if not at else CONTINUATION, data[at : at + piece], fin=at + piece >= len(data))
        for at in range(0, len(data), piece)
    )
    client = serve(WebSocketWSGI(lambda ws: ws.send(ws.wait()))).connect()
    for at in range(0, len(frames), 77_777):
        client.send(frames[at : at + 77_777])
        gevent.sleep(0)
    assert client.read_message() == message
    client.expect_close()


def test_fragments_of_one_byte(serve):
    """Memory and time stay in proportion: 100,000 fragments are no more than a message of that size."""
    count = 100_000
    frames = frame(BINARY, b"x", fin=False) + frame(0, b"x", fin=False) * (count - 2) + frame(0, b"x")
    client = serve(WebSocketWSGI(lambda ws: ws.send(str(len(ws.wait()))))).connect()
    begin = time.monotonic()
    client.send(frames)
    assert client.read_message() == str(count)
    assert time.monotonic() - begin < 3
    client.expect_close()


def test_messages_of_many_sizes_in_random_segments(serve, options):
    chance = random.Random(3)
    sizes = [0, 1, 124, 125, 126, 127, 4000, 16383, 16384, 16385, 65535, 65536, 65537, 131_072, 200_000]
    messages = [chance.randbytes(size) for size in chance.sample(sizes * 3, 45)]
    stream = b"".join(map(binary, messages))

    def handler(ws):
        for message in ws:
            ws.send(message)

    client = serve(WebSocketWSGI(handler), **options).connect()

    def send() -> None:
        at = 0
        while at < len(stream):
            size = chance.choice([1, 10, 1000, 50_000, 300_000])
            client.send(stream[at : at + size])
            at += size
            gevent.sleep(0)

    sending = gevent.spawn(send)
    assert [client.read_message() for _ in messages] == messages
    sending.get()
    client.leave()


def test_many_connections_at_once(serve):
    def echo(ws):
        for message in ws:
            ws.send(message)

    site = serve(WebSocketWSGI(echo))
    clients = [site.connect() for _ in range(150)]
    for turn in range(3):
        for number, client in enumerate(clients):
            client.send(text(f"{number} {turn}") + text("second"))
        for number, client in enumerate(clients):
            assert [client.read_message(), client.read_message()] == [f"{number} {turn}", "second"]
    for client in clients:
        client.send(close())
    for client in clients:
        client.expect_close(answer=False)
        client.close()


def test_a_stalled_connection_holds_up_no_other(serve):
    stalled = Event()

    def handler(ws):
        if ws.path == "/stalled":
            stalled.set()
            with gevent.Timeout(2, False):
                ws.send(b"x" * 20_000_000)
        for message in ws:
            ws.send(message)

    site = serve(WebSocketWSGI(handler, close_timeout=0.1))
    site.connect("/stalled", receive_buffer=4096)
    stalled.wait()
    client = site.connect("/other")
    for _ in range(100):
        client.send(text("a"))
        client.expect(b"\x81\x01a")
    client.leave()


def test_a_busy_connection_leaves_the_others_their_turns(join, in_thread):
    """One peer answers faster than the loop turns; timers, callbacks and new connections come in between."""
    spawned, stop = [], threading.Event()

    def handler(ws):
        for message in ws:
            if not spawned:
                gevent.spawn(spawned.append, message)
            ws.send(message)

    def ask(port: int) -> int:
        count = 0
        with socket.create_connection(("127.0.0.1", port), timeout=5) as busy:
            busy.sendall(handshake())
            while not busy.recv(4096).endswith(b"\r\n\r\n"):
                pass
            while not stop.is_set():
                busy.sendall(text("a"))
                assert busy.recv(100) == b"\x81\x01a"
                count += 1
        return count

    client = join(handler)
    asking = gevent.spawn(in_thread, ask, client.site.port)
    for _ in range(50):
        gevent.sleep(0.001)
        client.send(text("b"))
        client.expect(b"\x81\x01b")
    client.site.connect().leave()
    stop.set()
    assert asking.get() > 10 and spawned
    client.leave()


def test_a_server_in_another_thread(warm, in_thread):
    """Each thread has a loop of its own; two of them serve at once."""
    from gevent import pywsgi

    def echo(ws):
        for message in ws:
            ws.send(message)

    def run(ports: list[int], stop: threading.Event, ready: threading.Event) -> None:
        server = pywsgi.WSGIServer(("127.0.0.1", 0), WebSocketWSGI(echo), log=None)
        server.start()
        ports.append(server.server_port)
        ready.set()
        while not stop.is_set():
            gevent.sleep(0.01)
        server.stop()
        gevent.get_hub().destroy(destroy_loop=True)

    stop, ports, threads = threading.Event(), [], []
    try:
        for _ in range(2):
            ready = threading.Event()
            threads.append(threading.Thread(target=run, args=(ports, stop, ready)))
            threads[-1].start()
            assert ready.wait(5)
        with gevent.Timeout(5):
            for port in ports:
                with RawClient(port) as client:
                    client.open(text("a"))
                    client.expect(b"\x81\x01a")
                    client.leave()
    finally:
        stop.set()
        for thread in threads:
            in_thread(thread.join, 5)
    assert not any(thread.is_alive() for thread in threads)
