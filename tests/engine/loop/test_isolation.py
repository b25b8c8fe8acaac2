"""What goes wrong with one connection costs no other one anything, and the watcher of all never stops."""

from __future__ import annotations

import contextlib
import errno
import logging

import gevent
import pytest
from gevent.event import Event
from kit import frames
from kit.frames import CLOSE, PING, PONG, TEXT, close_payload, text
from kit.sites.echoes import HOSTS, check, echo, leave, open_three, serve_echo

from geventws import WebSocketWSGI, connect
from geventws.engine import connection as engine
from geventws.engine import keepalive
from geventws.engine.connection import Connection
from geventws.engine.loop.logs import logger
from geventws.engine.loop.poller import get_poller
from geventws.protocol.connection import WebSocketProtocol
from geventws.protocol.permessage_deflate import Deflate

RESERVED = frames.frame(3, b"")


@pytest.fixture(params=HOSTS)
def site(request, serve, secure):
    """An echo on each kind of host."""
    return serve_echo(request.param, serve, secure)


@pytest.fixture
def victim():
    """Raise in the methods of one connection only: `victim(Connection, "readable", MemoryError)`; see `break_next`."""
    with contextlib.ExitStack() as stack:

        def break_method(owner, name, error, chosen):
            original = getattr(owner, name)

            def method(self, *arguments):
                if chosen(self):
                    raise error
                return original(self, *arguments)

            patch = pytest.MonkeyPatch()
            stack.callback(patch.undo)
            patch.setattr(owner, name, method)

        yield break_method


FAULTS = [
    (Connection, "receive_data", RESERVED),
    (Connection, "after_receiving", frames.frame(PING, b"")),
    (engine, "check_read_ahead", text("a") * 5),
    (WebSocketProtocol, "receive_data", frames.frame(TEXT, b"a", fin=False)),
]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("odd"), OSError(errno.EBADF, "odd")], ids=repr)
@pytest.mark.parametrize(("owner", "name", "frames"), FAULTS, ids=lambda value: str(value)[:30])
def test_what_raises_ends_its_own_connection(serve, victim, log, owner, name, frames, error):
    """Three connections are in one batch, and the second one's callback raises once."""
    left = []
    have_come = Event()

    def handler(ws):
        have_come.wait()  # the messages come before it waits for them
        for message in ws:
            ws.send(message)
        left.append(ws.close_code)

    site = serve(WebSocketWSGI(handler))
    clients, found = open_three(site)
    chosen = [found[1], found[1].protocol]
    victim(owner, name, error, lambda one: bool(chosen) and one in chosen and chosen.clear() is None)
    for client, data in zip(clients, [text("one"), frames, text("three")], strict=True):
        client.send(data)
    while not (found[0].inbox and found[2].inbox):
        gevent.sleep(0.001)
    gevent.sleep(0.01)  # for what is called after the batch
    have_come.set()
    assert (clients[0].read_message(), clients[2].read_message()) == ("one", "three")
    frame = clients[1].read_frame()
    while frame.opcode != CLOSE:
        frame = clients[1].read_frame()
    assert frame.payload[:2] == close_payload(1011)
    assert [type(record.exc_info[1]) for record in log() if record.exc_info] == [type(error)]
    for client in (clients[0], clients[2], site.connect()):
        check(client)
        client.leave()
    clients[1].close()
    site.settle()
    assert left.count(1011) == 1


def test_memory_that_is_not_there_for_one_message(site, victim, log):
    """An inbox that takes nothing: the messages of the batch's other connections are delivered all the same."""
    clients, found = open_three(site)

    class Full(list):
        def append(self, _message):
            raise MemoryError

        extend = append

    found[1].inbox = full = Full()
    found[1].protocol.inbox = full  # the twin's way
    for data in ([text("one"), text("two"), text("three")], [text(4 * "a")] * 3):
        for client, message in zip(clients, data, strict=True):
            client.send(2 * message)
        for client in (clients[0], clients[2]):
            assert client.read_message() == client.read_message()
        found[1].inbox = []
    clients[1].expect_close(1011, None)
    check(site.connect())


def test_inflating_that_fails_for_want_of_memory(serve, victim, log):
    site = serve(WebSocketWSGI(echo))
    offer = {"sec_websocket_extensions": "permessage-deflate"}
    clients = [site.connect(**offer), site.connect(**offer)]
    failing = [True]
    victim(Deflate, "decode", MemoryError(), lambda one: bool(failing) and failing.pop())
    for client in clients:  # in fragments, which the C core leaves to the extension
        client.send(frames.frame(TEXT, bytes.fromhex("f248cdc9c9"), fin=False, rsv=4) + frames.frame(0, b"\x07\x00"))
    first = {client.read_frame().opcode: client for client in clients}  # whichever comes first fails
    assert set(first) == {TEXT, CLOSE}
    check(first[TEXT])


def test_flushing_what_is_corked_fails(serve, log, victim):
    """That is done in the middle of other greenlets' turns, and by the loop."""
    site = serve(WebSocketWSGI(echo))
    clients, found = open_three(site)
    failing = [found[1].stream]
    victim(type(found[1].stream), "flush", MemoryError(), lambda one: one in failing and failing.clear() is None)
    clients[1].send(text("a") * 3)
    clients[2].send(text("b"))
    assert clients[2].read_message() == "b"
    gevent.sleep(0.01)
    check(clients[0])
    check(clients[2])


