"""A socket that somebody closes under its connection, while another process holds it open.

epoll goes on telling of such a socket, under a number that is free by then, or another file's.
"""

from __future__ import annotations

import os
import socket
import subprocess

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event
from kit.clients import RawClient
from kit.frames import text
from kit.sites.echoes import HOSTS, check, echo, leave, open_three, serve_echo

from geventws import WebSocketWSGI
from geventws.engine.loop.poller import get_poller
from geventws.websocket import get_connection


@pytest.fixture(params=HOSTS)
def site(request, serve, secure):
    """An echo on each kind of host."""
    return serve_echo(request.param, serve, secure)


class Holder:
    """Another process that holds copies of our descriptors: a program, as forks.py sees to children that run on."""

    def __init__(self, descriptors: list[int]) -> None:
        get_poller().note_fork()
        self._process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=descriptors)

    def release(self) -> None:
        self._process.communicate()


@pytest.fixture
def held(site):
    """Three clients and their connections, whose descriptors a child holds."""
    clients, found = open_three(site)
    holder = Holder([ws.fd for ws in found])
    yield clients, found
    leave(site, holder)


def count_turns(seconds: float = 0.05) -> int:
    """Return how often the poller's watcher calls in that time."""
    poller, turns = get_poller(), []
    receive = poller.receiver.receive
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poller.receiver, "receive", lambda: turns.append(1) or receive())
        gevent.sleep(seconds)
    return len(turns)


def test_a_socket_closed_under_its_connection(site, held, log):
    clients, found = held
    found[1].stream.socket._sock.close()
    clients[1].socket._sock.send(text("lost"))
    for client in (clients[0], clients[2]):
        check(client)
    gevent.sleep(0)
    assert found[1].ended and found[1].protocol.close_code == 1006
    assert count_turns() < 10
    for client in (clients[0], clients[2], site.connect()):
        check(client)


def test_its_number_is_a_strangers(held, log):
    """Not a byte of the stranger's is read."""
    clients, found = held
    fd = found[1].fd
    found[1].stream.socket._sock.close()
    stranger, far = socket.socketpair()  # the lowest number is the first one's
    assert stranger.fileno() == fd
    far.send(text("to a stranger"))
    clients[1].socket._sock.send(text("lost"))
    for client in (clients[0], clients[2]):
        check(client)
    assert found[1].ended and count_turns() < 10
    assert stranger.recv(100) == text("to a stranger")
    for one in (far, stranger):
        one.close()


def test_its_number_is_another_connections(serve, log):
    """What epoll still tells of the old one says nothing of the new one, and does not keep the loop busy."""
    site = serve(WebSocketWSGI(echo))
    clients, found = open_three(site)
    holder, fd = Holder([ws.fd for ws in found]), found[1].fd
    found[1].stream.socket._sock.close()
    plug = os.dup(0)
    assert plug == fd
    new = RawClient.__new__(RawClient)
    new.socket, new._data = gsocket.socket(), bytearray()
    os.close(plug)  # so that the server's side of it gets the number
    new.socket.connect(("127.0.0.1", site.port))
    new.open()
    assert found[1].ended and get_poller().channels[fd] not in (None, found[1])
    clients[1].socket._sock.send(text("lost"))
    for client in (clients[0], clients[2], new):
        check(client)
    assert count_turns() < 10
    new.close()
    leave(site, holder)


@pytest.mark.epoll  # libev ends a process that closes what it watches
def test_closed_while_nobody_else_has_it(serve, log):
    """Then epoll says nothing, and the next look at the clock finds it."""
    left = Event()

    def handler(ws):
        if ws.path == "/bad":
            get_connection(ws).stream.socket._sock.close()
        echo(ws)
        if ws.path == "/bad":
            left.set()

    site = serve(WebSocketWSGI(handler, ping_interval=0.05))
    bad = site.connect("/bad")
    left.wait()
    bad.close()
    check(site.connect())
