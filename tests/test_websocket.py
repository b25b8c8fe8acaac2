"""WebSocket, the object: what send, wait, close and ping promise a handler."""

from __future__ import annotations

import errno
import itertools

import gevent
import pytest
from gevent.event import Event
from kit import frames

from geventws import ConnectionClosed, WebSocketError

# send


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("hello", b"\x81\x05hello"),
        ("", b"\x81\x00"),
        ("\u20ac\U0001f600", b"\x81\x07\xe2\x82\xac\xf0\x9f\x98\x80"),
        (b"hello", b"\x82\x05hello"),
        (b"", b"\x82\x00"),
        (bytearray(b"hello"), b"\x82\x05hello"),
        (memoryview(b"hello"), b"\x82\x05hello"),
        (memoryview(b"h-e-l-l-o")[::2], b"\x82\x05hello"),
        (memoryview(b"abcd").cast("H"), b"\x82\x04abcd"),
        (type("Name", (str,), {})("hello"), b"\x81\x05hello"),
        (type("Blob", (bytes,), {})(b"hello"), b"\x82\x05hello"),
        ("x" * 125, b"\x81\x7d" + b"x" * 125),
        ("x" * 126, b"\x81\x7e\x00\x7e" + b"x" * 126),
        (b"x" * 65535, b"\x82\x7e\xff\xff" + b"x" * 65535),
        (b"x" * 65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + b"x" * 65536),
    ],
    ids=itertools.count(),
)
def test_send(join, message, data):
    client = join(lambda ws: ws.send(message))
    client.expect(data)
    client.expect_close()


@pytest.mark.parametrize("message", [None, 1, 1.5, {"a": 1}, object()])
def test_send_of_another_type_is_a_type_error_and_sends_nothing(join, message):
    def handler(ws):
        with pytest.raises(TypeError, match=type(message).__name__):
            ws.send(message)
        ws.send("still in step")

    client = join(handler)
    assert client.read_message() == "still in step"
    client.expect_close()


def test_text_with_a_lone_surrogate_is_not_sent(join):
    def handler(ws):
        with pytest.raises(UnicodeEncodeError):
            ws.send("a\ud800")
        ws.send("still in step")

    client = join(handler)
    assert client.read_message() == "still in step"
    client.expect_close()


def test_a_buffer_may_change_after_send(join):
    def handler(ws):
        buffer = bytearray(b"a" * 300_000)
        sending = gevent.spawn(ws.send, buffer)
        gevent.sleep(0)
        buffer[:] = b"b" * len(buffer)
        sending.join()

    client = join(handler)
    assert set(client.read_frame().payload) == {ord("a")}
    client.expect_close()


@pytest.mark.parametrize("how", ["peer closed", "we closed", "lost"])
def test_send_on_a_closed_connection(inside, how):
    def handler(ws):
        if how == "we closed":
            ws.close(3000, "enough")
        else:
            assert ws.wait() is None
        assert ws.closed
        with pytest.raises(ConnectionClosed) as caught:
            ws.send("late")
        with pytest.raises(ConnectionClosed):
            ws.send(b"late" * 100_000)
        with pytest.raises(ConnectionClosed):
            ws.ping()
        return caught.value

    client = {
        "peer closed": lambda client: client.leave(3001, "bye"),
        "we closed": lambda client: client.expect_close(3000, "enough"),
        "lost": lambda client: client.reset(),
    }[how]
    error = inside(handler, client)
    assert isinstance(error, (OSError, WebSocketError)) and isinstance(error, BrokenPipeError)
    assert error.errno == errno.EPIPE == 32 and error.args[0] == 32
    expected = {"peer closed": (3001, "bye"), "we closed": (3000, "enough")}
    assert (error.code, error.reason) == expected.get(how, (1006, error.reason))


# wait


