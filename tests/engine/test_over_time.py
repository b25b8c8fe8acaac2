"""A connection over time: its clocks, what it holds for a peer or a handler that is slow, what it sends together."""

from __future__ import annotations

import itertools
import os
import resource
import socket
import time

import gevent
import pytest
from gevent import pywsgi
from gevent.event import Event
from kit import frames

from geventws import WebSocketServer, WebSocketWSGI
from geventws.websocket import get_connection


def echo(ws) -> None:
    for message in ws:
        ws.send(message)


# Clocks


def test_keepalive_pings_come_and_pongs_keep_alive(join):
    client = join(echo, ping_interval=0.05, ping_timeout=0.1)
    times = []
    for _ in range(4):
        frame = client.read_frame()
        times.append(time.monotonic())
        assert frame.opcode == frames.PING and len(frame.payload) == 4
        client.send(frames.frame(frames.PONG, frame.payload))
    assert all(0.03 < later - earlier < 1 for earlier, later in itertools.pairwise(times))
    client.leave()


def test_any_byte_counts_as_life(join):
    client = join(echo, ping_interval=0.05, ping_timeout=0.1)
    pings = 0
    while pings < 4:
        if client.read_frame().opcode == frames.PING:
            pings += 1
            client.send(frames.text("alive")[:1])
            client.send(frames.text("alive")[1:])
    client.close()


def test_silent_peer_is_given_up(join, log):
    seen = []

    def handler(ws):
        seen.extend([ws.wait(), ws.close_code, ws.closed])

    client = join(handler, ping_interval=0.05, ping_timeout=0.1)
    frame = client.read_frame()
    while frame.opcode == frames.PING:
        frame = client.read_frame()
    assert (frame.opcode, frame.payload) == (frames.CLOSE, frames.close_payload(1011, "keepalive ping timeout"))
    client.site.settle()
    assert seen == [None, 1011, True]
    (record,) = log()
    assert "ping_timeout" in record.getMessage()


def test_no_pings_without_an_interval(join):
    client = join(lambda ws: gevent.sleep(0.2), ping_interval=None, ping_timeout=0.01)
    client.expect_close()


def test_peer_that_takes_no_bytes_is_given_up(join, log):
    errors = []

    def handler(ws):
        try:
            while True:
                ws.send(b"x" * 100_000)
        except OSError as error:
            errors.append(error.code)

    client = join(handler, send_timeout=0.1, receive_buffer=4096)
    client.site.settle()
    assert errors == [1006]
    (record,) = log()
    assert "send_timeout" in record.getMessage()


def test_slow_peer_that_takes_some_bytes_is_not_given_up(join, log):
    """It takes 128 KB in each send_timeout, more than it must, and too few for the kernel to call a socket writable."""
    client = join(lambda ws: ws.send(b"x" * 5_000_000), send_timeout=0.5, receive_buffer=16384)
    begin, taken = time.monotonic(), 0
    while (passed := time.monotonic() - begin) < 1.2:
        client.read(2000)
        taken += 2000
        if taken > 256 * 1024 * passed:
            gevent.sleep(0.01)
    assert log() == []
    client.reset()


def test_pongs_are_few_while_the_peer_reads_nothing(join):
    """Many pings to a connection that cannot send are answered by the newest pong alone (RFC 6455 5.5.3)."""
    full, received = Event(), Event()

    def handler(ws):
        with gevent.Timeout(0.2, False):
            while True:
                ws.send(b"x" * 100_000)
        full.set()
        assert ws.wait() == "pings are in"
        received.set()

    client = join(handler, receive_buffer=4096)
    full.wait()
    for number in range(20_000):
        client.send(frames.frame(frames.PING, b"%05d" % number))
    client.send(frames.text("pings are in"))
    received.wait()
    pongs = []
    while (frame := client.read_frame()).opcode != frames.CLOSE:
        if frame.opcode == frames.PONG:
            pongs.append(frame.payload)
    assert pongs[-1] == b"19999" and len(pongs) < 100
    client.send(frames.close())
    assert client.rest() == b""


# Reading ahead, corking


def test_a_handler_that_never_waits_holds_the_peer_back(join):
    """What is read ahead is bounded, and nothing of it is lost once the handler goes on."""
    go, size, count = Event(), 50_000, 2000

    def handler(ws):
        go.wait()
        taken = [ws.wait() for _ in range(count)]
        ws.send(str([len(taken), sum(map(len, taken)), all(m[:5] == b"%05d" % n for n, m in enumerate(taken))]))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client = join(handler, max_message_size=size)
    sent = 0

    def push() -> None:
        nonlocal sent
        for number in range(count):
            client.send(frames.binary(b"%05d" % number + b"x" * (size - 5)))
            sent += 1

    pushing = gevent.spawn(push)
    seen = -1
    while seen != sent:  # until the kernel's buffers are full, too
        seen = sent
        gevent.sleep(0.1)
    assert sent * size < 20_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB
    go.set()
    pushing.get()
    assert client.read_message() == str([count, size * count, True])
    client.expect_close()


def test_a_burst_is_answered_in_one_segment(join):
    client = join(echo)
    client.send(frames.text("hello") * 64)
    assert client.read_some() == b"\x81\x05hello" * 64
    client.leave()


def test_one_message_is_answered_at_once(join):
    client = join(echo)
    for _ in range(3):
        client.send(frames.text("a"))
        client.expect(b"\x81\x01a")
    client.leave()


@pytest.mark.parametrize("pause", ["sleep", "another greenlet", "end"])
def test_what_is_corked_does_not_outlive_the_turn(join, pause):
    told = Event()

    def handler(ws):
        ws.send(ws.wait())  # and there is another message
        if pause == "sleep":
            told.wait()
        elif pause == "another greenlet":
            gevent.spawn(told.wait).join()

    client = join(handler, ping_interval=None)
    client.send(frames.text("a") + frames.text("b"))
    client.expect(b"\x81\x01a")
    told.set()
    client.expect_close()


def test_what_is_corked_is_sent_when_the_handler_waits_for_another_connection(serve):
    """Three connections in one batch: the first one's handler corks, and waits for the second; the third one's runs."""
    sockets = {}

    def handler(ws):
        sockets[ws.path] = ws
        ws.send("ready")
        if ws.path == "/idle":
            ws_ended.wait()
        for message in ws:
            ws.send(message)
            if ws.path == "/relay":
                sockets["/idle"].wait()

    ws_ended = Event()
    site = serve(WebSocketWSGI(handler, ping_interval=None))
    idle, relay, third = (site.connect(path) for path in ("/idle", "/relay", "/third"))
    for client in (idle, relay, third):
        client.expect(b"\x81\x05ready")
    gevent.sleep(0)  # every handler is where it waits
    relay.send(frames.text("a") + frames.text("b"))
    third.send(frames.text("c"))
    third.expect(b"\x81\x01c")
    relay.expect(b"\x81\x01a")
    ws_ended.set()
    for client in (idle, relay, third):
        client.close()


@pytest.mark.parametrize("server_class", [pywsgi.WSGIServer, WebSocketServer])
def test_the_kernel_keeps_nothing_back(serve, server_class):
    seen = []

    def handler(ws) -> None:
        with socket.socket(fileno=os.dup(get_connection(ws).fd)) as same:
            seen.append(same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    serve(WebSocketWSGI(handler), server_class=server_class).connect().expect_close()
    assert seen[0]
