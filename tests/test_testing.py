"""geventws.testing: applications without a port, peers that do wrong, and a clock in the test's hand."""

from __future__ import annotations

import gevent
import pytest
from flask import Flask

from geventws import InvalidStatus, Opcode, WebSocketApplication, WebSocketWSGI
from geventws.flask import Sock
from geventws.frames import Frame
from geventws.testing import connect, dial, hand_clock

pytest_plugins = ["pytester"]


@WebSocketWSGI(subprotocols=["chat"])
def echo(ws):
    for message in ws:
        ws.send(message)


class Callbacks(WebSocketApplication):
    def on_message(self, ws, message):
        return message


def make_flask() -> Flask:
    app = Flask("tested")

    @Sock(app).route("/<name>")
    def talk(ws, name):
        for message in ws:
            ws.send(f"{name}: {message}")

    return app


def text(payload: bytes) -> Frame:
    return Frame(Opcode.TEXT, payload)


def read_close(peer) -> tuple[int, bytes]:
    frame = peer.read_frame()
    while frame is not None and frame.opcode == Opcode.PING:
        frame = peer.read_frame()
    assert frame is not None and frame.opcode == Opcode.CLOSE
    assert peer.read_frame() is None
    return int.from_bytes(frame.payload[:2], "big"), frame.payload[2:]


@pytest.mark.parametrize("application", [echo, Callbacks()], ids=["handler", "callbacks"])
def test_messages_pass_as_in_production(warm, application) -> None:
    with connect(application, "/path?query") as ws:
        for message in ("hello", "a long one, which is compressed " * 100):
            ws.send(message)
            assert ws.wait(timeout=5) == message
    assert ws.close_code == 1000


def test_what_a_client_says_reaches_the_application(warm) -> None:
    seen = []

    @WebSocketWSGI(origins=["https://example.org"], subprotocols=["chat"])
    def look(ws):
        seen.append((ws.path, ws.origin, ws.protocol, ws.environ["HTTP_X_NAME"], ws.environ["SERVER_NAME"]))

    options = {"origin": "https://example.org", "subprotocols": ["chat"], "headers": {"X-Name": "ann"}}
    with connect(look, "/room/7", **options) as ws:
        assert ws.wait(timeout=5) is None
    assert seen == [("/room/7", "https://example.org", "chat", "ann", "testserver")]


def test_an_application_of_a_framework(warm) -> None:
    with connect(make_flask(), "/ann") as ws:
        ws.send("hello")
        assert ws.wait(timeout=5) == "ann: hello"


def test_a_refusal_is_raised(warm) -> None:
    with pytest.raises(InvalidStatus) as caught:
        connect(echo, origin="https://elsewhere.example")
    assert caught.value.status == 403
    with pytest.raises(InvalidStatus) as caught:
        connect(make_flask(), "/no/such/path")
    assert caught.value.status == 404


def test_two_connections_of_one_application(warm) -> None:
    rooms: set = set()

    @WebSocketWSGI
    def room(ws):
        rooms.add(ws)
        try:
            for message in ws:
                for other in rooms:
                    other.send(message)
        finally:
            rooms.discard(ws)

    with connect(room) as one, connect(room) as other:
        one.send("hello")
        assert [one.wait(timeout=5), other.wait(timeout=5)] == ["hello", "hello"]
    gevent.idle()
    assert not rooms


def test_a_peer_that_does_wrong(warm, log) -> None:
    with dial(echo) as peer:
        peer.send(text(b"not masked").encode())
        assert read_close(peer) == (1002, b"a client's frame is not masked")
    with dial(echo) as peer:
        peer.send_frame(text(b"\xff"))
        assert read_close(peer) == (1007, b"a text message is not UTF-8")


def test_a_peer_that_is_slow(warm) -> None:
    with dial(echo) as peer:
        peer.send_slowly(text(b"hello").encode(b"mask"))
        assert peer.read_frame() == text(b"hello")


def test_a_peer_that_hangs_up_in_the_middle(warm) -> None:
    ends = []

    @WebSocketWSGI
    def watch(ws):
        assert ws.wait() is None
        ends.append(ws.close_code)

    with dial(watch) as peer:
        peer.cut(text(b"hello").encode(b"mask"), 4)
        gevent.idle()
    assert ends == [1006]


def test_a_peer_that_stalls_is_given_up_when_its_time_is_up(warm, log) -> None:
    ends = []

    @WebSocketWSGI(send_timeout=7, ping_interval=None)
    def pour(ws):
        try:
            while True:
                ws.send(bytes(100_000))
        finally:
            ends.append(ws.close_code)

    with hand_clock() as clock, dial(pour):
        gevent.idle()
        clock.turn(6.9)
        assert not ends
        clock.turn(0.2)
        gevent.idle()
    assert ends == [1006]


def test_keepalive_goes_by_the_clock_of_the_test(warm, log) -> None:
    with hand_clock() as clock, dial(echo) as peer:
        clock.turn(22.1)  # 20 s, varied by a tenth
        frame = peer.read_frame()
        assert frame is not None and frame.opcode == Opcode.PING
        clock.turn(20)
        assert read_close(peer) == (1011, b"keepalive ping timeout")


def test_a_client_that_answers_lives_on(warm) -> None:
    with hand_clock() as clock, connect(echo, ping_interval=None) as ws:
        for _ in range(10):
            clock.turn(20)
        ws.send("still there")
        assert ws.wait(timeout=5) == "still there"


def test_a_timeout_of_wait_goes_by_the_clock(warm) -> None:
    with hand_clock() as clock, connect(echo) as ws:
        waiting = gevent.spawn(ws.wait, timeout=100)
        gevent.idle()
        clock.turn(99)
        assert not waiting.ready()
        clock.turn(1.5)
        with pytest.raises(TimeoutError):
            waiting.get(timeout=5)


def test_a_handler_is_a_function_still(warm) -> None:
    class Fake(list):
        def send(self, message):
            self.append(message)

        def __iter__(self):
            return iter(["one", "two"])

    fake = Fake()
    echo.handler(fake)
    assert fake[:] == ["one", "two"]


def test_the_fixture_closes_what_is_left_open(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["geventws.testing"]')
    pytester.makepyfile("""
        from geventws import WebSocketWSGI

        kept = []

        @WebSocketWSGI
        def echo(ws):
            for message in ws:
                ws.send(message)

        def test_one(websocket_connect):
            ws = websocket_connect(echo)
            kept.append(ws)
            ws.send("hello")
            assert ws.wait(timeout=5) == "hello"

        def test_two():
            assert kept[0].closed and kept[0].close_code == 1000
    """)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
