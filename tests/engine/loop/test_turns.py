"""turns.py, and what goes by it: nobody keeps the loop from its turn. Here TURN is nothing, so that every look at the
clock ends a turn: what is counted is what somebody greedy gets done before an honest peer is served."""

from __future__ import annotations

import contextlib
import os
import select
import threading

import gevent
import pytest
from gevent.server import StreamServer
from kit.clients import RawClient, gsocket
from kit.frames import binary, text
from kit.sites.echoes import HOSTS, check, echo

from geventws import WebSocketApplication, WebSocketServer, WebSocketWSGI, connect
from geventws.engine.loop import turns
from geventws.engine.loop.poller import get_poller
from geventws.engine.loop.system import Clock
from geventws.engine.reader import SLICE
from geventws.handshake.upgrade import accept_key


@pytest.fixture
def no_time(monkeypatch):
    monkeypatch.setattr(turns, "TURN", 0.0)


class Stopped(Clock):
    """A clock that shows what a test says, while the loop's timers go on."""

    def __init__(self) -> None:
        loop = gevent.get_hub().loop
        super().__init__(lambda: self.now, loop.timer, loop.run_callback)
        self.now = 0.0


@pytest.fixture
def clock():
    return Stopped()


@pytest.fixture
def ours(clock):
    """Turns of our own, on the test's loop."""
    return turns.Turns(gevent.get_hub(), clock, lambda: 0.0, lambda: gevent.getcurrent() is not gevent.get_hub())


# By itself


def test_nobody_waits_before_the_turn_is_over(ours, clock):
    others = gevent.spawn(int)
    for _ in range(1000):
        ours.spend(1)
    clock.now = 0.0049
    ours.look()
    assert not others.ready()
    clock.now = 0.0051
    ours.look()
    assert others.ready()


def test_the_clock_is_looked_at_once_for_many_small_things(ours, clock):
    clock.now = 1.0
    others = gevent.spawn(int)
    for _ in range(turns.UNITS):
        ours.spend(1)
    assert not others.ready()
    ours.spend(1)
    assert others.ready()


def test_who_waits_goes_on_in_order_as_far_as_the_turn_reaches(ours, clock):
    clock.now = 1.0
    order = []

    def work(name):
        for part in range(2):
            ours.look()
            order.append((name, part))
            clock.now += 0.006

    gevent.joinall([gevent.spawn(work, name) for name in "abc"], raise_error=True)
    assert [name for name, _part in order] == list("abcabc")


def test_the_hub_does_not_wait(ours, clock):
    clock.now = 1.0
    done = []
    ours.later(lambda: (ours.look(), done.append(1)))
    gevent.sleep(0.001)
    assert done == [1]


def test_who_is_killed_while_it_waits_is_not_run_again(ours, clock):
    clock.now = 1.0
    killed, other = gevent.spawn(ours.look), gevent.spawn(ours.look)
    gevent.sleep(0)
    killed.kill()
    other.get()
    assert len(ours._waiting) == 0


def test_what_one_raises_costs_the_others_nothing(ours, clock, hub_errors):
    done = []
    ours.later(lambda: 1 / 0)
    ours.later(lambda: done.append(1))
    gevent.sleep(0.001)
    assert done == [1] and [type(error) for error in hub_errors] == [ZeroDivisionError]


def test_the_loop_asks_what_is_ready_between_two_turns(ours, clock):
    """gevent.sleep(0) would not have it do that."""
    clock.now = 1.0
    reading, writing = os.pipe()
    told, looks = [], []
    watcher = gevent.get_hub().loop.io(reading, 1)
    watcher.start(lambda: (told.append(len(looks)), watcher.close()))
    os.write(writing, b"x")
    while not told:
        clock.now += 1.0
        looks.append(ours.look())
    assert told[0] <= 1
    os.close(reading), os.close(writing)


# A handler that sends for ever


class Drain:
    """Reads all that comes, in a thread, so that no send ever blocks for long."""

    def __init__(self, fd: int) -> None:
        self._fd, self._stop = os.dup(fd), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while not self._stop.is_set():
                if select.select([self._fd], [], [], 0.01)[0] and not os.read(self._fd, 1 << 20):
                    break

    def __enter__(self) -> Drain:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._fd)


class Greedy:
    """Sends as long as it may."""

    def __init__(self, message, compress=None) -> None:
        self.message, self.compress = message, compress
        self.sent, self.go = 0, True

    def __call__(self, ws) -> None:
        if ws.path == "/honest":
            echo(ws)
            return
        while self.go:
            ws.send(self.message, self.compress)
            self.sent += 1


