"""stream.py by itself: one stream's queue, over real sockets whose calls follow a script (kit/engine/system.py)."""

from __future__ import annotations

import errno
import itertools
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from kit.engine.streams import Peer
from kit.engine.system import AGAIN, GONE, World, failing, stand_in

from geventws.engine.backlog import MOST_OWNED
from geventws.engine.stream import CORK_PARTS, MSG_MORE, Stream

MORE = b"x" * 1000


@pytest.fixture
def world(warm: None) -> Iterator[World]:
    with stand_in() as world:
        yield world


@pytest.fixture
def peer(world: World) -> Iterator[Peer]:
    one = Peer(world, send_timeout=10.0)
    yield one
    one.close()
    one.far.close()


@pytest.fixture
def stream(peer: Peer) -> Stream:
    return peer.stream


def start(function: Callable[..., object], *arguments: Any) -> Any:
    """Start a greenlet, and return it where it has blocked or ended."""
    greenlet = gevent.spawn(function, *arguments)
    gevent.sleep(0)
    return greenlet


# Order


def test_what_the_kernel_takes_at_once_leaves_in_one_call(peer: Peer, stream: Stream) -> None:
    stream.send(b"a")
    assert peer.calls.made == ["send"] and peer.read() == b"a"


@pytest.mark.parametrize("script", list(itertools.product([1, 2, 5, AGAIN], repeat=3)))
def test_short_writes_keep_the_order_of_all_ways_to_send(peer: Peer, stream: Stream, script: Any) -> None:
    """Whatever is short, and whoever waits: the bytes leave as they were given."""
    peer.calls.sends += script
    ways = [(stream.send, b"aaaa"), (stream.send_large, b"bb", b"cccc"), (stream.cork, b"dd"), (stream.send, b"ee")]
    greenlets = [start(*way) for way in ways]
    stream.push(b"ff")
    assert peer.read() == b"aaaabbccccddeeff"
    assert all(one.ready() for one in greenlets) and not (stream.corked or stream.blocked)


def test_a_greenlet_goes_on_when_all_was_taken_and_not_before(peer: Peer, stream: Stream) -> None:
    peer.calls.sends += [1, AGAIN, AGAIN]
    sending = start(stream.send, b"abc")
    assert stream.blocked and not sending.ready()
    assert peer.read() == b"abc"
    assert not stream.blocked and sending.ready()


def test_who_waits_goes_on_in_turn_as_long_as_what_they_send_is_taken(peer: Peer, stream: Stream) -> None:
    """Each goes on when its own message is taken, though the other has sent more, of which a part is left."""
    order: list[str] = []

    def send(name: str) -> None:
        for part in "12":
            stream.send(f"{name}{part} ".encode())
            order.append(name + part)

    peer.calls.sends += [AGAIN]
    sending = [start(send, name) for name in "ab"]
    peer.calls.sends += [100, 1, AGAIN]  # the two that wait, then a byte of the next
    assert peer.read() == b"a1 b1 a2 b2 "
    assert order == ["a1", "b1", "a2", "b2"] and all(one.ready() for one in sending)


def test_large_payloads_are_not_copied_behind_their_header(peer: Peer, stream: Stream) -> None:
    peer.calls.sends += [3, AGAIN]
    sending = start(stream.send_large, b"head", MORE)
    assert peer.calls.made[0] == "sendmsg"
    assert peer.read() == b"head" + MORE and sending.ready()


def test_what_transmit_has_not_taken_is_sent_as_the_rest(peer: Peer, stream: Stream) -> None:
    peer.calls.sends += [2, AGAIN]
    sent = stream.transmit(b"abc")
    sending = start(stream.send_rest, memoryview(b"abc")[sent:])
    stream.push(b"d")
    assert peer.read() == b"abcd" and sending.ready()


# Corking


def test_what_is_corked_leaves_with_the_next(peer: Peer, stream: Stream) -> None:
    stream.cork(b"a")
    assert peer.calls.made == [] and (stream.corked or stream.blocked)
    stream.send(b"b")
    assert peer.calls.made == ["send"] and peer.read() == b"ab"


def test_what_is_corked_does_not_outlive_the_turn(peer: Peer, stream: Stream) -> None:
    stream.cork(b"a")
    gevent.sleep(0)
    assert peer.calls.made == ["send"] and not (stream.corked or stream.blocked)


def test_while_its_greenlet_runs_the_poller_sees_to_that(peer: Peer, world: World, stream: Stream) -> None:
    """It flushes at the end of the greenlet's turn, and so nothing is put on the loop's list."""
    world.poller.current = peer
    stream.cork(b"a")
    gevent.sleep(0)
    assert peer.calls.made == []
    world.poller.flush_current()
    world.poller.current = None
    assert peer.calls.made == ["send"]


