"""geventws.compat.pulsar: what the newer pulsar's documentation says, and what its own tests check, over sockets."""

from __future__ import annotations

import asyncio
import gc

import gevent
import pytest
import websockets.sync.client
from gevent.event import AsyncResult, Event
from kit import frames
from kit.clients import handshake
from kit.frames import HUGE, PING, PONG, TEXT, Frame, binary, frame, text

from geventws import ConnectionClosed, PerMessageDeflate
from geventws.compat.pulsar import FrameParser as Parser
from geventws.compat.pulsar import websocket, ws, wsgi
from geventws.websocket import get_connection


class EchoWS(ws.WS):
    """The example of the documentation, with what it leaves out."""

    def on_message(self, websocket, message):
        websocket.write(message)


class Recorder(ws.WS):
    """Notes every call, and shows the tests the connection."""

    def __init__(self):
        self.calls = []
        self.websocket = AsyncResult()
        self.closed = AsyncResult()

    def on_open(self, websocket):
        self.calls.append("open")
        self.websocket.set(websocket)

    def on_message(self, websocket, message):
        self.calls.append(message)

    def on_bytes(self, websocket, body):
        self.calls.append(body)

    def on_pong(self, websocket, body):
        self.calls.append(("pong", body))

    def on_close(self, websocket):
        self.calls.append("close")
        self.closed.set(websocket.close_reason)


def home(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", "4")])
    return [b"home"]


@pytest.fixture
def mount(serve):
    """Serve a handler as the documentation mounts it, behind another middleware and before an application."""

    def mount(handler, route="/bla", *last, **settings):
        passed = []
        wm = ws.WebSocket(route, handler, **settings)
        site = serve(wsgi.WsgiHandler(middleware=(lambda environ, _start: passed.append(environ), wm, *last)))
        site.passed = passed
        return site

    return mount


def talk(port, messages):
    """Send messages with a client of another make; return what came back, the extensions and the close code."""
    with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/bla", proxy=None) as client:
        for message in messages:
            client.send(message)
        received = [client.recv(5) for _ in messages]
        extensions = [extension.name for extension in client.protocol.extensions]
    return received, extensions, client.close_code


@pytest.fixture
def talk_in_thread(in_thread):
    """Run `talk` beside the server."""
    yield lambda *arguments: in_thread(talk, *arguments)
    gc.collect()  # that client is a cycle, with weak references in it


def test_example(mount, talk_in_thread):
    site = mount(EchoWS())
    messages = ["hello", "", "\u20ac" * 40_000]
    assert talk_in_thread(site.port, messages) == (messages, [], 1000)  # pulsar compresses nothing
    assert len(site.passed) == 1  # the middleware before it saw the request


def test_middleware_after_another(mount):
    site = mount(EchoWS(), "/bla", ws.WebSocket("/other", Recorder()), home)
    site.connect("/other").leave()
    for path in ("/", "/bla/", "/blah", "/x/bla"):
        client = site.dial()
        client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.read_head().status == "HTTP/1.1 200 OK" and client.read(4) == b"home"


def test_nobody_answers(mount):
    client = mount(EchoWS()).dial()
    client.send(handshake("/nowhere"))
    assert client.read_head().status == "HTTP/1.1 404 Not Found"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"method": "POST"}, "405 Method Not Allowed"),
        ({"sec_websocket_key": "x"}, "400 Bad Request"),
        ({"sec_websocket_key": "bla"}, "400 Bad Request"),
        ({"sec_websocket_key": None}, "400 Bad Request"),
        ({"sec_websocket_version": "xxx"}, "400 Bad Request"),
        ({"sec_websocket_version": "8"}, "400 Bad Request"),
        ({"upgrade": None, "connection": None}, "400 Bad Request"),
    ],
    ids=str,
)
def test_bad_requests(mount, changed, status):
    client = mount(EchoWS()).dial()
    client.send(handshake("/bla", **changed))
    answer = client.read_head()
    assert answer.status == f"HTTP/1.1 {status}"
    if "sec_websocket_version" in changed:
        assert answer.get("sec-websocket-version") == "13"


def test_what_a_connection_has(mount):
    handler = Recorder()
    site = mount(handler, "/rooms/<int:number>/<name>/<path:rest>", color="red", subprotocols=["chat"])
    client = site.dial()
    request = {"origin": "https://elsewhere.example", "sec_websocket_protocol": "talk, chat"}
    answer = client.open(path="/rooms/7/a/b/c", **request)
    assert answer.get("sec-websocket-protocol") == "chat"  # from any origin
    connection = handler.websocket.get()
    assert isinstance(connection, websocket.WebSocketProtocol) and connection.handler is handler
    assert isinstance(connection.parser, Parser) and connection.parser.kind == 0
    assert connection.parser.protocols == ["talk", "chat"] and connection.close_reason is None
    assert connection.connection.protocol == "chat"
    assert connection.cfg.color == "red" and connection.cfg.get("size", 1) == 1 and "size" not in connection.cfg
    request = connection.handshake
    assert (request.method, request.path) == ("GET", "/rooms/7/a/b/c") and request.get("HTTP_HOST") == "127.0.0.1"
    assert request.urlargs == {"number": 7, "name": "a", "rest": "b/c"}
    with pytest.raises(AttributeError, match="size"):
        _ = connection.cfg.size
    client.leave()


