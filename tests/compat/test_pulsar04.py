"""geventws.compat.pulsar04: what the documentation of pulsar 0.4 says, and what its own tests check, over sockets."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import AsyncResult
from kit import frames
from kit.clients import RawClient, handshake
from kit.frames import HUGE, PING, PONG, Frame, binary, frame, text

from geventws import HandshakeError
from geventws.compat.pulsar04 import ws, wsgi


class EchoWS(ws.WS):
    """The example of the documentation, which notes what that one prints."""

    def __init__(self):
        self.calls = []
        self.closed = AsyncResult()

    def on_open(self, environ):
        self.calls.append("WebSocket opened")

    def on_message(self, environ, message):
        return message

    def on_close(self, environ):
        self.calls.append("WebSocket closed")
        self.closed.set(True)


@pytest.fixture
def mount(serve):
    """Serve a handler as the documentation mounts it."""

    def mount(handler, *last, **options):
        wm = ws.WebSocket(handle=handler, **options)
        return serve(wsgi.WsgiHandler(middleware=(lambda environ, start: None, wm, *last)))

    return mount


@pytest.fixture
def converse(mount):
    """Serve a handler whose on_message is a function of the handler, environ and message; return a client."""

    def converse(on_message, frames=b"", **methods):
        handler = type("Handler", (EchoWS,), {"on_message": on_message, **methods})()
        client = mount(handler).connect("/any", frames)
        client.handler = handler
        return client

    return converse


def test_example(mount):
    handler = EchoWS()
    client = mount(handler).connect("/data")
    for message in ("hello", b"\x00\xff", "", "\u20ac" * 40_000):
        client.send(text(message) if isinstance(message, str) else binary(message))
        assert client.read_message() == message
    client.send(frame(PING, b"x"))
    assert client.read_frame() == Frame(PONG, b"x")
    assert handler.calls == ["WebSocket opened"]
    client.leave()
    assert handler.closed.get() and handler.calls == ["WebSocket opened", "WebSocket closed"]


def test_on_open_does_not_wait_for_a_message(mount):
    opened = AsyncResult()
    handler = type("Handler", (EchoWS,), {"on_open": lambda self, environ: opened.set(environ)})()
    client = mount(handler).connect("/data")
    environ = opened.get()
    assert environ["PATH_INFO"] == "/data" and environ["wsgi.websocket"].version == 13
    client.leave()
    handler.closed.get()
    gevent.sleep(0)
    assert environ["wsgi.websocket"] is None


def test_environ_is_the_same_in_all_callbacks(converse):
    def on_message(self, environ, message):
        count = environ["count"] = environ.get("count", 0) + 1
        return f"{count}: {message}"

    client = converse(on_message, text("a") + text("b"))
    assert [client.read_message(), client.read_message()] == ["1: a", "2: b"]
    client.leave()


@pytest.mark.parametrize("name", ["version", "key", "method"])
def test_bad_requests(mount, name):
    site = mount(EchoWS())
    changes = {
        "version": [{"sec_websocket_version": "xxx"}, {"sec_websocket_version": None}],
        "key": [{"sec_websocket_key": ""}, {"sec_websocket_key": "bla"}, {"sec_websocket_key": None}],
        "method": [{"method": "POST"}],
    }
    for changed in changes[name]:
        client = site.dial()
        client.send(handshake("/data", **changed))
        answer = client.read_head()
        assert answer.status == "HTTP/1.1 400 Bad Request"
        assert answer.get("sec-websocket-version") == {"key": None}.get(name, "13, 8")


def test_any_origin_but_no_message_of_any_size(mount):
    client = mount(EchoWS()).connect("/data", HUGE, origin="http://elsewhere.example")
    client.expect_close(1009, None)


def test_version_8_and_subprotocols(mount):
    site = mount(EchoWS(), subprotocols=["chat"])
    client = site.dial()
    answer = client.open(text("x"), sec_websocket_version="8", sec_websocket_protocol="talk, chat")
    assert answer.get("sec-websocket-protocol") == "chat" and client.read_message() == "x"
    client.leave()
    client = mount(EchoWS()).connect(sec_websocket_protocol="talk, chat")  # which had no answer in 0.4
    client.leave()


def test_what_is_not_for_the_handler_goes_on(mount):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return [b"home"]

    class Picky(EchoWS):
        def match(self, environ):
            return environ["PATH_INFO"] == "/mine"

    site = mount(Picky(), app)
    site.connect("/mine").leave()
    plain = b"GET /mine HTTP/1.1\r\nHost: x\r\n\r\n"
    for request in (handshake("/other"), plain):
        client = site.dial()
        client.send(request)
        assert client.read_head().status == "HTTP/1.1 200 OK" and client.read(4) == b"home"


def test_on_handshake(mount):
    class Handler(EchoWS):
        def on_handshake(self, environ, headers):
            if environ["PATH_INFO"] == "/no":
                raise HandshakeError(403, "not you")
            names = [name for name, _ in headers]
            assert names == ["Upgrade", "Connection", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"]
            headers.append(("X-Room", "7"))
            del headers[3]

    site = mount(Handler(), subprotocols=["chat"])
    client = site.dial()
    answer = client.open(sec_websocket_protocol="chat")
    assert answer.get("x-room") == "7" and answer.get("sec-websocket-protocol") is None
    client.leave()
    client = site.dial()
    client.send(handshake("/no", sec_websocket_protocol="chat"))
    assert client.read_head().status == "HTTP/1.1 403 Forbidden"


def test_extensions(mount):
    offer = {"sec_websocket_extensions": "x-webkit-deflate-frame, permessage-deflate"}
    agreed = []
    for names in (None, ["x-webkit-deflate-frame"], ["permessage-deflate"]):
        client = mount(EchoWS(), extensions=names).dial()
        agreed.append((client.open(**offer).get("sec-websocket-extensions") or "").split(";")[0])
        client.leave()
    assert agreed == ["", "", "permessage-deflate"]


# Replies

REPLIES = {
    "text": ("a", Frame(1, b"a")),
    "empty": ("", Frame(1, b"")),
    "binary": (b"a", Frame(2, b"a")),
    "bytearray": (bytearray(b"a"), Frame(2, b"a")),
    "frame": (ws.Frame("a", final=True), Frame(1, b"a")),
    "fragment": (ws.Frame(b"a"), Frame(2, b"a", False)),
    "continuation": (ws.Frame.continuation("b", final=True), Frame(0, b"b")),
    "reserved bits": (ws.Frame("a", final=True, rsv1=1), Frame(1, b"a", rsv=4)),
    "masked frame": (ws.Frame("a", final=True, masking_key="ciao"), Frame(1, b"a")),
    "ping": (ws.Frame.ping("a"), Frame(9, b"a")),
}


@pytest.mark.parametrize("name", REPLIES)
def test_replies(converse, name):
    reply, expected = REPLIES[name]
    client = converse(lambda self, environ, message: reply, text("x"))
    assert client.read_frame() == expected
    client.leave()


def test_replies_that_come_later(converse):
    def on_message(self, environ, message):
        if message == "greenlet":
            return gevent.spawn(lambda: message)
        result = AsyncResult()
        gevent.get_hub().loop.run_callback(result.set, message)
        return result

    client = converse(on_message, text("result") + text("greenlet"))
    assert [client.read_message(), client.read_message()] == ["result", "greenlet"]
    client.leave()


def test_no_reply(converse):
    client = converse(lambda self, environ, message: None if message == "quiet" else "reply", text("quiet"))
    client.send(text("x"))
    assert client.read_message() == "reply"
    client.leave()


def test_messages_right_before_a_close(converse):
    def on_message(self, environ, message):
        self.calls.append(message)
        return message

    client = converse(on_message, text("a") + text("b") + frames.close())
    client.expect(b"\x81\x01a\x81\x01b")
    client.expect_close(answer=False)
    assert client.handler.closed.get()
    assert client.handler.calls == ["WebSocket opened", "a", "b", "WebSocket closed"]


@pytest.mark.parametrize(
    ("msg", "code", "reason"), [(None, 1000, ""), ("bye", 1000, "bye"), (b"\x0f\xa0enough", 4000, "enough")]
)
@pytest.mark.parametrize("returned", [True, False])
def test_close(converse, msg, code, reason, returned):
    def on_message(self, environ, message):
        close = self.close(environ, msg)
        assert close.is_close and close.final
        return close if returned else "dropped"

    client = converse(on_message, text("x"))
    client.expect_close(code, reason)
    assert client.handler.closed.get()


def test_close_frames_made_by_hand(converse):
    client = converse(lambda self, environ, message: ws.Frame.close(b"\x03\xe9"), text("x"))
    client.expect_close(1001)


def test_on_message_must_be_overridden(mount, log):
    client = mount(ws.WS()).connect("/", text("x"))
    client.expect_close(1011)
    assert [record.exc_info[0] for record in log() if record.exc_info] == [NotImplementedError]


@pytest.mark.parametrize("name", ["on_open", "on_message", "on_close"])
def test_a_callback_that_fails(mount, log, name):
    def fail(self, *_args):
        raise LookupError("lost")

    handler = type("Failing", (EchoWS,), {name: fail})()
    client = mount(handler).connect("/", text("x"))
    if name == "on_close":
        assert client.read_message() == "x"
        client.leave()
        gevent.sleep(0)
    else:
        client.expect_close(1011)
        assert handler.closed.get()
    assert [record.exc_info[0] for record in log() if record.exc_info] == [LookupError]


def test_a_result_that_is_no_message(converse, log):
    client = converse(lambda self, environ, message: 7, text("x"))
    client.expect_close(1011)
    assert [record.exc_info[0] for record in log() if record.exc_info] == [TypeError]


def test_the_server_of_the_documentation(warm):
    handler = EchoWS()
    app = wsgi.WsgiHandler(middleware=(ws.WebSocket(handle=handler),))
    server = wsgi.createServer(callable=app, bind="127.0.0.1:0")
    serving = gevent.spawn(server.start)
    with gevent.Timeout(10):
        while not server.server.started:
            gevent.sleep(0.001)
        with RawClient(server.server.server_port) as client:
            client.open(text("x"))
            assert client.read_message() == "x"
            stopping = gevent.spawn(server.stop)
            assert client.read_frame().payload[:2] == b"\x03\xe9"
            client.send(frames.close(1001))
            assert handler.closed.get() and client.rest() == b""
        gevent.joinall([serving, stopping])
