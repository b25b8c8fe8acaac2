"""WebSocketApplication: what is called when, with what, and what becomes of the results."""

from __future__ import annotations

import functools
import gc
import json
import runpy
import weakref
from pathlib import Path

import gevent
import pytest
from gevent.event import Event
from kit.frames import BINARY, PING, PONG, TEXT, binary, close, frame, text
from kit.sites.recorder import Controls, Recorder, connect

from geventws import ConcurrencyError, WebSocketApplication
from geventws.websocket import get_connection


@pytest.fixture
def open_with(serve):
    """Serve an application, shake hands, and return the client and the connection."""
    return functools.partial(connect, serve)


# What is called


def test_everything_is_called_in_order(open_with):
    app = Recorder(ping_interval=None)
    early = text("a") + binary(b"b") + frame(TEXT, "c", fin=False) + frame(0, "d") + text("")
    client, ws = open_with(app, early + close(4000, "bye"))
    client.expect_close(4000, "bye", answer=False)
    assert app.closed.get() == (4000, "bye")
    messages = [("message", "a"), ("bytes", b"b"), ("message", "cd"), ("message", "")]
    assert app.calls == [("open", "/here"), *messages, ("close", 4000, "bye")]
    assert (ws.close_code, ws.close_reason, ws.path) == (4000, "bye", "/here")


def test_nothing_needs_to_be_overridden(serve):
    client = serve(WebSocketApplication()).connect(frames=text("a") + binary(b"b") + frame(PING, b"c"))
    assert client.read_frame() == (PONG, b"c", True, 0)
    client.leave()


def test_one_instance_serves_all_connections(serve):
    class Counter(WebSocketApplication):
        def on_open(self, ws):
            ws.data = 0

        def on_message(self, ws, message):
            ws.data += len(message)
            return str(ws.data)

    site = serve(Counter())
    clients = [site.connect() for _ in range(3)]
    for size in (1, 2):
        for number, client in enumerate(clients):
            client.send(text("x" * size * number))
    for number, client in enumerate(clients):
        assert client.read_message() == str(number)
        assert client.read_message() == str(3 * number)
        client.leave()


def test_callbacks_of_one_connection_run_one_at_a_time_and_those_of_others_meanwhile(serve):
    app = Recorder()
    go, running = Event(), []

    def wait(message):
        running.append(message)
        assert len(running) == 1 or message == "other"
        if message == "first":
            go.wait()
        running.remove(message)
        return message

    app.reply = wait
    site = serve(app)
    first, other = site.connect(frames=text("first") + text("second")), site.connect()
    other.send(text("other"))
    assert other.read_message() == "other"
    first.send(text("third"))
    gevent.idle()
    assert running == ["first"]
    go.set()
    assert [first.read_message() for _ in range(3)] == ["first", "second", "third"]
    first.leave()
    other.leave()


def test_a_blocking_on_open_holds_back_the_messages(serve):
    go = Event()

    class App(Recorder):
        def on_open(self, ws):
            go.wait()
            super().on_open(ws)
            return "welcome"

    app = App()
    client = serve(app).connect("/here", text("a"))
    client.send(text("b"))
    gevent.idle()
    assert app.calls == []
    go.set()
    assert client.read_message() == "welcome"
    client.leave()
    assert app.closed.get() and app.calls[:-1] == [("open", "/here"), ("message", "a"), ("message", "b")]


@pytest.mark.parametrize("how", ["reset", "close", "shut_down"])
def test_a_peer_that_goes_without_a_word(open_with, how, log):
    app = Recorder(ping_interval=None)
    client, ws = open_with(app)
    getattr(client, how)()
    assert app.closed.get()[0] == 1006
    assert log() == []


def test_what_came_before_a_breach_is_handled(open_with):
    app = Recorder()
    app.reply = lambda message: message
    client, ws = open_with(app, text("a") + frame(3))
    assert client.read_message() == "a"
    client.expect_close(1002, None)
    assert [call[:2] for call in app.calls] == [("open", "/here"), ("message", "a"), ("close", 1002)]


def test_reading_ahead_is_bounded(open_with):
    go = Event()
    app = Recorder(max_message_size=1 << 16)
    app.reply = lambda message: go.wait() and None
    client, ws = open_with(app)
    pour = gevent.spawn(client.send, binary(b"x" * (1 << 16)) * 300)
    while not get_connection(ws).stream.paused:
        gevent.sleep(0.001)
    gevent.idle()
    assert not pour.ready() and sum(map(len, get_connection(ws).inbox)) < 1 << 20
    go.set()
    pour.get()
    client.leave()
    assert len(app.calls) == 302


# Pings and pongs


def test_pings_and_pongs_are_told_of_behind_the_messages_before_them(open_with):
    app = Controls(ping_interval=None)
    client, ws = open_with(app, text("a") + frame(PING, b"b"))
    client.send(frame(PONG, b"c") + text("d"))
    assert client.read_frame() == (PONG, b"b", True, 0)
    client.leave()
    assert app.closed.get()
    assert app.calls[1:3] == [("message", "a"), ("ping", b"b")]
    assert sorted(app.calls[3:5]) == [("message", "d"), ("pong", b"c")]


def test_what_on_ping_returns_is_sent(open_with):
    app = Controls(ping_interval=None)
    app.reply = lambda payload: payload.decode()
    client, ws = open_with(app, frame(PING, b"b"))
    assert client.read_frame() == (PONG, b"b", True, 0)
    assert client.read_message() == "b"
    client.leave()


def test_pings_queue_up_for_nobody(open_with):
    app = Recorder(ping_interval=None)
    client, ws = open_with(app, frame(PING, b"b") * 3)
    assert [client.read_frame().opcode for _ in range(3)] == [PONG] * 3
    client.leave()
    assert app.closed.get() and len(app.calls) == 2