def test_so_many_parts_are_corked_and_no_more(peer: Peer, stream: Stream) -> None:
    for _ in range(CORK_PARTS - 1):
        stream.cork(b"a")
    assert peer.calls.made == []
    stream.cork(b"b")
    assert peer.calls.made == ["send"] and peer.calls.sent == b"a" * (CORK_PARTS - 1) + b"b"


def test_nothing_is_corked_while_the_kernel_takes_nothing(peer: Peer, stream: Stream) -> None:
    peer.calls.sends += [AGAIN] * 3
    first, second = start(stream.send, b"a"), start(stream.cork, b"b")
    assert stream.corked == [] and not second.ready()
    assert peer.read() == b"ab" and first.ready() and second.ready()


def test_what_others_append_leaves_in_its_place(peer: Peer, stream: Stream) -> None:
    stream.cork(b"a")
    stream.corked += [b"b", b"c"]
    stream.push(b"d")
    stream.flush()
    assert peer.calls.made == ["send"] and peer.calls.sent == b"abcd"


# The end


def test_the_last_replies_wait_for_the_end_that_follows(peer: Peer, stream: Stream) -> None:
    stream.corked.append(b"close")
    stream.flush_last()
    stream.end()
    stream.end()
    assert peer.calls.made == ["send", "shutdown"] and peer.calls.flags == [MSG_MORE]
    assert peer.far._sock.recv(100) == b"close" and peer.far._sock.recv(100) == b""


def test_our_side_ends_when_what_is_left_was_taken(peer: Peer, stream: Stream) -> None:
    peer.calls.sends += [1, AGAIN]
    sending = start(stream.send, b"abc")
    stream.push(b"d")
    stream.end()
    assert "shutdown" not in peer.calls.made
    assert peer.read() == b"abcd" and peer.calls.made[-1] == "shutdown"
    sending.get()


def test_hanging_up_resets_where_something_is_left_to_send(peer: Peer, stream: Stream) -> None:
    stream.push(bytes(20_000_000))
    assert stream.blocked
    stream.hang_up()
    stream.hang_up()
    with pytest.raises(ConnectionResetError):
        while peer.far.recv(1 << 20):
            pass
    assert stream.closed and not (stream.corked or stream.blocked)


def test_hanging_up_ends_where_nothing_is(peer: Peer, stream: Stream) -> None:
    stream.hang_up()
    assert peer.far.recv(100) == b"" and stream.closed


# Errors


def fill_cork(stream: Stream) -> None:
    for _ in range(CORK_PARTS):
        stream.cork(b"a")


def push_last(stream: Stream) -> None:
    stream.corked.append(b"a")
    stream.flush_last()


def check_lost(peer: Peer) -> None:
    """Nothing is left of what was to be sent, and every later send tells why."""
    stream = peer.stream
    assert stream.error == GONE.args and not (stream.corked or stream.blocked) and peer.calls.sent == b""
    expect_loss(stream.send, b"b")
    expect_loss(stream.send_large, b"b", b"c")
    stream.push(b"d")
    assert not (stream.corked or stream.blocked)


def expect_loss(function: Callable[..., object], *arguments: Any) -> None:
    with pytest.raises(OSError) as caught:
        function(*arguments)
    assert caught.value.errno == errno.ECONNRESET


@pytest.mark.parametrize("way", [lambda one: one.send(b"a"), lambda one: one.send_large(b"a", b"b"), fill_cork])
def test_an_error_is_raised_where_a_greenlet_sends(peer: Peer, stream: Stream, way: Callable[[Stream], None]) -> None:
    peer.calls.sends += [GONE]
    expect_loss(way, stream)
    check_lost(peer)


@pytest.mark.parametrize("way", [lambda one: one.push(b"a"), push_last])
def test_an_error_is_kept_where_a_callback_sends(peer: Peer, stream: Stream, way: Callable[[Stream], None]) -> None:
    peer.calls.sends += [GONE]
    way(stream)
    check_lost(peer)


def test_an_error_reaches_who_waits(peer: Peer, stream: Stream) -> None:
    peer.calls.sends += [AGAIN, GONE]
    waiting = start(expect_loss, stream.send, b"a")
    peer.read()
    waiting.get()
    check_lost(peer)


def test_all_who_wait_are_told_of_an_error(peer: Peer, stream: Stream) -> None:
    peer.calls.sends += [AGAIN, 1, GONE]
    waiting = [start(expect_loss, stream.send, name) for name in (b"aa", b"bb", b"cc")]
    assert peer.read() == b"a"
    assert [one.get() for one in waiting] == [None] * 3


