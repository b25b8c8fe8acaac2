"""interest.py: who is registered for which descriptor, and how a set is replaced. The channels are the tests' own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from kit.engine.channels import Channel
from kit.engine.system import failing, stand_in
from kit.frames import text

from geventws.engine.loop.interest import RETRY, InterestList
from geventws.engine.loop.poller import Poller


@pytest.fixture
def poller(warm: None) -> Iterator[Poller]:
    one = Poller(gevent.get_hub())
    yield one
    for channel in filter(None, list(one.channels)):
        channel.close()
    one.let_go()


@pytest.fixture
def interest(poller: Poller) -> InterestList:
    return poller.interest


def settle() -> None:
    """Let the loop look at its sockets."""
    for _ in range(3):
        gevent.sleep(0.0005)


def test_a_channel_is_found_by_its_descriptor(poller: Poller, interest: InterestList) -> None:
    one, other = Channel(poller), Channel(poller)
    assert poller.channels is interest.channels
    assert [interest.channels[one.fd], interest.channels[other.fd]] == [one, other]
    one.close()
    assert interest.channels.count(None) == len(interest.channels) - 1
    assert not interest.doubtful


def test_the_list_grows_with_the_descriptors(poller: Poller, interest: InterestList) -> None:
    channel = Channel(poller)
    interest.unregister(channel)
    high = len(interest.channels) + 100
    os.dup2(channel.near.fileno(), high)
    channel.near.close()
    channel.near, channel.fd = socket.socket(fileno=high), high
    interest.register(channel)
    channel.far.send(b"x")
    settle()
    assert channel.inbox == [b"x"]


def test_what_is_watched_for_is_what_is_told(poller: Poller, interest: InterestList) -> None:
    channel = Channel(poller)
    channel.far.send(b"x")
    interest.watch(channel, False, False)
    settle()
    assert channel.told == []
    interest.watch(channel, False, True)
    channel.on["writable"] = lambda: interest.watch(channel, False, False)
    settle()
    assert channel.names[:1] == ["writable"] and "readable" not in channel.names
    interest.watch(channel, True, False)
    settle()
    assert "readable" in channel.names and channel.names.count("writable") == 1


def test_nothing_is_told_after_unregistering(poller: Poller, interest: InterestList) -> None:
    channel = Channel(poller)
    interest.unregister(channel)
    channel.far.send(b"x")
    settle()
    assert channel.told == []
    interest.watch(channel, True, True)
    interest.unregister(channel)  # once more is nothing
    settle()
    assert channel.told == []
    interest.register(channel)
    settle()
    assert channel.names == ["readable", "run", "flush"]


def test_a_number_that_is_registered_again_ends_who_had_it(poller: Poller, interest: InterestList) -> None:
    """Somebody has closed the socket of the first one, and the system has given its number to another connection."""
    first = Channel(poller)
    first.near.close()
    second = Channel(poller)
    assert second.fd == first.fd
    assert first.names == ["receive_eof"] and interest.channels[second.fd] is second
    interest.unregister(first)
    interest.watch(first, False, False)
    second.far.send(b"x")
    settle()
    assert second.inbox == [b"x"]


def test_what_was_allowed_to_one_who_had_a_number_is_not_to_the_next(poller: Poller) -> None:
    """The C core took messages past the protocol of the first one."""
    first = Channel(poller)
    poller.set_fast_path(first, 1000)
    first.near.close()
    second = Channel(poller)
    assert second.fd == first.fd
    second.far.send(text("hello"))
    settle()
    assert second.inbox == [text("hello")] and second.names[0] == "readable"


@pytest.mark.epoll  # libev ends a process that closes what it watches
def test_a_socket_that_somebody_closed_is_told_when_it_is_watched(poller: Poller, interest: InterestList) -> None:
    channel = Channel(poller)
    channel.near.close()
    interest.watch(channel, True, True)
    assert channel.told == []  # not within the call
    settle()
    assert channel.names == ["receive_eof"]


def test_a_new_set_has_what_the_old_one_had(poller: Poller, interest: InterestList) -> None:
    paused, reading = Channel(poller), Channel(poller)
    interest.watch(paused, False, False)
    before = interest.set
    interest.recover()
    assert interest.set is not before and not interest.doubtful
    for channel in (paused, reading):
        channel.far.send(b"x")
    settle()
    assert paused.told == [] and reading.inbox == [b"x"]


@pytest.mark.epoll
def test_who_has_no_socket_any_more_is_told_by_a_new_set(poller: Poller, interest: InterestList) -> None:
    gone, there = Channel(poller), Channel(poller)
    gone.near.close()
    interest.recover()
    assert gone.names == ["receive_eof"] and there.told == []
    assert not interest.doubtful and interest.channels[there.fd] is there


def test_a_set_that_cannot_be_had_is_asked_for_again(warm: None, log: Any) -> None:
    """There may be no descriptor left: nobody is lost meanwhile."""
    with stand_in() as world:
        channel = Channel(world.poller)
        real, errors = world.system.open_set, [failing(errno.EMFILE)] * 2

        def open_set(loop: Any) -> Any:
            if errors:
                raise errors.pop()
            return real(loop)

        world.system.open_set = open_set  # type: ignore[method-assign]
        world.poller.interest.recover()
        channel.far.send(b"x")
        settle()
        world.clock.turn(RETRY)
        settle()
        assert channel.told == [] and len(log()) == 2
        world.clock.turn(RETRY)
        settle()
        assert channel.inbox == [b"x"] and world.clock.timers == []
        channel.close()


@pytest.mark.epoll
def test_a_doubtful_set_is_replaced_after_a_batch_that_was_in_vain(poller: Poller, interest: InterestList) -> None:
    """Here the socket of a channel is closed by somebody else, while a copy of its descriptor is open elsewhere."""
    lost, there = Channel(poller), Channel(poller)
    copy = os.dup(lost.fd)
    before = interest.set
    lost.near.close()
    interest.unregister(lost)
    assert interest.doubtful
    lost.far.send(b"x")
    there.far.send(b"y")
    settle()
    assert there.inbox == [b"y"] and interest.set is not before and not interest.doubtful
    os.close(copy)
    lost.far.close()


def test_leaving_gives_the_channels_back(poller: Poller, interest: InterestList) -> None:
    channels = [Channel(poller), Channel(poller)]
    assert interest.leave() == channels and interest.channels == []
    for end in (*(one.near for one in channels), *(one.far for one in channels)):
        end.close()