def test_a_ping_of_ours(open_with):
    app = Controls(ping_interval=None)
    client, ws = open_with(app)
    result = ws.ping(b"?")
    assert client.read_frame() == (PING, b"?", True, 0)
    client.send(frame(PONG, b"?"))
    assert result.get() > 0
    client.leave()
    assert app.closed.get() and ("pong", b"?") in app.calls


# Replies


@pytest.mark.parametrize(
    ("reply", "opcode", "payload"),
    [
        ("é", TEXT, "é".encode()),
        ("", TEXT, b""),
        (b"\xff", BINARY, b"\xff"),
        (bytearray(b"ab"), BINARY, b"ab"),
        ({"a": [1, "é"]}, TEXT, '{"a":[1,"é"]}'.encode()),
    ],
)
def test_replies(open_with, reply, opcode, payload):
    app = Recorder()
    app.reply = reply
    client, ws = open_with(app, text("a"))
    assert client.read_frame() == (opcode, payload, True, 0)
    client.leave()


def test_a_reply_in_parts(open_with):
    app = Recorder()
    for reply in (lambda message: iter(["a", "b"]), ["a", "b"], [b"a", bytearray(b"b")]):
        app.reply = reply
        client, ws = open_with(app, text("a"))
        parts = [client.read_frame() for _ in range(3)]
        assert b"".join(frame.payload for frame in parts) == b"ab"
        assert [frame.fin for frame in parts] == [False, False, True]
        client.leave()


@pytest.mark.parametrize("reply", [[], [1, "a"], [["a"]]])
def test_a_list_of_something_else_is_json_for_now(open_with, reply):
    app = Recorder()
    app.reply = reply
    with pytest.warns(DeprecationWarning, match="send_json"):
        client, ws = open_with(app, text("a"))
        assert json.loads(client.read_message()) == reply
        client.leave()


def test_on_open_may_greet(serve):
    class Greeter(WebSocketApplication):
        def on_open(self, ws):
            return {"path": ws.path}

    client = serve(Greeter()).connect("/x")
    assert client.read_message() == '{"path":"/x"}'
    client.leave()


def test_replies_to_a_burst_leave_together(open_with):
    app = Recorder()
    app.reply = "x" * 10
    client, _ws = open_with(app)
    client.send(text("a") * 20)
    assert client.read_some() == b"\x81\nxxxxxxxxxx" * 20
    client.leave()


def test_what_is_no_reply_is_an_error(open_with, log):
    app = Recorder()
    app.reply = 1
    client, ws = open_with(app, text("a"))
    client.expect_close(1011)
    (record,) = log()
    assert "TypeError: a message is str or bytes-like, not int" in str(record.exc_info[1].__class__.__name__) + (
        f": {record.exc_info[1]}"
    )


# The connection's object


def test_the_environ_is_gone_after_on_open(open_with):
    client, ws = open_with(Recorder())
    with pytest.raises(AttributeError, match="until on_open"):
        ws.environ  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        ws.other  # noqa: B018
    assert ws.path == "/here" and ws.origin is None and ws.version == 13 and ws.protocol is None
    assert ws.data is None
    client.leave()


def test_there_is_no_waiting(open_with):
    client, ws = open_with(Recorder())
    with pytest.raises(AttributeError, match="on_message"):
        ws.wait()
    with pytest.raises(TypeError, match="iter"):
        iter(ws)
    client.leave()


def test_connections(serve):
    app, other = Recorder(), Recorder()
    sites = serve(app), serve(other)
    clients = [sites[0].connect(), sites[0].connect(), sites[1].connect()]
    assert len(app.connections) == 2
    for ws in app.connections:
        ws.send("all")
    assert [client.read_message() for client in clients[:2]] == ["all"] * 2
    for client in clients:
        client.leave()
    assert app.closed.get() and other.closed.get() and app.connections == other.connections == []


def test_streaming_is_refused():
    with pytest.raises(TypeError, match="streaming"):
        WebSocketApplication(streaming=True)


def test_undecoded_text_is_bytes(open_with):
    app = Recorder(decode_text=False)
    client, ws = open_with(app, text("a"))
    client.leave()
    assert app.closed.get() and app.calls[1] == ("bytes", b"a")


def test_concurrent_sends_within_a_message_in_parts(open_with):
    app = Recorder()
    client, ws = open_with(app)

    def parts():
        with pytest.raises(ConcurrencyError):
            ws.send("between")
        yield "part"

    ws.send(parts())
    assert client.read_frame()[:3] == (TEXT, b"part", False)
    client.read_frame()
    client.leave()


def test_the_example(serve):
    path = Path(__file__).parents[2] / "examples" / "callbacks.py"
    app = runpy.run_path(str(path))["application"]
    site = serve(app)
    first, second = site.connect(), site.connect()
    for client in (first, second):
        assert client.read_message() == '{"total":0,"yours":0}'
    first.send(text("5") + text("five"))
    assert second.read_message() == '{"total":5,"yours":0}'
    assert {first.read_message()[:8] for _ in range(2)} == {'{"total"', '{"error"'}
    first.leave()
    second.leave()
    with pytest.raises(AssertionError, match="404 Not Found"):
        site.connect("/x")


def test_a_connection_that_is_over_is_freed(serve):
    """By its reference count: nothing waits for the garbage collector."""
    app = Recorder()
    gc.disable()
    try:
        client = serve(app).connect(frames=text("a"))
        reference = weakref.ref(app.opened.get())
        app.opened = None
        client.leave()
        assert app.closed.get()
        gevent.idle()
        assert reference() is None
    finally:
        gc.enable()