def test_a_stream_that_is_closed_wakes_who_waits_and_sends_nothing_more(peer: Peer, stream: Stream) -> None:
    def send() -> None:
        with pytest.raises(BrokenPipeError):
            stream.send(b"a")

    peer.calls.sends += [AGAIN]
    waiting = start(send)
    stream.close()
    stream.close()
    waiting.get()
    send()
    assert peer.calls.made == ["send", "close"]


# A greenlet that is killed


@pytest.mark.parametrize("turns", range(6))
def test_a_kill_at_any_step_leaves_whole_frames(peer: Peer, stream: Stream, turns: int) -> None:
    """Whatever was taken of a frame by then: the rest follows, and the next frame after it."""
    peer.calls.sends += [AGAIN, 1, AGAIN, 1, AGAIN, 1, AGAIN, 1, AGAIN]
    sending = start(stream.send, b"aaaa")
    other = start(stream.send_large, b"bb", b"cc")
    for _ in range(turns):
        gevent.get_hub().loop.run_callback(peer.writable)
        gevent.sleep(0)
    sending.kill()
    stream.push(b"d")
    assert peer.read() == b"aaaabbccd"
    assert other.ready() and not (stream.corked or stream.blocked)


def test_what_a_killed_greenlet_leaves_is_nobodys(peer: Peer, stream: Stream) -> None:
    """It counts as held for the connection, and what its greenlet waits for does not."""
    peer.calls.sends += [AGAIN] * 100
    killed, waiting = start(stream.send, MORE), start(stream.send, MORE)
    assert stream.measure() == 0
    killed.kill()
    assert len(MORE) <= stream.measure() < 2 * len(MORE)
    waiting.kill()
    assert stream.measure() >= 2 * len(MORE)


def test_more_waits_for_room_where_much_was_left(peer: Peer, stream: Stream) -> None:
    peer.calls.sends += [AGAIN] * 10
    start(stream.send, bytes(MOST_OWNED)).kill()
    assert not stream.has_room
    sending = start(stream.send, b"a")
    start(stream.wait_for_room).kill()
    held = stream.measure()
    sending.kill()
    assert stream.measure() == held  # it has added nothing yet
    assert peer.read() == bytes(MOST_OWNED) and stream.has_room


def test_a_callback_does_not_wait(peer: Peer, world: World, stream: Stream) -> None:
    peer.calls.sends += [AGAIN] * 10
    world.poller.call(peer, stream.send, MORE)
    assert stream.blocked and stream.measure() >= len(MORE)
    world.poller.call(peer, stream.send, bytes(MOST_OWNED))
    raised: list[Any] = []

    def send_too_much() -> None:
        with pytest.raises(OSError) as caught:
            stream.send(b"a")
        raised.append(caught.value.errno)

    world.poller.call(peer, send_too_much)
    assert raised == [errno.ENOBUFS]
    assert peer.read() == MORE + bytes(MOST_OWNED)


# Deadlines


def test_the_alarm_rings_at_the_end_of_each_window_without_progress(peer: Peer, world: World, stream: Stream) -> None:
    peer.calls.sends += [AGAIN] * 1000
    sending = start(stream.send, MORE)
    world.clock.turn(9.9)
    assert peer.timed_out == 0
    world.clock.turn(20.1)
    assert peer.timed_out == 3
    sending.kill()


def test_there_is_no_alarm_once_all_was_taken(peer: Peer, world: World, stream: Stream) -> None:
    peer.calls.sends += [AGAIN]
    sending = start(stream.send, MORE)
    assert len(world.clock.timers) == 1
    assert peer.read() == MORE and sending.ready()
    assert world.clock.timers == []


# Receiving


def test_receiving_tells_nothing_from_the_end(peer: Peer, stream: Stream) -> None:
    buffer = memoryview(bytearray(10))
    assert stream.receive_into(buffer) is None and not stream.has_input()
    peer.far.sendall(b"abc")
    assert stream.has_input() and stream.receive_into(buffer) == 3 and not stream.has_input()
    peer.far.shutdown(socket.SHUT_WR)
    assert stream.has_input() and stream.receive_into(buffer) == 0
    peer.calls.receives += [failing(errno.ECONNABORTED)]
    with pytest.raises(ConnectionAbortedError):
        stream.receive_into(buffer)


def test_a_stream_tells_that_somebody_else_has_closed_its_socket(peer: Peer, stream: Stream) -> None:
    assert not stream.abandoned
    peer.calls.close()
    assert stream.abandoned
    stream.close()
    assert not stream.abandoned


def test_a_paused_stream_is_watched_for_nothing(peer: Peer, world: World, stream: Stream) -> None:
    told: list[int] = []
    peer.readable = lambda: told.append(1)  # type: ignore[method-assign]
    stream.pause()
    peer.far.sendall(b"a")
    peer.read()
    assert stream.paused and told == []
    stream.resume()
    peer.read()
    assert not stream.paused and told
