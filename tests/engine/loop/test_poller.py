"""poller.py: the run queue, and the contract of callbacks. The channels are the tests' own, the sockets real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.exceptions import BlockingSwitchOutError
from kit.engine.channels import Channel
from kit.sites.echoes import check, echo

from geventws import ConnectionClosed, WebSocketWSGI, connect
from geventws.engine.loop.poller import Poller, get_poller, set_poller
from geventws.frames import Opcode
from geventws.websocket import get_connection

ordered = pytest.mark.epoll
"""Without epoll, the order within a batch is whatever libev makes of it."""

lingers = pytest.mark.epoll
"""Without epoll, nobody receives in `park`: what is ready is known only once the loop has told."""


@pytest.fixture
def poller(warm: None) -> Iterator[Poller]:
    """A poller of our own, beside that of the loop's connections."""
    one = Poller(gevent.get_hub())
    yield one
    for channel in filter(None, list(one.channels)):
        channel.close()
    one.let_go()


@pytest.fixture
def three(poller: Poller) -> list[Channel]:
    return [Channel(poller, name) for name in "abc"]


def send_all(channels: list[Channel]) -> None:
    """Have something come for all of them in one batch; with epoll, in this order."""
    send(channels)
    gevent.sleep(0.001)


def send(channels: list[Channel]) -> None:
    for channel in channels:
        channel.far.send(b"x")


def serve_all(channels: list[Channel], serve: Callable[[Channel, bytes], object]) -> list[Any]:
    """Start a greenlet for each, which serves what comes for ever."""

    def work(channel: Channel) -> None:
        while True:
            serve(channel, channel.wait())

    greenlets = [gevent.spawn(work, channel) for channel in channels]
    gevent.sleep(0)
    return greenlets


def linger_by_receiving(poller: Poller, monkeypatch: pytest.MonkeyPatch, before: Callable[[], object]) -> list[Any]:
    """Have the first greenlet that parks after a batch receive the next one, for which `before` is called.

    Return where that was.
    """
    where: list[Any] = []

    def linger() -> list[Any]:
        if where:
            return []
        where.append(gevent.getcurrent())
        before()
        return poller.receiver.receive()

    monkeypatch.setattr(poller.receiver, "busy_poll", linger)
    return where


# The run queue


@ordered
def test_everything_is_received_before_anybody_runs(three: list[Channel]) -> None:
    inboxes: list[list[int]] = []
    greenlets = serve_all(three, lambda _channel, _data: inboxes.append([len(one.inbox) for one in three]))
    send_all(three)
    assert inboxes == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    gevent.killall(greenlets)


@ordered
def test_current_is_the_channel_whose_greenlet_runs(poller: Poller, three: list[Channel]) -> None:
    seen: list[Any] = []
    greenlets = serve_all(three, lambda channel, _data: seen.append((channel, poller.current)))
    send_all(three)
    assert seen == [(one, one) for one in three]
    assert poller.current is None and poller.run_queue == []
    gevent.killall(greenlets)


@ordered
def test_each_greenlet_switches_to_the_next_one_itself(three: list[Channel]) -> None:
    """Without a detour through the hub: `run` is called in the greenlet before."""
    greenlets = serve_all(three, lambda _channel, _data: None)
    send_all(three)
    ran = [where for channel in three for name, where in channel.told if name == "run"]
    assert ran == [gevent.get_hub(), *greenlets[:2]]
    gevent.killall(greenlets)


@ordered
def test_the_hub_goes_on_where_a_greenlet_blocks_elsewhere(poller: Poller, three: list[Channel]) -> None:
    go, seen = Event(), []

    def serve(channel: Channel, _data: bytes) -> None:
        seen.append((channel.name, poller.uninterrupted))
        if channel is three[0]:
            go.wait()

    greenlets = serve_all(three, serve)
    send_all(three)
    assert seen == [("a", True), ("b", False), ("c", False)]
    assert three[1].told[1] == ("run", gevent.get_hub())
    go.set()
    gevent.killall(greenlets)


def test_what_a_greenlet_has_corked_is_flushed_when_its_turn_ends(three: list[Channel]) -> None:
    """In `park` where it waits for another channel, and by the hub where it blocks elsewhere; not in its own `park`."""
    a, b, c = three
    actions = {"a": lambda: b.wait(), "b": lambda: None, "c": lambda: gevent.sleep(0)}
    greenlets = serve_all([a, c], lambda channel, _data: actions[channel.name]())
    send_all([a, c])
    assert "flush" in a.names and "flush" in c.names
    a.told.clear()
    send_all([b])  # for which a's greenlet waits
    assert b.inbox == [] and "flush" in b.names and "flush" not in a.names
    gevent.killall(greenlets)


