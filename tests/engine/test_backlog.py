"""backlog.py and what stream.py does with it: what waits to be sent, whose it is, and how fast it has to be taken."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit import frames

from geventws import ConnectionClosed
from geventws.engine.backlog import AT_ONCE, MOST_JOINED, MOST_OWNED, PACE, Backlog
from geventws.protocol.memory import SLACK
from geventws.websocket import get_connection

CORKED = 128 * 1024
"""Bytes that one burst corks at the most, with what Python adds to each."""


def taking(*counts: int) -> Any:
    """Return a socket's `send` that takes so many bytes each time, then none."""
    left = list(counts)

    def transmit(data: bytes | memoryview) -> int:
        if not left:
            raise BlockingIOError
        return min(left.pop(0), len(data))

    return transmit


def test_what_is_left_leaves_in_order() -> None:
    sent = bytearray()

    def transmit(data: bytes | memoryview) -> int:
        sent.extend(data[:3])
        return min(3, len(data))

    backlog = Backlog(b"abcde", int)
    backlog.append(b"fgh")
    while not backlog.send(transmit):
        pass
    assert sent == b"abcdefgh"
    assert not Backlog(b"ab", int).send(taking())


def test_so_many_parts_leave_in_one_turn() -> None:
    """However fast the peer takes them: others have their turn before the rest."""
    calls: list[int] = []

    def transmit(data: bytes | memoryview) -> int:
        calls.append(len(data))
        return len(data)

    backlog = Backlog(b"a", int)
    for _ in range(2 * AT_ONCE):
        backlog.append(b"b")
    assert [backlog.send(transmit) for _ in range(3)] == [False, False, True]
    assert calls == [AT_ONCE, AT_ONCE, 1]  # small ones in one call


def test_parts_leave_together_as_far_as_they_are_small() -> None:
    calls: list[int] = []

    def transmit(data: bytes | memoryview) -> int:
        calls.append(len(data))
        return len(data) - (len(calls) == 1)

    backlog = Backlog(b"a" * 10, int)
    for size in (MOST_JOINED - 10, 1, MOST_JOINED + 1, 1):
        backlog.append(b"b" * size)
    assert not backlog.send(transmit) and backlog.size == MOST_JOINED + 4
    assert backlog.send(transmit)
    assert calls == [MOST_JOINED, 2, MOST_JOINED + 1, 1]


@pytest.mark.parametrize(
    ("left", "unacknowledged", "taken", "later", "slow"),
    [
        (1 << 20, 0, PACE, 0, False),
        (1 << 20, 0, PACE - 1, 0, True),
        (1 << 20, 0, 2 * PACE, PACE, False),  # the kernel has taken more, and has not got rid of all
        (1 << 20, 0, 2 * PACE, PACE + 1, True),
        (1 << 20, 1 << 20, 0, (1 << 20) - PACE, False),  # the kernel has taken nothing, and the peer enough
        (1 << 20, 1 << 20, 0, (1 << 20) - PACE + 1, True),
        (1000, 500, 999, 0, True),  # not all that is left
        (1000, 500, 1000, 0, False),
    ],
)
def test_the_pace_of_a_peer(left: int, unacknowledged: int, taken: int, later: int, slow: bool) -> None:
    counts = [later, unacknowledged]
    backlog = Backlog(bytes(left), counts.pop)
    backlog.send(taking(taken) if taken else taking())
    assert backlog.is_too_slow() is slow


def test_each_window_is_judged_by_itself() -> None:
    backlog = Backlog(bytes(1 << 20), int)
    backlog.send(taking(8 * PACE))
    assert not backlog.is_too_slow()
    assert backlog.is_too_slow()


def test_a_peer_that_takes_too_little_is_given_up(join: Any, log: Any) -> None:
    """Some bytes in each send_timeout are not enough: a message of 64 MB would be held for hours."""
    errors = []

    def handler(ws: Any) -> None:
        with pytest.raises(ConnectionClosed) as error:
            ws.send(bytes(20_000_000))
        errors.append(error.value.code)

    client = join(handler, send_timeout=0.2, receive_buffer=4096)
    with pytest.raises(OSError):
        while True:
            client.read(100)
            gevent.sleep(0.01)
    client.site.settle()
    assert errors == [1006]
    (record,) = log()
    assert "less than 64 KB" in record.getMessage() and "send_timeout" in record.getMessage()


def test_a_failed_send_keeps_nothing_of_what_was_sent(serve: Any, join: Any) -> None:
    """Neither the error that the stream keeps nor the one that is raised in ten greenlets holds a payload."""
    size, failed, go = 2_000_000, [], Event()

    def send(ws: Any, number: int) -> None:
        try:
            ws.send(bytes([number]) * size)
            failed.append(0)  # the kernel has taken all of the first one
        except ConnectionClosed as error:
            failed.append(error.code)

    def handler(ws: Any) -> None:
        sockets.append(ws)
        go.wait()
        gevent.joinall([gevent.spawn(send, ws, number) for number in range(10)])

    sockets: list[Any] = []
    client = join(handler, receive_buffer=4096)
    while not sockets:
        gevent.sleep(0)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        go.set()
        while tracemalloc.get_traced_memory()[0] < 9 * size:
            gevent.sleep(0.001)
        client.reset()
        client.site.settle()
        while len(failed) < 10:
            gevent.sleep(0.001)
        assert failed.count(1006) >= 9 and sockets[0]._stream.error is not None
        assert tracemalloc.get_traced_memory()[0] < size / 10
    finally:
        tracemalloc.stop()
        gc.enable()


