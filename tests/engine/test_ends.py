"""The end of a connection, as handlers are told of it, and what is left of it then: nothing."""

from __future__ import annotations

import os
import time

import gevent
import pytest
from gevent.event import AsyncResult, Event
from gevent.pywsgi import WSGIServer
from kit import frames
from kit.sites.recorder import Recorder, connect

import geventws
from geventws import WebSocketServer, WebSocketWSGI

SERVERS = {"pywsgi": WSGIServer, "WebSocketServer": WebSocketServer}
WAYS = {
    "close": lambda client: client.leave(),
    "end": lambda client: client.shut_down(),
    "reset": lambda client: client.reset(),
    "breach": lambda client: (client.send(b"\xff\xff"), client.rest()),
}


@pytest.fixture(params=["pywsgi", "pywsgi, TLS", "WebSocketServer", "WebSocketServer, TLS"])
def host(request, serve, secure):
    """Serve an application on one of the servers that run in this thread."""
    name, _, tls = request.param.partition(", ")

    def start(application, **options):
        return serve(application, server_class=SERVERS[name], **(secure if tls else {}), **options)

    return start


# ended


@pytest.mark.parametrize("way", WAYS)
def test_ended_tells_a_handler_that_waits_for_something_else(host, way):
    told, news = AsyncResult(), Event()

    @WebSocketWSGI
    def handler(ws):
        assert not ws.ended.is_set() and ws.ended is ws.ended
        ws.send("ready")
        done = gevent.wait([news, ws.ended], count=1)
        told.set((done == [ws.ended], ws.close_code is not None))

    client = host(handler).connect()
    assert client.read_message() == "ready"
    WAYS[way](client)
    assert told.get() == (True, True)


def test_ended_calls_back_in_the_hub_and_what_that_raises_is_reported(host, hub_errors):
    called = AsyncResult()

    def note(event):
        called.set((event, gevent.getcurrent()))
        raise LookupError("the callback's own")

    @WebSocketWSGI
    def handler(ws):
        ended.append(ws.ended)
        ws.ended.rawlink(note)
        ws.send("ready")
        ws.wait()

    ended = []
    client = host(handler).connect()
    assert client.read_message() == "ready"
    client.leave()
    assert called.get() == (ended[0], gevent.get_hub())
    gevent.idle()
    assert [str(error) for error in hub_errors] == ["the callback's own"]
    hub_errors.clear()
    ended.clear()


def test_ended_is_set_where_it_is_first_asked_for_at_the_end(inside):
    def handler(ws):
        assert ws.wait() is None
        return ws.ended.is_set(), ws.ended.wait(), gevent.wait([ws.ended], timeout=5)[0] is ws.ended

    assert inside(handler) == (True, True, True)


def test_what_came_before_the_end_may_still_be_taken(inside):
    def handler(ws):
        ws.ended.wait()
        return list(ws)

    def client(client):
        client.send(frames.text("a") + frames.text("b"))
        client.shut_down()

    assert inside(handler, client) == ["a", "b"]


@pytest.mark.parametrize("way", WAYS)
def test_ended_on_callbacks(serve, way):
    client, ws = connect(serve, Recorder())
    watching = gevent.spawn(ws.ended.wait)
    WAYS[way](client)
    assert watching.get() is True


def test_ended_on_a_client(serve):
    @WebSocketWSGI
    def leave(ws):
        ws.wait()

    with geventws.connect(f"ws://127.0.0.1:{serve(leave).port}/") as ws:
        assert not ws.ended.is_set()
        ws.send("go")
        assert gevent.wait([ws.ended]) == [ws.ended]
        assert ws.close_code == 1000


# kill_on_close


@pytest.mark.parametrize("way", WAYS)
def test_kill_on_close_kills_a_handler_that_waits_for_something_else(host, way):
    killed = AsyncResult()

    @WebSocketWSGI(kill_on_close=True)
    def handler(ws):
        ws.send("ready")
        try:
            Event().wait()
        except gevent.GreenletExit as error:
            killed.set(str(error))
            raise

    site = host(handler)
    client = site.connect("/here")
    assert client.read_message() == "ready"
    WAYS[way](client)
    assert "kill_on_close" in killed.get()
    client.close()
    site.settle()
    assert len(site.errors) == 0 and '"GET /here HTTP/1.1" 101' in site.access.wait()[0]


def test_kill_on_close_leaves_alone_a_handler_that_is_done(host, log):
    done = []

    @WebSocketWSGI(kill_on_close=True)
    def handler(ws):
        try:
            done.append(list(ws))
        finally:
            done.append("end")

    site = host(handler)
    client = site.connect("/", frames.text("a"))
    client.leave()
    site.settle()
    assert done == [["a"], "end"] and log() == [] and handler.kill_on_close is True