def test_an_error_that_cannot_be_told_to_the_peer_either(site, victim, log):
    """As where memory is still missing: the connection ends without a close frame."""
    clients, found = open_three(site)
    victim(Connection, "after_receiving", MemoryError(), lambda one: one is found[1])
    clients[1].send(RESERVED)
    clients[2].send(text("b"))
    assert clients[2].read_message() == "b"
    with contextlib.suppress(OSError):
        assert clients[1].rest() == b""
    check(clients[0])
    assert found[1].ended


def test_a_batch_that_is_received_in_a_handlers_wait(serve, victim, log, monkeypatch):
    """Another one's fault must not come out of it."""
    raised = []

    def handler(ws):
        try:
            echo(ws)
        except BaseException as error:
            raised.append(error)
            raise

    site = serve(WebSocketWSGI(handler))
    clients, found = open_three(site)
    victim(Connection, "receive_data", MemoryError(), lambda one: one is found[1])
    receiver = get_poller().receiver
    inside = []

    def linger():
        if not inside and gevent.getcurrent() is not get_poller().hub:
            inside.append(gevent.getcurrent())
            clients[1].socket._sock.send(RESERVED)
            clients[2].socket._sock.send(text("three"))
            return receiver.receive()
        return []

    monkeypatch.setattr(receiver, "busy_poll", linger)
    check(clients[0], "one")
    assert clients[2].read_message() == "three"
    clients[1].expect_close(1011, None)
    check(clients[0])
    assert inside and raised == []


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "odd"), MemoryError(), AttributeError()], ids=repr)
def test_the_poller_itself_fails(site, log, monkeypatch, error):
    clients, _found = open_three(site)
    receiver = get_poller().receiver
    receive = type(receiver).receive
    failures = [error]

    def fail():
        if failures:
            raise failures.pop()
        return receive(receiver)

    monkeypatch.setattr(receiver, "receive", fail)
    for client in [*clients, site.connect()]:
        check(client)
    leave(site)


@pytest.mark.epoll
def test_the_epoll_set_is_closed_by_somebody(site, log):
    """As a program does that makes itself a daemon, and closes every number there is."""
    clients, found = open_three(site)
    found[0].stream.pause()  # what each is watched for is kept
    get_poller().interest.set.close()
    waiting = gevent.spawn(clients[0].socket.recv, 100)
    clients[0].send(text("later"))
    for client in (clients[1], clients[2]):
        client.send(text("a"))
    get_poller().loop.run_callback(get_poller().ready)
    for client in (clients[1], clients[2], site.connect()):
        assert client in clients and client.read_message() == "a" or check(client) is None
    assert not waiting.ready()
    found[0].stream.resume()
    assert b"later" in waiting.get()
    leave(site)


def test_a_timer_that_raises_ends_its_own_connection(serve, victim, log):
    site = serve(WebSocketWSGI(echo, ping_interval=0.05))
    failing = [True]
    victim(keepalive, "push_ping", MemoryError(), lambda one: bool(failing) and failing.pop())
    bad = site.connect()
    bad.expect_close(1011, None)
    good = site.connect()
    check(good)


def test_on_control_that_raises(serve, log):
    """It costs the client's own connection, and nobody else of the process."""
    site = serve(WebSocketWSGI(echo))
    told = []
    with connect(f"ws://127.0.0.1:{site.port}/") as bad, connect(f"ws://127.0.0.1:{site.port}/") as good:
        bad.on_control = lambda opcode, payload: 1 / 0
        good.on_control = lambda opcode, payload: told.append(opcode)
        bad.ping(), good.ping()
        assert bad.wait() is None and bad.close_code == 1011
        good.send("hello")
        assert good.wait() == "hello" and told == [PONG]
    check(site.connect())
    assert [record.exc_info[0] for record in log() if record.exc_info] == [ZeroDivisionError]


# Log lines


class Blocking(logging.Handler):
    """A log handler that waits: for a lock, say, that a greenlet holds which has to wait for us."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.lines = Event(), []

    def emit(self, record: logging.LogRecord) -> None:
        self.go.wait()
        self.lines.append(record.getMessage())


@pytest.fixture
def blocking(monkeypatch):
    handler = Blocking()
    handler.lock = None  # gevent's would be taken here; what is to be shown is `emit`
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger._cache.clear()
    yield handler
    handler.go.set()


def test_a_log_handler_that_blocks_holds_nobody_up(site, blocking):
    good, bad = site.connect(), site.connect()
    bad.send(RESERVED)
    bad.expect_close(1002, None)
    check(good)
    check(site.connect())
    blocking.go.set()
    gevent.sleep(0)
    gevent.sleep(0)
    assert len(blocking.lines) == 1 and "closed with 1002" in blocking.lines[0]


@pytest.mark.parametrize("option", ["ping_timeout", "send_timeout"])
def test_lines_of_the_clocks_hold_nobody_up(serve, blocking, option):
    def handler(ws):
        if ws.path == "/bad" and option == "send_timeout":
            with contextlib.suppress(OSError):
                while True:
                    ws.send(bytes(100_000))
        echo(ws)
        over.set()

    over = Event()
    options = {"ping_interval": 0.05, "ping_timeout": 0.05} if option == "ping_timeout" else {"send_timeout": 0.05}
    site = serve(WebSocketWSGI(handler, **options))
    bad = site.connect("/bad", receive_buffer=4096)
    over.wait()
    check(site.connect("/good"))
    bad.close()
    blocking.go.set()
    gevent.sleep(0)
    assert len(blocking.lines) == 1 and option in blocking.lines[0]