def give_up_sending(ws: Any, data: bytes, times: int) -> None:
    for _ in range(times):
        with gevent.Timeout(0.01, False):
            ws.send(data)


@pytest.mark.parametrize("size", [1000, 30_000, 500_000])
def test_what_greenlets_have_given_up_to_send_is_bounded(join: Any, size: int) -> None:
    """What nobody waits for any more stays in order, as half of it may have left. The next one waits before it adds."""
    told, held = Event(), []

    def handler(ws: Any) -> None:
        give_up_sending(ws, bytes(10_000_000), 1)
        before = get_connection(ws).held
        give_up_sending(ws, bytes(size), 30)
        held.append(get_connection(ws).held - before)
        told.set()
        ws.wait()

    client = join(handler, receive_buffer=4096)
    told.wait()
    assert held[0] == 0  # the first one was more than may wait
    assert client.read_frame().payload == bytes(10_000_000)
    client.leave()


def test_small_messages_given_up_are_bounded_and_in_order(join: Any) -> None:
    told, held = Event(), []

    def fill(ws: Any) -> None:
        with contextlib.suppress(ConnectionClosed):  # the client's close may come before this greenlet runs again
            ws.send(bytes(10_000_000))

    def handler(ws: Any) -> None:
        filling = gevent.spawn(fill, ws)
        gevent.sleep(0)
        for number in range(40):
            give_up_sending(ws, b"%03d" % number * 1000, 1)
        held.append(get_connection(ws).held)
        told.set()
        filling.join()
        ws.wait()

    client = join(handler, receive_buffer=4096)
    told.wait()
    assert MOST_OWNED < held[0] < MOST_OWNED + 4000
    assert client.read_frame().payload == bytes(10_000_000)
    client.send(frames.close())
    numbers = []
    while (frame := client.read_frame()).opcode != frames.CLOSE:
        numbers.append(int(frame.payload[:3]))
    assert numbers == list(range(len(numbers))) and 20 < len(numbers) < 30


def test_a_small_message_that_waits_as_the_connection_is_lost(join: Any) -> None:
    """The error is ConnectionClosed, as for a large one."""
    errors = []

    def handler(ws: Any) -> None:
        with pytest.raises(OSError) as error:
            while True:
                ws.send(bytes(4000))
        errors.append(type(error.value))

    client = join(handler, receive_buffer=4096, send_timeout=0.1)
    client.site.settle()
    assert errors == [ConnectionClosed]


@pytest.mark.parametrize("size", [10, 4000, 10_000])
def test_a_callback_of_the_loop_that_sends_to_a_peer_that_does_not_read(join: Any, size: int) -> None:
    """It cannot wait: past a bound its connection is aborted, and nothing more is held for it."""
    errors, held = [], []

    def handler(ws: Any) -> None:
        def send() -> None:
            try:
                while True:
                    ws.send(bytes(size))
                    held.append(get_connection(ws).held)
            except ConnectionClosed as error:
                errors.append(error.code)

        gevent.get_hub().loop.run_callback(send)
        assert ws.wait() is None

    client = join(handler, receive_buffer=4096)
    client.site.settle()
    assert errors == [1006] and max(held) < MOST_OWNED + 20_000


def test_pings_to_a_peer_that_does_not_read(join: Any) -> None:
    """Past a bound they are not sent, and their results say so; those that nobody answers are forgotten."""
    told, seen = Event(), []

    def handler(ws: Any) -> None:
        give_up_sending(ws, bytes(60_000) + bytes(10_000_000), 1)
        results = [ws.ping() for _ in range(1000)]
        seen.extend([get_connection(ws).held, results])
        told.set()
        ws.wait()

    client = join(handler, receive_buffer=4096, ping_interval=None)
    told.wait()
    assert seen[0] < 10_060_000 + SLACK
    assert {type(result.exception) for result in seen[1]} == {TimeoutError}
    client.reset()


def test_pings_that_are_not_answered(join: Any) -> None:
    told, seen = Event(), []

    def handler(ws: Any) -> None:
        seen.extend(ws.ping(b"%d" % number) for number in range(200))
        held.append(get_connection(ws).held)
        told.set()
        ws.wait()

    held: list[int] = []
    client = join(handler, ping_interval=None)
    told.wait()
    assert [type(result.exception) for result in seen] == [TimeoutError] * 136 + [type(None)] * 64
    assert held[0] <= 64 * 512
    for number in range(200):
        assert client.read_frame().payload == b"%d" % number
    client.send(frames.frame(frames.PONG, b"199"))  # which answers all before it
    client.leave()
    assert all(result.get() >= 0 for result in seen[136:])


@pytest.mark.parametrize("size", [10, 200, 1000, 1536])
@pytest.mark.parametrize("reads", [True, False])
def test_what_is_corked_is_bounded_in_bytes(join: Any, size: int, reads: bool) -> None:
    """Also where the peer does not read: then nothing is corked besides what waits already."""
    most, told = [0], Event()

    def handler(ws: Any) -> None:
        try:
            for message in ws:
                ws.send(message)
                most[0] = max(most[0], get_connection(ws).stream.measure())
        finally:
            told.set()

    count = max(200_000 // size, 1000) if reads else 400_000 // size
    client = join(handler, receive_buffer=0 if reads else 4096, send_timeout=None)
    sending = gevent.spawn(client.send, frames.binary(bytes(size)) * count)
    if reads:
        assert [len(client.read_frame().payload) for _ in range(count)] == [size] * count
    else:
        gevent.sleep(0.1)
    assert 0 < most[0] < CORKED
    sending.kill()
    client.reset()
    told.wait()
