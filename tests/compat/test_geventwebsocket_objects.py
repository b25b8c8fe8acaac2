"""The WebSocket object of geventws.compat.geventwebsocket: messages and closing, in raw bytes."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import AsyncResult
from kit import frames

from geventws.compat.geventwebsocket import (
    MSG_ALREADY_CLOSED,
    MSG_SOCKET_DEAD,
    FrameTooLargeException,
    ProtocolError,
    WebSocketError,
    WebSocketHandler,
)


@pytest.fixture
def sockets(serve):
    """Serve a function of `ws` as gevent-websocket's document does: a handler_class on a plain pywsgi server."""

    def sockets(use, **options):
        def app(environ, start_response):
            use(environ["wsgi.websocket"])

        return serve(app, handler_class=WebSocketHandler, **options)

    return sockets


@pytest.fixture
def join(sockets):
    """The same, and return a client that has shaken hands."""

    def join(use, frames: bytes = b"", **changed):
        return sockets(use).connect("/", frames, **changed)

    return join


# Receiving


def test_messages_are_str_and_bytearray(join):
    received = []
    client = join(lambda ws: received.extend([ws.receive(), ws.receive(), ws.receive()]))
    fragments = frames.frame(frames.TEXT, "a", fin=False) + frames.frame(0, "b")
    client.send(frames.text("grüße") + frames.binary(b"\0\xff") + fragments)
    client.expect_close()
    assert received == ["grüße", bytearray(b"\0\xff"), "ab"]
    assert [type(message) for message in received] == [str, bytearray, str]


def test_receive_returns_none_once_and_raises_from_then_on(join):
    raised = []

    def use(ws):
        assert [ws.receive(), ws.receive()] == ["last", None]
        assert ws.closed
        for _ in range(2):
            with pytest.raises(WebSocketError) as caught:
                ws.receive()
            raised.append(str(caught.value))

    client = join(use, frames.text("last"))
    client.leave()
    assert raised == [MSG_ALREADY_CLOSED] * 2


def test_receive_returns_none_where_the_peer_is_lost(sockets):
    received = []
    site = sockets(lambda ws: received.append((ws.receive(), ws.close_code)))
    site.connect().reset()
    site.settle()
    assert received == [(None, 1006)]


def test_receive_after_close_raises(join):
    def use(ws):
        ws.close()
        with pytest.raises(WebSocketError, match=MSG_ALREADY_CLOSED):
            ws.receive()

    join(use, frames.text("unread")).expect_close()


@pytest.mark.parametrize(
    "data, code",
    [
        (frames.frame(frames.TEXT, b"\xff"), 1007),
        (frames.frame(frames.TEXT, "a", rsv=4), 1002),
        (frames.frame(3), 1002),
        (frames.frame(frames.TEXT, "unmasked", key=None), 1002),
        (frames.frame(frames.PING, bytes(126)), 1002),
    ],
)
def test_faults_of_the_peer_are_answered_with_their_code_and_end_receiving(join, data, code):
    received = []
    join(lambda ws: received.append(ws.receive()), data).expect_close(code, None)
    assert received == [None]


def test_message_size_is_bounded(join):
    join(lambda ws: ws.receive(), frames.HUGE).expect_close(1009, None)


# Sending

SENT = [
    ("text", None, b"\x81\x04text"),
    ("grüße", None, b"\x81\x07gr\xc3\xbc\xc3\x9fe"),
    (b"bytes", None, b"\x82\x05bytes"),
    (bytearray(b"bytes"), None, b"\x82\x05bytes"),
    (memoryview(b"bytes"), None, b"\x82\x05bytes"),
    ([1, 2, 3], None, b"\x82\x03\1\2\3"),
    ("text", False, b"\x81\x04text"),
    ("text", True, b"\x82\x04text"),
    (b"bytes", True, b"\x82\x05bytes"),
    (b"bytes", False, b"\x81\x05bytes"),
]


@pytest.mark.parametrize("message, binary, data", SENT)
def test_send(join, message, binary, data):
    client = join(lambda ws: ws.send(message, binary))
    client.expect(data)
    client.expect_close()