def test_who_ends_in_a_batch_is_flushed(three: list[Channel]) -> None:
    ending = gevent.spawn(three[0].wait)
    gevent.sleep(0)
    send_all(three[:1])
    assert ending.ready() and three[0].names == ["readable", "run", "flush"]


@ordered
def test_a_handler_closes_its_neighbour_in_the_batch(three: list[Channel]) -> None:
    seen: list[str] = []

    def serve(channel: Channel, _data: bytes) -> None:
        seen.append(channel.name)
        if channel is three[0]:
            three[1].inbox.clear()
            three[1].close()

    greenlets = serve_all(three, serve)
    send_all(three)
    assert seen == ["a", "c"] and three[1].names == ["readable", "run", "flush"]
    gevent.killall(greenlets)


@ordered
def test_a_callback_closes_its_neighbour_in_the_batch(three: list[Channel]) -> None:
    """What was reported of a descriptor is nobody's then: neither told to whom it was, nor to whoever has it next."""
    three[0].on["readable"] = three[1].close
    send_all(three)
    assert "readable" not in three[1].names and "readable" in three[2].names


@ordered
def test_a_greenlet_that_leaves_its_errors_to_the_hub_costs_the_others_nothing(
    three: list[Channel], hub_errors: list[BaseException]
) -> None:
    """As a bare greenlet does, whose parent the hub is: what it raises comes out where it was switched to."""
    seen: list[str] = []

    def serve(channel: Channel, _data: bytes) -> None:
        seen.append(channel.name)
        assert channel is not three[0]

    def work(channel: Channel) -> None:
        while True:
            serve(channel, channel.wait())

    bare = [gevent.spawn_raw(work, channel) for channel in three]
    gevent.sleep(0)
    send_all(three)
    gevent.sleep(0)
    assert seen == ["a", "b", "c"] and [type(error) for error in hub_errors] == [AssertionError]
    hub_errors.clear()
    gevent.killall(bare)


# The contract of callbacks


@pytest.mark.parametrize("name", ["readable", "writable"])
def test_a_channel_that_raises_ends_and_the_others_get_theirs(
    poller: Poller, three: list[Channel], log: Any, name: str
) -> None:
    three[1].on[name] = lambda: 1 / 0
    if name == "writable":
        poller.interest.watch(three[1], True, True)
    send_all(three)
    assert three[1].names[-2:] == ["receive_error", "run"] or three[1].names[-3:-1] == ["receive_error", "run"]
    assert three[0].inbox == three[2].inbox == [b"x"]
    assert [record.exc_info[0] for record in log()] == [ZeroDivisionError]
    assert "a channel: an internal error" in log()[0].getMessage()


def test_a_channel_that_cannot_take_its_error_either(three: list[Channel], log: Any) -> None:
    three[1].on["readable"] = three[1].on["receive_error"] = lambda: 1 / 0
    send_all(three)
    assert [name for name in three[1].names if name.startswith("receive_")] == ["receive_error", "receive_eof"]
    assert three[0].inbox == three[2].inbox == [b"x"]
    assert len(log()) == 2


def test_flushing_that_raises_ends_that_channel(three: list[Channel], log: Any) -> None:
    three[0].on["flush"] = lambda: 1 / 0
    send_all(three)
    assert "receive_error" in three[0].names and three[2].names == ["readable", "run", "flush"]
    assert len(log()) == 1