def test_messages_in_order_with_empty_ones(inside):
    messages = ["", b"", "a", b"b", "", b"\x00" * 70_000, "\u20ac"]
    data = b"".join(frames.text(m) if isinstance(m, str) else frames.binary(m) for m in messages) + frames.close()

    def client(client):
        client.send(data)
        client.expect_close(answer=False)
        client.close()

    taken = inside(lambda ws: [ws.wait() for _ in range(len(messages) + 3)], client)
    assert taken == [*messages, None, None, None]
    assert [type(message) for message in taken[:-3]] == [type(message) for message in messages]


def test_iteration_ends_with_the_connection(inside):
    def client(client):
        client.send(frames.text("a") + frames.text("") + frames.binary(b"") + frames.close(4000))
        client.expect_close(4000, answer=False)
        client.close()

    assert inside(lambda ws: [*ws, *ws], client) == ["a", "", b""]


def test_wait_returns_none_when_the_connection_is_lost(inside):
    def client(client):
        client.send(frames.text("a") + frames.text("b")[:-1])
        client.close()

    taken = inside(lambda ws: [ws.wait(), ws.wait(), ws.wait(1), ws.close_code, ws.closed], client)
    assert taken == ["a", None, None, 1006, True]


def test_messages_keep_their_order_however_they_are_taken(inside):
    def handler(ws):
        taken = [ws.wait()]
        for message in ws:
            taken += [message, ws.wait()]
            if len(taken) == 5:
                break
            gevent.sleep(0.01)
        taken.append(ws.wait(timeout=5))
        return taken + list(ws)

    def client(client):
        for start in (0, 6, 7):
            client.send(b"".join(map(frames.text, map(str, range(start, start + 6 if start == 0 else start + 1)))))
            gevent.sleep(0.05)
        client.send(b"".join(frames.text(str(number)) for number in range(8, 3000)))
        client.leave()

    assert inside(handler, client) == list(map(str, range(3000)))


def test_a_close_frame_waits_for_the_answers_to_what_was_taken_before_it(join):
    went_on = Event()

    def handler(ws):
        for message in ws:
            went_on.wait()
            ws.send(message)

    client = join(handler, b"".join(map(frames.text, "abc")))
    gevent.sleep(0.05)
    client.send(frames.close(1000))
    gevent.sleep(0.05)
    went_on.set()
    assert [client.read_message() for _ in range(3)] == ["a", "b", "c"]
    client.expect_close(answer=False)


# Attributes


def test_attributes_of_a_living_and_of_an_ended_connection(inside):
    def handler(ws):
        seen = {name: getattr(ws, name) for name in ("path", "protocol", "origin", "version", "closed")}
        seen["environ"] = ws.environ["QUERY_STRING"], ws.environ["REQUEST_METHOD"]
        seen["living"] = ws.close_code, ws.close_reason, ws.latency
        assert "open" in repr(ws)
        ws.wait()
        seen["ended"] = ws.close_code, ws.close_reason, ws.closed
        assert "4004" in repr(ws)
        return seen

    changed = {"origin": "http://127.0.0.1", "sec_websocket_protocol": "chat"}
    seen = inside(
        handler, lambda client: client.leave(4004, "done"), path="/a%20b?c=d", changed=changed, subprotocols=["chat"]
    )
    assert seen == {
        "path": "/a b",
        "protocol": "chat",
        "origin": "http://127.0.0.1",
        "version": 13,
        "closed": False,
        "environ": ("c=d", "GET"),
        "living": (None, None, 0.0),
        "ended": (4004, "done", True),
    }


def test_version_8_has_its_own_name_for_the_origin(inside):
    changed = {"sec_websocket_version": "8", "sec_websocket_origin": "http://127.0.0.1"}
    assert inside(lambda ws: (ws.version, ws.origin), lambda client: client.expect_close(), changed=changed) == (
        8,
        "http://127.0.0.1",
    )


def test_close_without_a_code_is_1005(inside):
    def handler(ws):
        ws.wait()
        return ws.close_code, ws.close_reason

    assert inside(handler, lambda client: client.leave(None)) == (1005, "")
