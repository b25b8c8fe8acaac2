"""WebSocketApplication: the errors of callbacks, and the end of connections."""

from __future__ import annotations

import functools

import gevent
import pytest
from gevent.event import AsyncResult, Event
from kit.frames import CLOSE, PING, PONG, binary, close, frame, text
from kit.sites.recorder import Controls, Recorder, connect

from geventws import ConnectionClosed
from geventws.websocket import get_connection


@pytest.fixture
def open_with(serve):
    """Serve an application, shake hands, and return the client and the connection."""
    return functools.partial(connect, serve)


# Errors


@pytest.mark.parametrize("callback", ["on_open", "on_message", "on_bytes", "on_ping", "on_pong"])
def test_an_error_is_logged_once_and_closes_with_1011(serve, log, callback):
    class Failing(Controls):
        pass

    def fail(self, ws, *arguments):
        raise LookupError("mine")

    setattr(Failing, callback, fail)
    app = Failing(ping_interval=None)
    client = serve(app).connect(frames=text("a") + binary(b"b") + frame(PING) + frame(PONG))
    while (received := client.read_frame()).opcode == PONG:
        pass
    assert received == (CLOSE, b"\x03\xf3", True, 0)
    client.send(close(1011))
    assert client.rest() == b""
    assert app.closed.get() == (1011, "")
    (record,) = log()
    assert record.levelname == "ERROR" and record.getMessage().endswith("a callback failed")
    assert isinstance(record.exc_info[1], LookupError)


def test_on_error_may_let_the_connection_go_on(open_with, log):
    errors = []

    class App(Recorder):
        def on_error(self, ws, error):
            errors.append(error)
            ws.send("sorry")

    app = App()
    app.reply = lambda message: {"fail": {}}[message]
    client, ws = open_with(app, text("other"))
    assert client.read_message() == "sorry"
    client.send(text("fail"))
    assert client.read_message() == "{}"
    client.leave()
    assert [type(error) for error in errors] == [KeyError] and log() == []


def test_an_error_in_on_error(open_with, log):
    class App(Recorder):
        def on_error(self, ws, error):
            raise ValueError("worse") from error

    app = App()
    app.reply = lambda message: {}[message]
    client, ws = open_with(app, text("a"))
    client.expect_close(1011)
    (record,) = log()
    assert record.getMessage().endswith("on_error failed") and "worse" in str(record.exc_info[1])


def test_an_error_in_on_close(open_with, log):
    class App(Recorder):
        def on_close(self, ws, code, reason):
            super().on_close(ws, code, reason)
            raise LookupError("mine")

    app = App()
    client, ws = open_with(app)
    client.leave()
    assert app.closed.get() == (1000, "")
    gevent.idle()
    assert len(log()) == 1


def test_a_peer_that_has_left_is_no_error(open_with, log):
    go = Event()
    app = Recorder()
    app.reply = lambda message: go.wait() and message
    client, ws = open_with(app, text("a") + text("b"))
    client.reset()
    while not get_connection(ws).ended:
        gevent.sleep(0.001)
    go.set()
    assert app.closed.get()[0] == 1006
    assert log() == [] and len(app.calls) == 4


@pytest.mark.parametrize(("error", "code"), [(gevent.GreenletExit, 1001), (gevent.Timeout, 1011)])
def test_what_ends_a_greenlet_ends_the_connection(open_with, error, code, log, hub_errors):
    app = Recorder()
    started = AsyncResult()

    def wait(message):
        started.set(gevent.getcurrent())
        Event().wait()

    app.reply = wait
    client, ws = open_with(app, text("a"))
    gevent.kill(started.get(), error)
    client.expect_close(code)
    assert app.closed.get() == (code, "")
    assert [type(one) for one in hub_errors] == ([error] if error is gevent.Timeout else []) and log() == []
    hub_errors.clear()


# Closing


def test_close_from_a_callback(open_with):
    class App(Recorder):
        def on_message(self, ws, message):
            self.note(ws, "message", message)
            ws.close(4000, "enough")
            with pytest.raises(ConnectionClosed):
                ws.send("more")

    app = App()
    client, ws = open_with(app, text("a") + text("not to be seen"))
    received = client.read_frame()
    assert received.opcode == CLOSE
    client.send(text("nor this") + frame(CLOSE, received.payload))
    assert client.rest() == b""
    assert app.closed.get() == (4000, "enough")
    assert app.calls == [("open", "/here"), ("message", "a"), ("close", 4000, "enough")]


def test_close_from_outside(open_with):
    app = Recorder()
    client, ws = open_with(app)
    closing = gevent.spawn(ws.close, 1001, "restart")
    client.expect_close(1001, "restart")
    closing.get()
    assert app.closed.get() == (1001, "restart")


def test_close_of_a_peer_that_does_not_answer(open_with):
    app = Recorder(close_timeout=0.05)
    client, ws = open_with(app)
    ws.close(1000)
    assert app.closed.get() == (ws.close_code, ws.close_reason)


def test_close_in_on_open(serve):
    class App(Recorder):
        def on_open(self, ws):
            super().on_open(ws)
            ws.close(4001)

    app = App()
    client = serve(app).connect(frames=text("a"))
    client.expect_close(4001)
    assert app.closed.get() == (4001, "")
    assert app.calls == [("open", "/"), ("close", 4001, "")]


def test_keepalive_finds_a_dead_peer(open_with):
    app = Recorder(ping_interval=0.02, ping_timeout=0.05)
    client, ws = open_with(app)
    assert app.closed.get() == (1011, "keepalive ping timeout")