@lingers
def test_a_batch_is_received_in_the_greenlet_that_parks(
    poller: Poller, three: list[Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    greenlets = serve_all(three, lambda channel, _data: seen.append(channel.name))
    where = linger_by_receiving(poller, monkeypatch, lambda: send(three[1:]))
    send_all(three[:1])
    assert where == greenlets[:1] and seen == ["a", "b", "c"]
    assert [place for name, place in three[1].told if name in ("readable", "run")] == 2 * where
    gevent.killall(greenlets)


def test_nobody_lingers_who_may_not_be_late(
    poller: Poller, three: list[Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = linger_by_receiving(poller, monkeypatch, lambda: None)
    parked = gevent.spawn(three[0].wait, patient=False)
    gevent.sleep(0)
    send_all(three[:1])
    assert parked.ready() and where == []


def test_a_batch_that_fails_in_park_does_not_reach_its_greenlet(
    poller: Poller, three: list[Channel], monkeypatch: pytest.MonkeyPatch, log: Any
) -> None:
    greenlets = serve_all(three, lambda _channel, _data: None)
    linger_by_receiving(poller, monkeypatch, lambda: 1 / 0)
    send_all(three)
    send_all(three)
    assert [one.ready() for one in greenlets] == [False] * 3
    assert [record.exc_info[0] for record in log()] == [ZeroDivisionError]
    gevent.killall(greenlets)


def in_park(poller: Poller, three: list[Channel], monkeypatch: pytest.MonkeyPatch, callback: Callable[[], Any]) -> Any:
    """Return what a callback returns that the second channel runs in the greenlet of the first, and what it raises."""
    seen: list[Any] = []

    def call() -> None:
        assert gevent.getcurrent() is greenlets[0]
        try:
            seen.append(callback())
        except BaseException as error:
            seen.append(error)

    three[1].on["readable"] = call
    greenlets = serve_all(three[:1], lambda _channel, _data: None)
    linger_by_receiving(poller, monkeypatch, lambda: send(three[1:2]))
    others = gevent.spawn(lambda: seen.append("another greenlet ran"))
    send_all(three[:1])
    gevent.killall(greenlets)
    assert len(seen) == 2 and others.ready()
    return seen[0] if seen[1] == "another greenlet ran" else seen[1]


@lingers
def test_may_block_knows_callbacks_wherever_they_run(
    poller: Poller, three: list[Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert poller.may_block()
    assert in_park(poller, three, monkeypatch, poller.may_block) is False
    told: list[bool] = []
    gevent.get_hub().loop.run_callback(lambda: told.append(poller.may_block()))
    poller.call(three[0], lambda: told.append(poller.may_block()))
    gevent.sleep(0)
    assert told == [False, False] and poller.may_block()


@lingers
def test_a_callback_cannot_wait_for_a_message(
    poller: Poller, three: list[Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(in_park(poller, three, monkeypatch, three[2].wait), BlockingSwitchOutError)


@lingers
def test_a_callback_does_not_wait_for_its_turn(
    poller: Poller, three: list[Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller.turns, "is_over", lambda: True)
    assert in_park(poller, three, monkeypatch, poller.turns.look) is None


@lingers
@pytest.mark.parametrize("block", [lambda: gevent.sleep(0), lambda: Event().wait(), lambda: gevent.spawn(int).get()])
def test_a_users_function_cannot_block_in_a_callback(
    poller: Poller, three: list[Channel], monkeypatch: pytest.MonkeyPatch, block: Callable[[], Any]
) -> None:
    """Neither in a greenlet nor in the hub; and the greenlet may block again after it."""

    def call_out() -> None:
        with pytest.raises(BlockingSwitchOutError):
            poller.call_out(block)

    assert in_park(poller, three, monkeypatch, call_out) is None
    told: list[bool] = []
    gevent.get_hub().loop.run_callback(lambda: told.append(call_out() is None))
    gevent.sleep(0)
    assert told == [True]
    gevent.spawn(lambda: (call_out(), gevent.sleep(0))).get()


@lingers
def test_on_control_that_sends_more_than_the_peer_takes(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the greenlet of a handler it waits as little as in the hub: past a bound, its connection is aborted."""
    end, where, sizes, codes = Event(), [], [], []
    site = serve(WebSocketWSGI(lambda ws: end.wait() if ws.path == "/idle" else echo(ws)))

    def send_on(_opcode: int, _payload: bytes) -> None:
        where.append(gevent.getcurrent())
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                ws.send(bytes(500_000))
                sizes.append(get_connection(ws).stream.measure())
        codes.append(caught.value.code)

    with connect(f"ws://127.0.0.1:{site.port}/idle") as ws:
        client = site.connect()
        gevent.sleep(0.001)
        peer = next(one for one in get_poller().channels if one and one.handshake.path == "/idle")
        ws.on_control = send_on
        lingering = linger_by_receiving(get_poller(), monkeypatch, lambda: peer.send_control(Opcode.PING, b""))
        check(client)
        check(client)
        assert where == lingering != [get_poller().hub]
        assert max(sizes) < 600_000 < len(sizes) * 500_000 and codes == [1006]
        end.set()
    client.leave()


# The poller of a loop


def test_a_loop_has_one_poller_until_it_is_given_another(poller: Poller) -> None:
    before = get_poller()
    assert get_poller() is before is not poller
    set_poller(poller)
    assert get_poller() is poller
    set_poller(before)


def test_a_poller_that_was_closed_is_replaced(warm: None) -> None:
    before = get_poller()
    closed = Poller(gevent.get_hub())
    set_poller(closed)
    closed.let_go()
    assert get_poller() not in (before, closed)
    get_poller().let_go()
    set_poller(before)


def test_what_is_called_later_is_not_in_a_poller_that_was_closed(poller: Poller) -> None:
    called: list[int] = []
    poller.later(called.append, 1)
    gevent.sleep(0)
    poller.later(called.append, 2)
    poller.call(None, called.append, 3)
    poller.closed = True
    gevent.sleep(0)
    poller.call(None, called.append, 4)
    assert called == [1, 3]
    poller.closed = False
