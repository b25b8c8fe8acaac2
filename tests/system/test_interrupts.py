"""Timeouts and kills thrown into send, wait and close wherever they can be: a connection stays in step, or is closed.

A greenlet can only be interrupted where it blocks. An `Attacker` throws once in each turn of the loop, so between any
two steps of the connection, while a client sends a byte in a turn, or takes a little.
"""

from __future__ import annotations

import contextlib
import random

import gevent
import pytest
from gevent.event import Event
from kit import frames
from kit.clients import RawClient

from geventws import ConnectionClosed, WebSocketWSGI

MESSAGES = ["", "hello", b"x" * 126, "\u20ac" * 50, b"", b"\x00\xff" * 100, "last"]


class Interrupt(BaseException):
    """What is thrown."""


class Attacker:
    """Throws an error into the current greenlet in every turn of the loop, for the time of a `with` block."""

    def __init__(self) -> None:
        self.count = 0
        self._on = False

    def __enter__(self) -> Attacker:
        self._on = True
        gevent.spawn(self._attack, gevent.getcurrent())
        return self

    def __exit__(self, *error: object) -> None:
        self._on = False

    def _attack(self, target: gevent.Greenlet) -> None:
        while self._on:
            gevent.get_hub().loop.run_callback(self._throw, target)
            gevent.sleep(0)

    def _throw(self, target: gevent.Greenlet) -> None:
        if self._on:
            self.count += 1
            target.throw(Interrupt())


def encode(messages) -> bytes:
    return b"".join(frames.text(m) if isinstance(m, str) else frames.binary(m) for m in messages)


def dribble(client: RawClient, data: bytes) -> None:
    """Send a byte in a turn of the loop."""
    for byte in data:
        client.send(bytes((byte,)))
        gevent.sleep(0)


@pytest.mark.parametrize("timeout", [None, 0, 10])
def test_interrupted_wait_loses_nothing(inside, timeout):
    def handler(ws):
        taken = []
        with Attacker() as attacker:
            while len(taken) < len(MESSAGES):
                with contextlib.suppress(Interrupt, TimeoutError):
                    taken.append(ws.wait(timeout))
        assert attacker.count > len(MESSAGES)
        ws.send("in step")
        return taken

    def client(client):
        dribble(client, encode(MESSAGES))
        client.expect(b"\x81\x07in step")
        client.expect_close()
        client.close()

    assert inside(handler, client) == MESSAGES


@pytest.mark.parametrize("kind", [gevent.Timeout, TimeoutError])
def test_timeouts_of_all_lengths(inside, kind):
    chance = random.Random(5)

    def handler(ws):
        taken = []
        while len(taken) < len(MESSAGES):
            seconds = chance.choice([0, 0.0001, 0.001])
            with contextlib.suppress(TimeoutError, gevent.Timeout):
                if kind is TimeoutError:
                    taken.append(ws.wait(seconds))
                else:
                    with gevent.Timeout(seconds):
                        taken.append(ws.wait())
        return taken

    def client(client):
        dribble(client, encode(MESSAGES))
        client.expect_close()
        client.close()

    assert inside(handler, client) == MESSAGES


@pytest.mark.parametrize("use_tls", [False, True], ids=["tcp", "tls"])
def test_interrupted_sends_go_out_whole_and_in_order(serve, secure, use_tls):
    """One that is interrupted while it waits for room is not sent at all; no other one is missing."""
    count, sizes = 40, (1, 100, 20_000, 1_000_000)
    sent: list[int] = []

    def handler(ws):
        with Attacker():
            for number in range(count):
                with contextlib.suppress(Interrupt):
                    ws.send(b"%04d" % number + b"x" * sizes[number % 4])
                    sent.append(number)
        ws.send("end")

    site = serve(WebSocketWSGI(handler), **(secure if use_tls else {}))
    client = site.connect(receive_buffer=8192)
    received: list[int] = []
    while (message := client.read_message()) != "end":
        gevent.sleep(0)
        received.append(int(message[:4]))
        assert message == b"%04d" % received[-1] + b"x" * sizes[received[-1] % 4]
    assert received == sorted(set(received)) and set(sent) <= set(received)
    assert len(sent) < len(received) < count  # some were interrupted after they had been taken, some before
    client.expect_close()