@pytest.mark.parametrize("message", [5, None, object()], ids=["number", "None", "object"])
def test_what_is_no_message(join, message):
    def use(ws):
        with pytest.raises(TypeError):
            ws.send(message)

    join(use).expect_close()


def test_send_to_a_closed_connection(join):
    def use(ws):
        assert ws.receive() is None
        with pytest.raises(WebSocketError, match=MSG_SOCKET_DEAD):
            ws.send("late")
        with pytest.raises(WebSocketError, match=MSG_ALREADY_CLOSED):
            ws.send_frame("late", ws.OPCODE_TEXT)

    join(use).leave()


@pytest.mark.parametrize("leave", ["leave", "reset", "close"])
def test_echo_loop_ends_with_an_error_when_the_client_has_gone(sockets, leave, log):
    raised = AsyncResult()

    def use(ws):
        try:
            while True:
                ws.send(ws.receive())
        except Exception as error:
            raised.set(error)
            raise

    client = sockets(use).connect("/", frames.text("a"))
    client.expect(b"\x81\x01a")
    getattr(client, leave)()
    error = raised.get()
    assert type(error) is WebSocketError and str(error) == MSG_SOCKET_DEAD
    assert not [record for record in log() if record.exc_info]  # that is how such a loop ends


def test_error_on_a_living_connection_is_logged(join, log):
    join(lambda ws: ws.send_frame("a", 3)).expect_close(1011)
    assert [record.exc_info[0] for record in log() if record.exc_info] == [ProtocolError]


def test_send_frame(join):
    def use(ws):
        ws.send_frame("text", ws.OPCODE_TEXT)
        ws.send_frame(b"bytes", ws.OPCODE_BINARY)
        ws.send_frame(b"ping", ws.OPCODE_PING)
        ws.send_frame("pong", ws.OPCODE_PONG)
        for opcode in (0, 3, 11):
            with pytest.raises(ProtocolError):
                ws.send_frame("part", opcode)
        for opcode in (ws.OPCODE_PING, ws.OPCODE_PONG, ws.OPCODE_CLOSE):
            with pytest.raises(FrameTooLargeException):
                ws.send_frame(bytes(126), opcode)
        ws.stream.write(b"\x81\x03raw")
        ws.send_frame(b"\x0f\xa1why", ws.OPCODE_CLOSE)

    client = join(use)
    client.expect(b"\x81\x04text\x82\x05bytes\x89\x04ping\x8a\x04pong\x81\x03raw")
    client.expect_close(4001, "why")


def test_send_a_close_frame_without_a_code(join):
    join(lambda ws: ws.send_frame(b"", ws.OPCODE_CLOSE)).expect_close(None)


def test_concurrent_sends_are_whole(sockets):
    """Where gevent-websocket raised ConcurrentObjectUseError."""
    size = 1 << 20

    def use(ws):
        senders = [gevent.spawn(ws.send, letter * size) for letter in "abcd"]
        gevent.joinall(senders, raise_error=True)

    client = sockets(use).connect(receive_buffer=4096)
    received = [client.read_message() for _ in "abcd"]
    assert sorted(received) == [letter * size for letter in "abcd"]
    client.expect_close()


# Closing

CLOSES = [
    ((), 1000, ""),
    ((1001, "bye"), 1001, "bye"),
    ((1001, b"bye"), 1001, "bye"),
    ((4000, bytearray("grüße", "utf-8")), 4000, "grüße"),
    ((1000, None), 1000, ""),
]


@pytest.mark.parametrize("arguments, code, reason", CLOSES, ids=str)
def test_code_and_reason_arrive(join, arguments, code, reason):
    """Where gevent-websocket sent the reason alone."""

    def use(ws):
        ws.close(*arguments)
        assert ws.closed
        ws.close(4002)  # once only

    join(use).expect_close(code, reason)


def test_code_and_reason_of_the_peer_are_echoed(join):
    seen = []
    client = join(lambda ws: seen.append((ws.receive(), ws.close_code, ws.close_reason)))
    client.leave(4001, "bye")
    assert seen == [(None, 4001, "bye")]
