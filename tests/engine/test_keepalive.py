"""Clocks after the loop was held up, by a handler that computes: what is due then has not yet had its time."""

from __future__ import annotations

import time

import gevent
import pytest
from gevent.event import Event
from kit import frames

from geventws import WebSocketWSGI

HELD_UP = 0.5
"""Seconds that nothing else runs for, more than every limit here."""


def hold_up(ws):
    assert ws.wait() == "compute"
    time.sleep(HELD_UP)


def test_wait_waits_from_when_it_is_called(join):
    seen = []

    def handler(ws):
        hold_up(ws)
        ws.send("ready")
        seen.append(ws.wait(timeout=0.3))

    client = join(handler)
    client.send(frames.text("compute"))
    client.expect(b"\x81\x05ready")
    gevent.sleep(0.05)
    client.send(frames.text("in time"))
    client.expect_close()
    assert seen == ["in time"]


def test_close_waits_from_when_it_is_called(join):
    seen = []

    def handler(ws):
        hold_up(ws)
        ws.close()
        seen.append((ws.close_code, ws.close_reason))

    client = join(handler, close_timeout=0.3)
    client.send(frames.text("compute"))
    assert client.read_frame().opcode == frames.CLOSE
    gevent.sleep(0.05)
    client.send(frames.close(1000, "bye"))
    client.site.settle()
    assert seen == [(1000, "bye")]


def test_a_peer_has_all_the_time_to_take_what_is_sent(join, log):
    held_up = Event()

    def handler(ws):
        hold_up(ws)
        held_up.set()
        ws.send(b"x" * 10_000_000)

    client = join(handler, send_timeout=0.3, receive_buffer=16384)
    client.send(frames.text("compute"))
    held_up.wait()
    gevent.sleep(0.1)
    assert client.read_frame().payload == b"x" * 10_000_000
    client.expect_close()
    assert log() == []


@pytest.mark.parametrize("over", ["TCP", "TLS"])
def test_a_peer_is_not_given_up_whose_pong_was_not_read(serve, secure, log, over):
    @WebSocketWSGI(ping_interval=0.2, ping_timeout=0.1)
    def echo(ws):
        for message in ws:
            ws.send(message)

    client = serve(echo, **(secure if over == "TLS" else {})).connect()
    ping = client.read_frame()
    client.send(frames.frame(frames.PONG, ping.payload))
    time.sleep(HELD_UP)
    client.send(frames.text("alive"))
    frame = client.read_frame()
    while frame.opcode == frames.PING:
        client.send(frames.frame(frames.PONG, frame.payload))
        frame = client.read_frame()
    assert frame == frames.Frame(frames.TEXT, b"alive")
    assert log() == []
    client.close()