def test_interrupted_close_sends_one_close_frame(inside):
    go = Event()

    def handler(ws):
        with Attacker() as attacker:
            while ws.close_code is None:
                with contextlib.suppress(Interrupt):
                    ws.close(4000, "once")
                if attacker.count > 5:
                    go.set()
        return ws.close_code, ws.close_reason

    def client(client):
        go.wait()
        client.expect_close(4000, "once")
        client.close()

    assert inside(handler, client) == (4000, "once")


def test_wait_after_an_interrupted_wait_in_another_greenlet(inside):
    def handler(ws):
        first = gevent.spawn(ws.wait)
        gevent.sleep(0)
        first.kill()
        ws.send("go")
        return ws.wait()

    def client(client):
        client.expect(b"\x81\x02go")
        client.send(frames.text("a"))
        client.expect_close()
        client.close()

    assert inside(handler, client) == "a"


def life(ws) -> None:
    """What a handler does, as much of it as there is time for."""
    for message in ws:
        ws.send(message)
        ws.send(b"y" * 200_000)
        ws.ping()
        if message == "last":
            ws.close(4000, "all")


@pytest.mark.parametrize("kills", [1, 2, 3, 5])
def test_kill_at_any_turn_leaves_a_valid_stream_that_ends(serve, log, hub_errors, kills):
    handlers = []

    def handler(ws):
        handlers.append(gevent.getcurrent())
        life(ws)

    site = serve(WebSocketWSGI(handler, close_timeout=0.05))
    for turns in range(0, 60, 3):
        client = site.connect(frames=encode(["a", "b"]))
        client.send(encode(["c", "last"]))
        for _ in range(turns):
            gevent.sleep(0)
        for _ in range(kills):
            handlers[-1].kill(block=False)
            gevent.sleep(0)
        read_to_the_end(client)
        client.close()
    site.settle()
    assert log() == [] and hub_errors == [] and len(site.access) == 20


def read_to_the_end(client: RawClient) -> None:
    """Every frame is whole and none comes after a close frame, until the stream ends or is reset."""
    with contextlib.suppress(EOFError, ConnectionError):
        while client.read_frame().opcode != frames.CLOSE:
            gevent.sleep(0)
        with contextlib.suppress(ConnectionError):
            client.send(frames.close())
        assert client.rest() == b""


ENDS = {"end": 1000, "fail": 1011}


def test_handlers_of_a_batch_that_end_block_fail_or_close_each_other(serve, hub_errors, log):
    """Twelve connections get a message at once; whatever a handler does, it disturbs none of the others."""
    sockets, gone = [], Event()

    def handler(ws):
        sockets.append(ws)
        ws.send("ready")
        message = ws.wait()
        if message == "end":
            return
        if message == "fail":
            raise ConnectionClosed
        if message == "block":
            gevent.sleep(0)
        if message == "close another":
            gevent.spawn(sockets[7].close, 4007)
        if message == "wait again":
            with contextlib.suppress(TimeoutError):
                ws.wait(0)
        ws.send(message)
        gone.wait()

    site = serve(WebSocketWSGI(handler))
    acts = ["echo", "end", "block", "echo", "fail", "close another"]
    acts += ["echo", "echo", "wait again", "echo", "block", "echo"]
    clients = [site.connect() for _ in acts]
    for client in clients:
        client.expect(b"\x81\x05ready")
    gevent.sleep(0)
    for client, act in zip(clients, acts, strict=True):
        client.send(frames.text(act))
    for client, act in zip(clients, acts, strict=True):
        if act in ENDS:
            client.expect_close(ENDS[act])
        else:
            assert client.read_message() == act
    clients[7].expect_close(4007)
    gone.set()
    for client in clients:
        client.close()
    assert len(log()) == 1  # of the one that failed
