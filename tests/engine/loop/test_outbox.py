"""What leaves together at the end of a turn, when it leaves earlier, and who gets back what was not taken."""

from __future__ import annotations

import socket
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit import frames

from geventws import ConnectionClosed, WebSocketWSGI
from geventws.engine.loop import outbox as module
from geventws.engine.loop.poller import get_poller
from geventws.websocket import get_connection


class Calls:
    """How many frames each call of the core was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: list[int] = []
        fanout = get_poller().outbox._fanout
        send = fanout.send

        def count(frames: list[bytes], *arguments: Any) -> Any:
            self.frames.append(len(frames))
            return send(frames, *arguments)

        monkeypatch.setattr(fanout, "send", count)


@pytest.fixture
def calls(warm: None, monkeypatch: pytest.MonkeyPatch) -> Calls:
    monkeypatch.setattr(module, "LONGEST", 60.0)  # however slow this machine is
    return Calls(monkeypatch)


class Handlers:
    """A site of connections that do with a message what `on_message` does."""

    def __init__(self, serve: Any, count: int, on_message: Any, tls: Any = None, **options: Any) -> None:
        self.sockets: list[Any] = []

        def handler(ws: Any) -> None:
            self.sockets.append(ws)
            for message in ws:
                on_message(ws, message)

        self.site = serve(WebSocketWSGI(handler, ping_interval=None, **options), **(tls or {}))
        self.clients = [self.site.connect() for _ in range(count)]
        while len(self.sockets) < count:
            gevent.sleep(0.001)
        gevent.sleep(0.01)  # every handler is where it waits

    def tell(self, message: str = "message") -> None:
        """Send a message from each client, before the server has its turn."""
        for client in self.clients:
            client.socket._sock.send(frames.text(message))


def test_the_answers_of_a_batch_leave_together(serve: Any, calls: Calls) -> None:
    echoes = Handlers(serve, 6, lambda ws, message: ws.send(message))
    echoes.tell()
    assert [client.read_message() for client in echoes.clients] == ["message"] * 6
    assert calls.frames == [6]


def test_what_the_core_raises_loses_no_frame(serve: Any, log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = Handlers(serve, 5, lambda ws, message: ws.send(message))
    fanout = get_poller().outbox._fanout
    send = fanout.send

    def fail_once(*arguments: Any) -> Any:
        monkeypatch.setattr(fanout, "send", send)
        raise MemoryError

    monkeypatch.setattr(fanout, "send", fail_once)
    for text in ("first", "second"):
        handlers.tell(text)
        assert [client.read_message() for client in handlers.clients] == [text] * 5
    assert ["internal error" in record.getMessage() for record in log()] == [True]


def test_a_batch_that_fails_holds_nothing_back(serve: Any, log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = Handlers(serve, 5, lambda ws, message: ws.send(message))
    poller = get_poller()
    begin = poller.outbox.begin

    def fail_once() -> None:
        begin()
        monkeypatch.setattr(poller.outbox, "begin", begin, raising=False)
        raise MemoryError

    monkeypatch.setattr(type(poller.outbox), "begin", lambda _outbox: fail_once())
    handlers.tell()
    gevent.sleep(0.01)
    monkeypatch.undo()
    assert not poller.outbox.gathers and poller.current is None


def test_those_of_few_leave_at_once(serve: Any, calls: Calls) -> None:
    echoes = Handlers(serve, 3, lambda ws, message: ws.send(message))
    echoes.tell()
    assert [client.read_message() for client in echoes.clients] == ["message"] * 3
    assert calls.frames == []


def test_what_was_sent_does_not_wait_for_a_handler_that_blocks(serve: Any, calls: Calls) -> None:
    go_on = Event()

    def answer(ws: Any, message: str) -> None:
        ws.send(message)
        if ws is echoes.sockets[2]:
            go_on.wait()
            ws.send("later")

    echoes = Handlers(serve, 6, answer)
    echoes.tell()
    assert [client.read_message() for client in echoes.clients] == ["message"] * 6
    assert len(calls.frames) == 2 and sum(calls.frames) == 6
    go_on.set()
    assert echoes.clients[2].read_message() == "later"


def test_what_waits_is_bounded_in_frames_and_time(serve: Any, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FRAMES", 4)
    echoes = Handlers(serve, 6, lambda ws, message: ws.send(message))
    echoes.tell()
    assert [client.read_message() for client in echoes.clients] == ["message"] * 6
    assert calls.frames == [4, 2]
    monkeypatch.setattr(module, "LONGEST", 0.0)
    echoes.tell()
    assert [client.read_message() for client in echoes.clients] == ["message"] * 6
    assert calls.frames[2:] == [2, 2, 2]


@pytest.mark.parametrize("host", ["tcp", "tls"])
def test_each_socket_gets_everything_in_the_order_of_the_calls(serve: Any, secure: Any, host: str) -> None:
    def answer(ws: Any, message: str) -> None:
        ws.send("1")
        ws.ping(b"2")
        ws.send("3" * 20_000)
        ws.send("4")
        ws.send(iter(["5", "6"]))
        ws.send("7")
        ws.close(1000, "8")

    options = secure if host == "tls" else {}
    site = serve(WebSocketWSGI(lambda ws: answer(ws, ws.wait()), ping_interval=None), **options)
    clients = [site.connect() for _ in range(6)]
    for client in clients:
        client.send(frames.text("go"))
    for client in clients:
        received = [client.read_frame() for _ in range(8)]
        assert [one.payload[:1] for one in received] == [b"1", b"2", b"3", b"4", b"5", b"6", b"", b"7"]
        client.expect_close(1000, "8")


def test_what_is_corked_leaves_with_the_batch(serve: Any, calls: Calls) -> None:
    echoes = Handlers(serve, 5, lambda ws, message: ws.send(message))
    for client in echoes.clients:
        client.socket._sock.send(frames.text("a") + frames.text("b") + frames.text("c"))
    for client in echoes.clients:
        assert [client.read_message() for _ in range(3)] == ["a", "b", "c"]
    assert calls.frames == [5]


def test_the_kernel_takes_no_more_and_the_next_send_waits(serve: Any) -> None:
    """Each handler sends to a client that reads nothing, until its second message blocks."""
    blocked: list[Any] = []

    def flood(ws: Any, message: str) -> None:
        while True:
            ws.send("x" * 1500)

    floods = Handlers(serve, 5, flood)
    floods.tell()
    while len(blocked) < 5:
        gevent.sleep(0.001)
        blocked = [ws for ws in floods.sockets if get_connection(ws).stream.blocked]
    for ws in floods.sockets:
        assert get_connection(ws).held <= 200 * 1024
    for client in floods.clients:
        assert client.read_message() == "x" * 1500
        client.reset()


def test_an_error_is_told_by_the_next_send(serve: Any, calls: Calls) -> None:
    told: list[ConnectionClosed] = []
    go_on = Event()

    def answer(ws: Any, message: str) -> None:
        ws.send("first")
        if ws is echoes.sockets[0]:
            go_on.wait()
            try:
                ws.send("second")
            except ConnectionClosed as error:
                told.append(error)

    echoes = Handlers(serve, 5, answer)
    echoes.tell()
    echoes.clients[0].reset()
    assert [client.read_message() for client in echoes.clients[1:]] == ["first"] * 4
    go_on.set()
    while not told:
        gevent.sleep(0.001)
    assert told[0].code == 1006


@pytest.mark.parametrize("over", ["tcp", "own frames", "tls"])
def test_a_peer_that_has_gone_is_no_error_of_ours(serve: Any, secure: Any, log: Any, calls: Calls, over: str) -> None:
    """Whoever sends the frames: the core, the stream, or OpenSSL."""
    told: list[ConnectionClosed] = []

    def answer(ws: Any, message: str) -> None:
        connection = get_connection(ws)
        if over == "own frames":
            get_poller().outbox.shut(connection, module.OWN_FRAMES, True)
        if ws is echoes.sockets[0]:
            connection.stream.socket._sock.shutdown(socket.SHUT_WR)
        try:
            ws.send("first")
            gevent.sleep(0)
            ws.send("second")
        except ConnectionClosed as error:
            told.append(error)

    echoes = Handlers(serve, 5, answer, tls=secure if over == "tls" else {})
    for client in echoes.clients:
        client.send(frames.text("go"))
    assert [client.read_message() for client in echoes.clients[1:] for _ in "12"] == ["first", "second"] * 4
    while not told:
        gevent.sleep(0.001)
    assert told[0].code == 1006 and log() == []