class GreedyApplication(WebSocketApplication):
    """The same in callbacks."""

    def __init__(self, greedy) -> None:
        super().__init__()
        self.greedy = greedy

    def on_open(self, ws):
        ws.data = ws.path

    def on_message(self, ws, message):
        if ws.data == "/honest":
            return message
        while self.greedy.go:
            ws.send(self.greedy.message)
            self.greedy.sent += 1


MESSAGES = {"text": "x" * 100, "binary": b"x" * 100, "large": b"x" * 50_000, "parts": [b"a", b"b", b"c"]}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
@pytest.mark.parametrize("host", HOSTS)
def test_a_handler_that_sends_for_ever(serve, secure, no_time, host, message):
    greedy = Greedy(message)
    options = {"server_class": WebSocketServer} if host == "server" else secure if host == "tls" else {}
    site = serve(GreedyApplication(greedy) if host == "callbacks" else WebSocketWSGI(greedy), **options)
    client = site.connect("/greedy", text("begin"))
    with Drain(client.socket.fileno()):
        before = greedy.sent
        honest = site.connect("/honest")
        check(honest)
        done = greedy.sent - before
        greedy.go = False
        assert 0 < done < 30 * turns.UNITS
        client.close()


def test_handlers_that_send_for_ever_have_equal_shares(serve, no_time):
    greedy = [Greedy("x"), Greedy("y")]
    site = serve(WebSocketWSGI(lambda ws: greedy[int(ws.path[1:])](ws)))
    clients = [site.connect(f"/{number}") for number in range(2)]
    with Drain(clients[0].socket.fileno()), Drain(clients[1].socket.fileno()):
        while min(one.sent for one in greedy) < 1000:
            gevent.sleep(0)
        shares = [one.sent for one in greedy]
        for one in greedy:
            one.go = False
        for client in clients:
            client.close()
    assert max(shares) < 3 * min(shares)


def test_a_client_that_sends_for_ever(serve, no_time):
    site = serve(WebSocketWSGI(echo))
    drains = []

    def accept(socket, _address):
        peer = RawClient.__new__(RawClient)
        peer.socket, peer._data = socket, bytearray()
        request = b""
        while b"\r\n\r\n" not in request:
            request += socket.recv(4096)
        key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")).split()[1]
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        socket.sendall(f"{head}Sec-WebSocket-Accept: {accept_key(key.decode())}\r\n\r\n".encode())
        drains.append(Drain(socket.fileno()))

    server = StreamServer(("127.0.0.1", 0), accept)
    server.start()
    greedy = Greedy("x" * 100)
    ws = connect(f"ws://127.0.0.1:{server.server_port}/", close_timeout=0.1)
    sending = gevent.spawn(greedy, ws)
    while not greedy.sent:
        gevent.sleep(0)
    before = greedy.sent
    check(site.connect())
    assert 0 < greedy.sent - before < 30 * turns.UNITS
    greedy.go = False
    sending.join()
    for drain in drains:
        drain.__exit__()
    ws.close()
    server.stop()


# A flood of tiny messages


@pytest.mark.parametrize("host", ["blocking", "callbacks"])
def test_a_flood_of_tiny_messages(serve, no_time, host):
    """16,384 of them come in one read; the handler takes them without ever waiting."""
    taken, asked = [], []

    class Counter(WebSocketApplication):
        def on_open(self, ws):
            ws.data = ws.path

        def on_bytes(self, ws, data):
            take(ws.data, data)
            return data if ws.data == "/honest" else None

    def take(path, message):
        if path == "/honest":
            asked.append(len(taken))
        else:
            taken.append(message)

    def handler(ws):
        for message in ws:
            take(ws.path, message)
            if ws.path == "/honest":
                ws.send(message)

    site = serve(Counter() if host == "callbacks" else WebSocketWSGI(handler))
    flood, honest = site.connect("/flood"), site.connect("/honest")
    flood.socket.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_SNDBUF, 1 << 20)
    sending = gevent.spawn(flood.send, binary(b"ab") * 16_384)
    while not taken:
        gevent.sleep(0)
    before = len(taken)
    honest.send(binary(b"hello"))
    assert honest.read_message() == b"hello"
    assert asked[0] - before < 12 * SLICE
    sending.join()
    while len(taken) < 16_384:
        gevent.sleep(0.001)
    assert set(taken) == {b"ab"}


def test_the_poller_knows_when_the_loop_had_its_turn(serve):
    site = serve(WebSocketWSGI(echo))
    client = site.connect()
    before = get_poller().receiver.get_polled()
    check(client)
    assert before < get_poller().receiver.get_polled() <= get_poller().clock.monotonic()
