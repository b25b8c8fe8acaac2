"""How the connections of WebSocketServer end when it stops: the pace, the codes, and who is not cut off."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.select import select
from kit import frames
from kit.clients import RawClient, handshake

from geventws import WebSocketApplication, WebSocketMiddleware, WebSocketServer, WebSocketWSGI
from geventws.server.draining import count_due


@pytest.mark.parametrize(
    ("total", "timeout", "elapsed", "due"),
    [
        (10, 8, 0, 10),  # a few end at once
        (11, 8, 0, 10),
        (2000, 30, 0, 10),
        (2000, 30, 0.04, 10),
        (2000, 30, 1, 210),
        (2000, 30, 9.96, 2000),
        (20_000, 30, 5, 10_100),  # all within ten seconds
        (2000, 8, 2, 1025),  # or half the time
        (2000, 1, 0.45, 2000),
        (2000, 0.1, 0, 2000),  # too short for any pace
        (2000, 0, 0, 2000),
        (0, 8, 0, 0),
    ],
)
def test_the_pace(total: int, timeout: float, elapsed: float, due: int) -> None:
    assert count_due(total, timeout, elapsed) == due


@WebSocketWSGI
def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


class Callbacks(WebSocketApplication):
    def on_message(self, ws: Any, message: str) -> str:
        return message


def view(environ: Any, start_response: Any) -> list[bytes]:
    echo.handler(environ["wsgi.websocket"])
    return []


KINDS = pytest.mark.parametrize(
    "application", [echo, Callbacks(), WebSocketMiddleware(view)], ids=["handler", "callbacks", "middleware"]
)


class Site:
    """A server whose WebSockets have been used once."""

    def __init__(self, serve: Any, application: Any, clients: int, **options: Any) -> None:
        self.site = serve(application, server_class=WebSocketServer, spawn="default", **options)
        self.server = self.site.server
        self.clients = [self.site.connect(frames=frames.text("there")) for _ in range(clients)]
        for client in self.clients:
            assert client.read_message() == "there"

    def stop(self, timeout: float) -> Any:
        """Begin to stop, and take the first step."""
        stopping = gevent.spawn(self.server.stop, timeout)
        gevent.sleep(0)
        return stopping

    @property
    def untold(self) -> int:
        """WebSockets that are not told yet."""
        return len(self.server._drain._untold)


@KINDS
@pytest.mark.parametrize("over", ["TCP", "TLS"])
def test_ten_are_told_at_once_and_the_others_in_turn(serve: Any, secure: Any, application: Any, over: str) -> None:
    site = Site(serve, application, 40, **(secure if over == "TLS" else {}))
    stopping = site.stop(8)
    assert site.untold == 30
    for client in site.clients:
        client.expect_close(1001)
    stopping.get()
    assert not site.server._connections


@KINDS
def test_who_is_not_told_yet_goes_on(serve: Any, application: Any) -> None:
    site = Site(serve, application, 12)
    stopping = site.stop(8)
    last = [client for client in site.clients if not select([client.socket], [], [], 0)[0]]
    assert len(last) == site.untold == 2
    for client in last:
        client.send(frames.text("still"))
        assert client.read_message() == "still"
    for client in site.clients:
        client.expect_close(1001)
    stopping.get()


def test_stop_waits_for_on_close(serve: Any) -> None:
    """A callback may take its time, though the connection is closed."""
    done: list[int] = []

    class Slow(Callbacks):
        def on_close(self, ws: Any, code: int, reason: str) -> None:
            gevent.sleep(0.2)
            done.append(code)

    site = Site(serve, Slow(), 3)
    stopping = site.stop(8)
    for client in site.clients:
        client.expect_close(1001)
    stopping.get()
    assert done == [1001] * 3


def test_a_second_stop_shortens_the_first(serve: Any) -> None:
    """The clients do not answer: the first would take close_timeout."""
    site = Site(serve, echo, 30)
    first = site.stop(60)
    assert site.untold == 20
    site.server.stop(0)
    first.get()
    assert not site.server._connections
    for client in site.clients:
        assert client.read_frame() == frames.Frame(frames.CLOSE, b"\x03\xe9")


def test_a_longer_second_stop_changes_nothing(serve: Any) -> None:
    @WebSocketWSGI
    def stay(ws: Any) -> None:
        ws.send("there")
        Event().wait()

    site = Site(serve, stay, 1)
    first = site.stop(0.3)
    site.server.stop(60)
    first.get()
    assert not site.server._connections


def test_who_has_just_connected_may_ask(serve: Any) -> None:
    site = Site(serve, echo, 0)
    client, plain = site.site.dial(), site.site.dial()
    gevent.sleep(0.1)  # both are accepted
    stopping = site.stop(8)
    client.send(handshake())
    plain.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.read_head().status == "HTTP/1.1 101 Switching Protocols"
    client.expect_close(1001)
    answer = plain.read_head()
    assert answer.status == "HTTP/1.1 400 Bad Request" and answer.get("connection") == "close"
    stopping.get()


def test_who_goes_on_saying_nothing_is_cut_off(serve: Any) -> None:
    site = Site(serve, echo, 0)
    silent, halfway = site.site.dial(), site.site.dial()
    halfway.send(b"GET / HT")
    gevent.sleep(0.1)
    site.server.stop(60)
    assert silent.rest() == halfway.rest() == b""


FORKING = """
import os
import gevent
from gevent.event import Event
from geventws import WebSocketServer, WebSocketWSGI

there = Event()

@WebSocketWSGI
def stay(ws):
    there.set()
    try:
        Event().wait()
    finally:
        print("ended in the", "parent" if os.getpid() == parent else "child", flush=True)

parent = os.getpid()
server = WebSocketServer(("127.0.0.1", 0), stay, log=None)
server.start()
print(server.server_port, flush=True)
there.wait()
stopping = gevent.spawn(server.stop, 0.3)
gevent.sleep(0.1)
child = gevent.fork()
if not child:
    gevent.sleep(1)
    os._exit(0)
stopping.get()
os.waitpid(child, 0)
"""


def test_a_child_that_is_forked_meanwhile_ends_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", FORKING], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        with RawClient(int(process.stdout.readline())) as client:
            client.open()
            assert process.communicate(timeout=20)[0] == "ended in the parent\n"
    finally:
        process.kill()
        process.communicate()


def test_the_code_is_the_server_s(serve: Any) -> None:
    class Restarting(WebSocketServer):
        close_code = 1012

    site = serve(echo, server_class=Restarting, spawn="default")
    client = site.connect()
    stopping = gevent.spawn(site.server.stop)
    client.expect_close(1012)
    stopping.get()