def test_callbacks_come_in_order(mount):
    class Slow(Recorder):
        def on_message(self, websocket, message):
            gevent.sleep(0.01 if message == "1" else 0)
            super().on_message(websocket, message)

        def on_ping(self, websocket, message):
            self.calls.append(("ping", message))
            super().on_ping(websocket, message)

    handler = Slow()
    messages = text("1") + frame(PING, b"2") + text("3") + frame(PONG, b"4") + binary(b"5")
    client = mount(handler).connect("/bla", messages)
    assert client.read_frame() == Frame(PONG, b"2")
    client.leave(4000, "bye")
    assert handler.closed.get() == (4000, "bye")
    assert handler.calls == ["open", "1", ("ping", b"2"), "3", ("pong", b"4"), b"5", "close"]


def test_a_ping_is_answered_while_a_callback_is_busy(mount):
    release = Event()

    class Busy(ws.WS):
        def on_open(self, websocket):
            release.wait()

    client = mount(Busy()).connect("/bla", frame(PING, b"there?"))
    assert client.read_frame() == Frame(PONG, b"there?")
    release.set()
    client.leave()


def test_on_ping_may_leave_a_ping_unanswered(mount):
    class Mute(EchoWS):
        def on_ping(self, websocket, message):
            websocket.write(b"pinged with " + message)

    client = mount(Mute()).connect("/bla", frame(PING, b"x"))
    assert client.read_message() == b"pinged with x"
    client.leave()


def test_on_pong_gets_none_of_the_keepalive(mount):
    handler = Recorder()
    client = mount(handler, ping_interval=0.02).connect("/bla")
    for _ in range(3):
        ping = client.read_frame()
        assert ping.opcode == PING
        client.send(frame(PONG, ping.payload))
    client.send(frame(PONG, b"mine") + frames.close())
    handler.closed.get()
    assert handler.calls == ["open", ("pong", b"mine"), "close"]


def test_fragments_are_one_message(mount):
    handler = Recorder()
    fragments = frame(TEXT, b"a\xe2", fin=False) + frame(PING, b"") + frame(0, b"\x82\xac")
    client = mount(handler).connect("/bla", fragments)
    assert client.read_frame() == Frame(PONG, b"")
    client.leave()
    assert handler.closed.get() == (1000, "") and handler.calls == ["open", "a\u20ac", "close"]


def test_write(mount):
    class Writer(ws.WS):
        def on_open(self, websocket):
            websocket.write("text")
            websocket.write(b"bytes")
            websocket.write("as bytes", opcode=2)
            websocket.write("fragm", final=False)
            websocket.write("ents", opcode=0)
            websocket.write("bits", rsv1=1)
            websocket.write(None)
            websocket.write(websocket.parser.encode("encoded") + websocket.parser.ping("!"), encode=False)
            websocket.ping("ping")
            websocket.pong(b"pong")
            for data in websocket.parser.multi_encode("abc", max_payload=2):
                websocket.write(data, encode=False)
            with pytest.raises(ws.ProtocolError, match="125"):
                websocket.ping(bytes(126))

    client = mount(Writer()).connect("/bla")
    expected = [
        Frame(1, b"text"), Frame(2, b"bytes"), Frame(2, b"as bytes"), Frame(1, b"fragm", False), Frame(0, b"ents"),
        Frame(1, b"bits", rsv=4), Frame(2, b""), Frame(1, b"encoded"), Frame(9, b"!"), Frame(9, b"ping"),
        Frame(10, b"pong"), Frame(1, b"ab", False), Frame(0, b"c"),
    ]  # fmt: skip
    assert [client.read_frame() for _ in expected] == expected
    client.leave()


@pytest.mark.parametrize(
    ("close", "code", "reason"),
    [
        (lambda w: w.write_close(), 1000, "OK"),
        (lambda w: w.write_close(1001), 1001, "going away"),
        (lambda w: w.write_close(3999), 3999, ""),
        (lambda w: w.write(w.parser.close(1008), opcode=8, encode=False), 1008, "policy violation"),
        (lambda w: w.write(b"\x0f\xa0bye", opcode=8), 4000, "bye"),
    ],
)
def test_close(mount, close, code, reason):
    class Closer(Recorder):
        def on_message(self, websocket, message):
            super().on_message(websocket, message)
            close(websocket)
            websocket.write_close(4999)  # once is enough
            with pytest.raises(ConnectionClosed):
                websocket.write("late")

    handler = Closer()
    client = mount(handler).connect("/bla", text("close") + text("dropped"))
    client.expect_close(code, reason)
    assert handler.closed.get() == (code, reason) and handler.calls == ["open", "close", "close"]


