"""Greenlets that wait for messages: for a time, and one at a time."""

from __future__ import annotations

import time

import gevent
import pytest
from kit import frames

from geventws import ConcurrencyError, WebSocketWSGI


def test_timeout_at_every_byte_loses_nothing(inside):
    messages = ["", "hello", b"x" * 126, "\u20ac" * 9, b""]
    data = b"".join(frames.text(m) if isinstance(m, str) else frames.binary(m) for m in messages)
    data += frames.frame(frames.TEXT, "fr", fin=False) + frames.frame(frames.CONTINUATION, "ag")
    timeouts, done = [], []

    def handler(ws):
        taken = []
        while len(taken) < len(messages) + 1:
            try:
                taken.append(ws.wait(timeout=0))
            except TimeoutError:
                timeouts.append(len(taken))
        done.append(True)
        return taken

    def client(client):
        for byte in data:
            client.send(bytes((byte,)))
            count = len(timeouts)
            while len(timeouts) == count and not done:  # at least one for each byte
                gevent.sleep(1e-6)  # a turn of the loop, which sleep(0) is not
        client.expect_close()
        client.close()

    assert inside(handler, client) == [*messages, "frag"]
    assert len(timeouts) >= len(data) - len(messages)


def test_timeout_says_how_long(inside):
    def handler(ws):
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match="0.05"):
            ws.wait(0.05)
        return time.monotonic() - begin

    assert 0.04 < inside(handler, lambda client: client.expect_close()) < 2


def test_wait_with_timeout_returns_what_comes(inside):
    def client(client):
        client.send(frames.text("a"))
        client.expect(b"\x81\x01a")
        client.leave()

    def handler(ws):
        ws.send(ws.wait(timeout=5))
        return ws.wait(timeout=5)

    assert inside(handler, client) is None


def test_second_waiter_is_told_who_waits(inside):
    def handler(ws):
        first = gevent.spawn(ws.wait)
        gevent.sleep(0)
        for timeout in (None, 1):
            with pytest.raises(ConcurrencyError) as caught:
                ws.wait(timeout)
            assert isinstance(caught.value, RuntimeError) and repr(first) in str(caught.value)
        ws.send("go")
        first.join()
        return [first.value, ws.wait()]  # it may wait now

    def client(client):
        client.expect(b"\x81\x02go")
        client.send(frames.text("one") + frames.text("two"))
        client.expect_close()
        client.close()

    assert inside(handler, client) == ["one", "two"]


def test_second_waiter_takes_nothing_from_the_first(serve):
    """Not even before that one runs, with messages at hand: they would get out of order."""
    first, got = [], []

    @WebSocketWSGI
    def handler(ws):
        if ws.path == "/first":
            first.append(ws)
            got.extend(iter(ws.wait, None))
            return
        ws.wait()
        with pytest.raises(ConcurrencyError):
            first[0].wait()

    site = serve(handler)
    others = [site.connect(path) for path in ("/second", "/first")]  # in this order they are served
    gevent.sleep(0.05)
    for client in others:  # and without a turn for the server
        client.socket._sock.send(frames.text("1") + frames.text("2") + frames.text("3"))
    gevent.sleep(0.05)
    for client in others:
        client.close()
    site.settle()
    assert got == ["1", "2", "3"]


def test_any_greenlet_may_wait_and_send(join):
    def handler(ws):
        def one():
            ws.send(ws.wait())

        for _ in range(3):
            gevent.spawn(one).join()

    client = join(handler, frames.text("1") + frames.text("2") + frames.text("3"))
    assert [client.read_message() for _ in range(3)] == ["1", "2", "3"]
    client.expect_close()
