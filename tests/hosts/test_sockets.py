"""Sockets that are taken away from their server, and what the server has in their place."""

from __future__ import annotations

import gevent.socket
import pytest

from geventws.hosts.sockets import Ended, Joined, detach_socket, drop_watchers


@pytest.fixture
def pair():
    """Two gevent sockets that are connected."""
    ours, theirs = gevent.socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_detached_socket_is_the_same_connection(pair):
    ours, theirs = pair
    number = ours.fileno()
    detached = detach_socket(ours)
    assert detached.fileno() == number and ours.fileno() == -1
    detached._sock.send(b"hello")
    assert theirs.recv(9) == b"hello"
    detached.close()
    assert theirs.recv(9) == b"" and detached.fileno() == -1
    detached.close()


def test_a_socket_without_watchers_never_waits_and_closes_as_ever(pair):
    ours, theirs = pair
    drop_watchers(ours)
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    theirs.send(b"x")
    assert ours.recv(9) == b"x"
    ours.close()
    assert theirs.recv(9) == b""


def test_the_tail_leaves_with_the_first_write_alone():
    written = []
    joined = Joined(written.append, b"tail")
    joined.sendall(bytearray(b"head"))
    joined.sendall(b"more")
    assert written == [b"headtail", b"more"]


def test_what_has_ended_gives_nothing():
    assert Ended().recv(9) == b"" and Ended().recv_into(memoryview(bytearray(9))) == 0
