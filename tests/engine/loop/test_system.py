"""system.py: another table of system calls and another clock stand in for the system's, under whole connections."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from kit.engine.system import AGAIN, GONE, NO_ROOM, Calls, World, stand_in
from kit.frames import CLOSE, PING, PONG, frame, text
from kit.sites.echoes import echo

from geventws import ConnectionClosed, WebSocketWSGI, connect
from geventws.engine.backlog import PACE
from geventws.engine.loop.poller import Poller, get_poller
from geventws.engine.loop.system import SYSTEM, Clock


@pytest.fixture
def world(warm: None) -> Iterator[World]:
    with stand_in() as world:
        yield world


def open_one(world: World, serve: Any, handler: Any = echo, **options: Any) -> tuple[Any, Calls]:
    """Return a client of a server with this handler, and the calls that its connection makes."""
    client = serve(WebSocketWSGI(handler, **options)).connect()
    while not world.system.sockets:
        gevent.sleep(0)
    return client, world.system.sockets[0]


def settle(times: int = 5) -> None:
    """Let the loop look at its sockets a few times."""
    for _ in range(times):
        gevent.sleep(0.001)


def test_the_real_ones_are_used_unless_others_are_given(warm: None) -> None:
    poller = get_poller()
    assert poller.system is SYSTEM
    assert type(poller.clock) is Clock
    other = Poller(gevent.get_hub())
    assert other.clock.timer == poller.clock.timer
    other.let_go()


# System calls


def test_short_writes_and_none_leave_the_stream_whole(world: World, serve: Any) -> None:
    client, calls = open_one(world, serve)
    calls.sends += [1, AGAIN, 3, AGAIN, AGAIN, 2]
    client.send(text("hello"))
    client.expect(b"\x81\x05hello")
    assert calls.sends == [] and calls.made.count("send") > 6
    client.leave()


def test_receiving_that_finds_nothing_or_one_byte_at_a_time(world: World, serve: Any) -> None:
    client, calls = open_one(world, serve)
    calls.receives += [AGAIN, *[1] * 10, AGAIN]
    client.send(text("hello"))
    client.expect(b"\x81\x05hello")
    assert calls.receives == []
    client.leave()


@pytest.mark.parametrize("error", [GONE, NO_ROOM], ids=repr)
def test_a_send_that_fails_ends_its_connection(world: World, serve: Any, error: OSError) -> None:
    seen = []

    def handler(ws: Any) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            ws.send(ws.wait())
        seen.append(caught.value.code)

    client, calls = open_one(world, serve, handler)
    calls.sends.append(error)
    client.send(text("hello"))
    assert client.rest() == b""
    settle()
    assert seen == [1006] and calls.made[-1] == "close"


@pytest.mark.parametrize("error", [GONE, NO_ROOM], ids=repr)
def test_receiving_that_fails_ends_its_connection(world: World, serve: Any, error: OSError) -> None:
    seen: list[Any] = []

    def handler(ws: Any) -> None:
        seen.extend([ws.wait(), ws.close_code])

    client, calls = open_one(world, serve, handler)
    calls.receives.append(error)
    client.send(text("hello"))
    settle()
    assert seen == [None, 1006]
    client.reset()


# The clock


def test_a_ping_is_sent_and_a_peer_given_up_when_the_clock_is_turned(world: World, serve: Any) -> None:
    seen: list[Any] = []

    def handler(ws: Any) -> None:
        seen.extend([ws.wait(), ws.close_code, ws.close_reason])

    client, calls = open_one(world, serve, handler, ping_interval=3600.0, ping_timeout=600.0)
    world.clock.turn(0.9 * 3600 - 1)
    assert calls.made == []
    while not calls.made:  # some intervals are longer
        world.clock.turn(1)
    assert client.read_frame().opcode == PING
    world.clock.turn(598)
    assert seen == []
    world.clock.turn(2)
    settle()
    assert seen == [None, 1011, "keepalive ping timeout"]
    client.reset()


def test_a_round_trip_takes_what_the_clock_says(world: World, serve: Any) -> None:
    latencies: list[float] = []
    client, _calls = open_one(world, serve, lambda ws: latencies.append(ws.ping().get()) or ws.wait())
    ping = client.read_frame()
    world.clock.turn(0.25)
    client.send(frame(PONG, ping.payload))
    settle()
    assert latencies == [0.25]
    client.leave()


def test_close_timeout_strikes(world: World, serve: Any) -> None:
    closed = []

    def handler(ws: Any) -> None:
        ws.close()
        closed.append(world.clock.now)

    client, _calls = open_one(world, serve, handler, close_timeout=50.0)
    begin = world.clock.now
    assert client.read_frame().opcode == CLOSE
    world.clock.turn(49.9)
    settle()
    assert closed == []
    world.clock.turn(0.1)
    settle()
    assert closed == [begin + 50.0]
    client.reset()


def test_a_wait_that_is_over_in_time(world: World, serve: Any) -> None:
    struck = []

    def handler(ws: Any) -> None:
        with pytest.raises(TimeoutError):
            ws.wait(timeout=7.0)
        struck.append(world.clock.now)
        assert ws.wait(timeout=7.0) == "hello"

    client, _calls = open_one(world, serve, handler)
    begin = world.clock.now
    settle()
    world.clock.turn(10)
    assert struck == [begin + 7.0]
    client.send(text("hello"))
    client.expect_close()


def test_send_timeout_judges_the_pace_of_a_peer(world: World, serve: Any, log: Any) -> None:
    """It takes all that it must in two windows, and then a byte less."""
    errors = []

    def handler(ws: Any) -> None:
        ws.wait()
        with pytest.raises(ConnectionClosed) as caught:
            ws.send(bytes(20_000_000))
        errors.append(caught.value.code)

    client, calls = open_one(world, serve, handler, send_timeout=60.0, ping_interval=None)
    calls.sends += [AGAIN] * 1_000_000
    client.send(text("go"))
    settle()
    for taken in (PACE, PACE, PACE - 1):
        assert errors == []
        calls.sends[:0] = [taken]
        settle()
        world.clock.turn(60)
    settle()
    assert errors == [1006] and "send_timeout" in log()[0].getMessage()
    client.reset()


def test_a_handshake_of_the_client_uses_the_clock(world: World, scripted: Any) -> None:
    server = scripted(lambda peer: peer.rest())

    def open_late() -> None:
        with pytest.raises(TimeoutError, match="within 100 s"):
            connect(server.uri, open_timeout=100.0, proxy=None)

    opening = gevent.spawn(open_late)
    settle()
    world.clock.turn(99)
    assert not opening.ready()
    world.clock.turn(1)
    opening.get()


# One seed is one run


def run(seed: int, serve: Any) -> list[Any]:
    """Return what a connection's calls were, with short reads, short writes and time that a seed decides."""
    chosen = random.Random(seed)
    with stand_in() as world:
        client, calls = open_one(world, serve, ping_interval=None)
        message = "".join(chosen.choices("abc", k=200))
        calls.receives += [chosen.choice([AGAIN, 1, 7, 100]) for _ in range(20)]
        calls.sends += [chosen.choice([AGAIN, 1, 7, 100]) for _ in range(20)]
        client.send(text(message))
        assert client.read_message() == message
        made = list(calls.made)
        client.leave()
        settle()
        return made


def test_one_seed_is_one_run(warm: None, serve: Any) -> None:
    assert run(1, serve) == run(1, serve) != run(2, serve)