def test_a_kill_of_somebody_else_is_a_kill(serve):
    started = AsyncResult()

    @WebSocketWSGI(kill_on_close=True)
    def handler(ws):
        started.set(gevent.getcurrent())
        Event().wait()

    client = serve(handler).connect()
    gevent.spawn(started.get().kill)
    client.expect_close(1001)


# The socket


def count_sockets() -> int:
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return sum(os.path.exists(link) and os.readlink(link).startswith("socket:") for link in links)


@pytest.mark.parametrize("way", WAYS)
def test_the_socket_is_closed_while_the_handler_sleeps(host, way):
    go = Event()

    @WebSocketWSGI
    def handler(ws):
        ws.send("ready")
        go.wait()

    site = host(handler)
    before = count_sockets()
    clients = [site.connect() for _ in range(10)]
    for client in clients:
        assert client.read_message() == "ready"
    assert count_sockets() == before + 20
    for client in clients:
        WAYS[way](client)
        client.close()
    with gevent.Timeout(5):
        while count_sockets() > before:
            gevent.sleep(0.01)
    go.set()
    site.settle()
    assert len(site.errors) == 0


def test_the_socket_of_callbacks_is_closed_while_a_callback_sleeps(serve):
    go, started = Event(), Event()
    app = Recorder()
    app.reply = lambda message: started.set() or go.wait() and None
    before = count_sockets()
    client, _ws = connect(serve, app, frames.text("a"))
    started.wait()
    listening = 1
    client.reset()
    with gevent.Timeout(5):
        while count_sockets() > before + listening:
            gevent.sleep(0.01)
    go.set()
    app.closed.get()


# An interrupted close, and an end of the program


@pytest.mark.parametrize("kind", ["timeout", "kill"])
def test_an_interrupted_close_has_its_deadline_all_the_same(host, kind):
    ended = AsyncResult()

    @WebSocketWSGI(close_timeout=0.4)
    def handler(ws):
        closing = gevent.spawn(ws.close)
        if kind == "kill":
            gevent.sleep(0)
            closing.kill()
        else:
            with gevent.Timeout(0.01, False):
                ws.close()
            closing.kill(block=False)
        ended.set((ws.close_code, ws.ended.wait(5)))
        Event().wait(0)

    client = host(handler).connect()
    assert client.read_frame() == frames.Frame(frames.CLOSE, b"\x03\xe8")
    assert ended.get() == (None, True)


def test_a_second_close_does_not_put_the_deadline_off(inside):
    def handler(ws):
        begin = time.monotonic()
        with gevent.Timeout(0.2, False):
            ws.close()
        ws.close()
        return time.monotonic() - begin

    assert inside(handler, lambda client: client.rest(), close_timeout=0.3) < 0.49


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_in_a_handler_does_not_wait_for_the_client(host, kind):
    raised = AsyncResult()

    class Route(WebSocketWSGI):
        def run(self, ws):
            try:
                super().run(ws)
            except BaseException as error:
                raised.set((type(error), ws.closed, ws.close_code))

    def handler(ws):
        with ws:
            raise kind

    client = host(Route(handler, close_timeout=None)).connect()
    assert client.read_frame() == frames.Frame(frames.CLOSE, b"\x03\xf3")
    assert raised.get() == (kind, True, 1006)
    assert client.rest() == b""


# After the loop was held up

HELD_UP = 0.25


@pytest.mark.parametrize("big", [False, True])
def test_an_answer_that_has_come_is_read_before_close_timeout_counts(host, big):
    seen = AsyncResult()

    @WebSocketWSGI(close_timeout=0.1)
    def handler(ws):
        ws.wait()
        closing = gevent.spawn(ws.close)
        closing.join()
        seen.set((ws.close_code, ws.close_reason))

    client = host(handler).connect("/", frames.text("go"))
    assert client.read_frame().opcode == frames.CLOSE
    client.send((frames.binary(b"x" * 200_000) if big else b"") + frames.close(1000, "bye"))
    time.sleep(HELD_UP)
    assert seen.get() == (1000, "bye")


@pytest.mark.parametrize("size", [1, 300_000])
def test_a_message_that_has_come_is_read_before_the_timeout_of_wait_counts(host, size):
    ready, seen = Event(), AsyncResult()

    @WebSocketWSGI
    def handler(ws):
        ready.set()
        seen.set(ws.wait(timeout=0.1))

    client = host(handler).connect()
    ready.wait()
    client.send(frames.text("x" * size))
    time.sleep(HELD_UP)
    assert seen.get() == "x" * size


def test_a_message_that_has_not_come_is_none_after_it(inside):
    def handler(ws):
        with pytest.raises(TimeoutError):
            ws.wait(timeout=0.05)
        return ws.wait()

    def client(client):
        client.send(frames.text("late")[:3])
        gevent.sleep(0.2)
        client.send(frames.text("late")[3:])

    assert inside(handler, client) == "late"