def test_a_close_that_is_not_answered(mount):
    handler = Recorder()
    client = mount(handler, close_timeout=0.05).connect("/bla")
    handler.websocket.get().write_close()
    assert client.read_frame().opcode == 8 and client.rest() == b""
    assert handler.closed.get() is None


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda client: client.leave(1001, "away"), (1001, "away")),
        (lambda client: (client.send(frames.close(None)), client.expect_close(None, answer=False)), (1005, "")),
        (lambda client: client.reset(), None),
        (lambda client: (client.send(b"\x81\x01x"), client.expect_close(1002, None)), None),
        (lambda client: (client.send(HUGE), client.expect_close(1009, None)), None),
    ],
    ids=["closed", "without a code", "reset", "breach", "too big"],
)
def test_close_reason(mount, end, reason):
    handler = Recorder()
    client = mount(handler).connect("/bla")
    end(client)
    assert handler.closed.get() == reason and handler.calls == ["open", "close"]


def test_messages_right_before_a_close(mount):
    class Echo(Recorder):
        def on_message(self, websocket, message):
            super().on_message(websocket, message)
            websocket.write(message)

    handler = Echo()
    client = mount(handler).connect("/bla", text("a") + text("b") + frames.close())
    client.expect(b"\x81\x01a\x81\x01b")
    client.expect_close(answer=False)
    assert handler.closed.get() == (1000, "") and handler.calls == ["open", "a", "b", "close"]


def test_messages_that_cannot_be_answered_any_more(mount):
    class Late(Recorder):
        def on_message(self, websocket, message):
            super().on_message(websocket, message)
            get_connection(websocket.connection).closing.wait(5)
            websocket.write(message)

    handler = Late()
    client = mount(handler).connect("/bla", text("a") + text("b"))
    client.reset()
    assert handler.closed.get() is None and handler.calls == ["open", "a", "b", "close"]


@pytest.mark.parametrize("name", ["on_open", "on_message", "on_close"])
def test_a_callback_that_fails(mount, log, name):
    def fail(self, *_args):
        raise LookupError("lost")

    handler = type("Failing", (Recorder,), {name: fail})()
    client = mount(handler).connect("/bla", text("x"))
    if name == "on_close":
        client.leave()
    else:
        client.expect_close(1011)
        handler.closed.get()
    gevent.sleep(0)
    assert [record.exc_info[0] for record in log() if record.exc_info] == [LookupError]


def test_coroutine_functions(mount, log):
    class Async(ws.WS):
        async def on_message(self, websocket, message):
            if message == "wait":
                await asyncio.sleep(0)
            websocket.write(message)

    client = mount(Async()).connect("/bla", text("x"))
    assert client.read_message() == "x"
    client.send(text("wait"))
    client.expect_close(1011)
    assert "asyncio" in str([record.exc_info[1] for record in log() if record.exc_info])


def test_a_parser_factory(mount):
    made = []

    class Shout(Parser):
        def encode(self, message, *args, **options):
            return super().encode(message.upper() if isinstance(message, str) else message, *args, **options)

    def factory(version=None, kind=0, extensions=None, protocols=None):
        made.append((version, kind, extensions, protocols))
        return Shout(version, kind, extensions, protocols)

    client = mount(EchoWS(), parser_factory=factory).connect("/bla", text("hey"))
    assert client.read_message() == "HEY" and made == [(13, 0, None, [])]
    client.leave()


def test_a_lazy_application_without_a_setup():
    with pytest.raises(NotImplementedError):
        wsgi.LazyWsgi()({}, None)


@pytest.mark.parametrize("header, protocols", [("chat, superchat", ["chat", "superchat"]), (" a,,b ", ["a", "b"])])
@pytest.mark.parametrize("spoken", [[], ["b", "superchat"]])
def test_a_parser_factory_gets_the_clients_protocols(mount, header, protocols, spoken):
    made = []

    def factory(version=None, protocols=None, extensions=None):
        made.append((version, protocols))
        return Parser(version, protocols=protocols)

    client = mount(EchoWS(), parser_factory=factory, subprotocols=spoken).connect(
        "/bla", text("hey"), sec_websocket_protocol=header
    )
    assert client.read_message() == "hey" and made == [(13, protocols)]
    client.leave()


def test_compression_where_it_is_asked_for(mount, talk_in_thread):
    site = mount(EchoWS(), compression=PerMessageDeflate(threshold=1))
    assert talk_in_thread(site.port, ["squeeze" * 100]) == (["squeeze" * 100], ["permessage-deflate"], 1000)
