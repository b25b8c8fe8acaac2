"""geventws.compat.cyclone: what cyclone's documentation says of its handlers, in raw bytes."""

from __future__ import annotations

import gevent
import pytest
from kit.frames import BINARY, HUGE, PING, PONG, TEXT, Frame, binary, frame, text
from kit.sites.eventlet import CHALLENGE, connect, request, request13, request75, request76

from geventws.compat import cyclone
from geventws.compat.cyclone import Application, FrameDecodeError, Hixie76FrameDecoder, WebSocketHandler

CLOSING_FRAME = Hixie76FrameDecoder.CLOSING_FRAME


class Echo(WebSocketHandler):
    """The example of the documentation, with a record of what is called."""

    def initialize(self, calls=None, **options):
        self.calls = [] if calls is None else calls
        self.options = options

    def connectionMade(self, *args, **kwargs):
        self.calls.append(("connectionMade", args, kwargs))

    def messageReceived(self, message):
        self.calls.append(message)
        self.sendMessage("You said: " + message)

    def connectionLost(self, reason):
        self.calls.append(("connectionLost", reason))


@pytest.fixture
def calls():
    return []


@pytest.fixture
def site(serve, calls):
    return serve(Application([(r"/ws/(\w+)/(x)?", Echo, {"calls": calls}), (r"/named/(?P<room>[^/]+)", Echo)]))


def converse(serve, received, **handler):
    """Serve a handler whose messageReceived is the function, and return a client."""
    methods = {"messageReceived": received, **handler}
    return connect(serve(type("Handler", (WebSocketHandler,), methods).as_wsgi()), request13("/any/path"))


# Callbacks


def test_example(site, calls):
    client = connect(site, request13("/ws/a/"))
    client.send(text("hello") + text("\xe9"))
    assert [client.read_message(), client.read_message()] == ["You said: hello", "You said: \xe9"]
    client.leave(1000, "bye")
    site.settle()
    assert calls == [
        ("connectionMade", ("a", None), {}),
        "hello",
        "\xe9",
        ("connectionLost", "closed with 1000 bye"),
    ]


def test_lost_connection(site, calls):
    connect(site, request13("/ws/a/x")).reset()
    site.settle()
    assert calls == [("connectionMade", ("a", "x"), {}), ("connectionLost", "closed with 1006")]


def test_settings_and_transport_of_a_handler(serve):
    seen = []

    class Handler(WebSocketHandler):
        def initialize(self):
            seen.append(self.transport.connected)

        def connectionMade(self):
            seen.extend([self.settings.colour, self.settings["colour"], self.transport.connected])
            with pytest.raises(AttributeError, match="shape"):
                self.settings.shape  # noqa: B018
            self.transport.loseConnection()
            seen.append(self.transport.connected)

    client = connect(serve(Application([("/", Handler)], colour="red")), request13("/"))
    client.expect_close()
    assert seen == [False, "red", "red", True, False]


def test_named_groups_come_by_name(serve):
    made = []

    class Room(WebSocketHandler):
        def connectionMade(self, room):
            made.append(room)
            self.transport.loseConnection()

    site = serve(Application([(r"/(?P<room>[^/]+)", Room)]))
    client = connect(site, request13("/caf%C3%A9%20x"))
    client.expect_close(1000)
    assert made == ["caf\xe9 x"]


def test_the_whole_path_has_to_match(site):
    for path in ("/ws/a", "/ws/a/xx", "/prefix/ws/a/"):
        client = site.dial()
        client.send(request13(path))
        assert client.read_head().status == "HTTP/1.1 404 Not Found"


def test_any_wsgi_application_may_be_a_handler(serve):
    def page(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return [b"page"]

    client = serve(Application([(r"/", page), (r"/ws", Echo)], debug=True)).dial()
    client.send(request("/", Connection="close"))
    assert client.read_head().status == "HTTP/1.1 200 OK" and client.rest() == b"page"


def test_handler_gets_application_request_and_options(serve):
    class Tell(Echo):
        def connectionMade(self):
            found = self.request
            self.sendMessage(
                {
                    "settings": self.application.settings,
                    "options": self.options,
                    "request": [found.method, found.uri, found.path, found.query, found.version, found.protocol],
                    "arguments": found.arguments,
                    "from": [found.remote_ip, found.host, found.full_url(), found.body.decode()],
                    "headers": [found.headers["x-test"], found.headers.get("X-None", 0), "x-TEST" in found.headers],
                }
            )

    site = serve(Application([(r"/tell", Tell, {"db": "sql"})], debug=True))
    client = connect(site, request13("/tell?a=1&a=2&b=", **{"X-Test": "yes"}))
    assert client.read_message() == (
        '{"settings": {"debug": true}, "options": {"db": "sql"}, '
        '"request": ["GET", "/tell?a=1&a=2&b=", "/tell", "a=1&a=2&b=", "HTTP/1.1", "http"], '
        '"arguments": {"a": ["1", "2"], "b": [""]}, '
        '"from": ["127.0.0.1", "localhost:8080", "http://localhost:8080/tell?a=1&a=2&b=", ""], '
        '"headers": ["yes", 0, true]}'
    )


@pytest.mark.parametrize(
    ("sent", "came"),
    [
        ("text", Frame(TEXT, b"text")),
        ("\xe9", Frame(TEXT, b"\xc3\xa9")),
        ("", Frame(TEXT, b"")),
        (b"bytes that are text", Frame(TEXT, b"bytes that are text")),
        (b"\xff\x00", Frame(BINARY, b"\xff\x00")),
        ({"html": "</script>", "n": [1, None]}, Frame(TEXT, b'{"html": "<\\/script>", "n": [1, null]}')),
    ],
)
def test_send_message(serve, sent, came):
    client = converse(serve, lambda self, message: self.sendMessage(sent))
    client.send(text("go"))
    assert client.read_frame() == came


@pytest.mark.parametrize("sent", [["a"], 10, None, {"a": object()}])
def test_what_cannot_be_sent(serve, sent):
    def received(self, message):
        with pytest.raises(TypeError):
            self.sendMessage(sent)
        self.sendMessage("fine")

    client = converse(serve, received)
    client.send(text("go"))
    assert client.read_message() == "fine"


def test_binary_comes_as_bytes(serve):
    client = converse(serve, lambda self, message: self.sendMessage(repr(message)))
    client.send(binary(b"\x00\xff") + frame(PING, b"?") + frame(PONG, b"!") + text("last"))
    assert sorted(client.read_frame() for _ in range(3)) == [
        Frame(TEXT, b"'last'"),
        Frame(TEXT, b"b'\\x00\\xff'"),
        Frame(PONG, b"?"),
    ]


def test_other_frames_by_the_protocol(serve):
    def received(self, message):
        for code in (0x81, 0x82, 0x89, 0x8A):
            self.ws_protocol.sendMessage(b"x", code)
        with pytest.raises(ValueError, match="0x83"):
            self.ws_protocol.sendMessage(b"x", 0x83)
        assert self.ws_protocol.handler is self
        self.ws_protocol.sendMessage(b"\x03\xe9away", code=0x88)

    client = converse(serve, received)
    client.send(text("go"))
    opcodes = (TEXT, BINARY, PING, PONG)
    assert [client.read_frame() for _ in opcodes] == [Frame(opcode, b"x") for opcode in opcodes]
    client.expect_close(1001, "away")


def test_message_to_a_connection_that_is_over_is_dropped(serve):
    peers = []

    class Chat(WebSocketHandler):
        def connectionMade(self):
            peers.append(self)

        def messageReceived(self, message):
            for peer in peers:
                peer.sendMessage(message)

    site = serve(Chat.as_wsgi())
    gone, here = connect(site, request13()), connect(site, request13())
    while len(peers) < 2:
        gevent.sleep(0)
    gone.leave()
    here.send(text("hi"))
    assert here.read_message() == "hi"


def test_handler_that_fails(serve, calls, log):
    class Fails(Echo):
        def messageReceived(self, message):
            raise KeyError(message)

    client = connect(serve(Fails.as_wsgi(calls=calls)), request13())
    client.send(text("go"))
    client.expect_close(1011)
    client.close()
    assert calls[-1] == ("connectionLost", "the handler failed")
    assert [record.exc_info[0] for record in log() if record.exc_info] == [KeyError]


# Refusals


def test_plain_request_is_forbidden(serve):
    client = serve(Echo.as_wsgi()).dial()
    client.send(request("/"))
    answer = client.read_head()
    assert answer.status == "HTTP/1.1 403 Forbidden" and answer.get("connection") == "close"
    assert client.rest() == b"Expected WebSocket Headers\n"


@pytest.mark.parametrize("hook", ["initialize", "headersReceived"])
def test_forbid_connection(serve, calls, hook):
    methods = {hook: lambda self: self.forbidConnection("members only"), "connectionMade": calls.append}
    client = serve(type("Closed", (WebSocketHandler,), methods).as_wsgi()).dial()
    client.send(request13())
    assert client.read_head().status == "HTTP/1.1 403 Forbidden"
    assert client.rest() == b"members only\n" and not calls


def test_forbid_an_open_connection(serve):
    client = converse(serve, None, connectionMade=lambda self: self.forbidConnection("\xe9" * 100))
    client.expect_close(1008, "\xe9" * 61)


def test_message_before_the_handshake():
    handler = WebSocketHandler(None, None)
    with pytest.raises(RuntimeError, match="handshake"):
        handler.sendMessage("early")
    handler.transport.loseConnection()


# Origins and versions


def test_any_origin_unless_the_class_says_otherwise(serve):
    class Careful(Echo):
        websocket_options = {"origins": ["http://localhost"]}

    for application, status in ((Echo, "101 Switching Protocols"), (Careful, "403 Forbidden")):
        client = serve(application.as_wsgi()).dial()
        client.send(request13(Origin="http://elsewhere.example"))
        assert client.read_head().status == f"HTTP/1.1 {status}"


def test_message_size_is_bounded(site):
    client = connect(site, request13("/ws/a/"))
    client.send(HUGE)
    client.expect_close(1009, None)


@pytest.mark.parametrize(("handshake", "end"), [(request75, b""), (request76, b"\xff\x00")])
def test_drafts(serve, handshake, end, calls):
    client = connect(serve(Echo.as_wsgi(calls=calls)), handshake())
    client.send(b"\x00hel")
    gevent.sleep(0)
    client.send(b"lo\xff\x00a\xff")
    client.expect(b"\x00You said: hello\xff\x00You said: a\xff")
    assert calls[0][0] == "connectionMade"
    client.send(b"\xff\x00")
    assert client.rest() == end


# The decoder


def test_decoder():
    decoder = Hixie76FrameDecoder()
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\x00hel") == []
    assert decoder.feed(b"lo\xff\x00\xff\x00\xc3") == ["hello", ""]
    assert decoder.feed(b"\xa9\xff") == ["\xe9"]
    assert decoder.feed("\x00as in Python 2\xff") == ["as in Python 2"]
    assert decoder.feed(b"\x00last\xff\xff\x00\x00ignored\xff") == ["last", CLOSING_FRAME]
    assert decoder.feed(b"\x00ignored\xff") == []


@pytest.mark.parametrize("data", [b"\x01", b"hello", b"\x80", b"\xff\x01", b"\x00a\xff" + CHALLENGE])
def test_decoder_raises(data):
    decoder = Hixie76FrameDecoder()
    for _ in range(2):
        with pytest.raises(FrameDecodeError):
            decoder.feed(data)


def test_decoder_is_bounded():
    decoder = Hixie76FrameDecoder(max_message_size=3)
    assert decoder.feed(b"\x00123\xff\x001") == ["123"]
    with pytest.raises(FrameDecodeError, match="3 bytes"):
        decoder.feed(b"234")


def test_names():
    assert {"WebSocketHandler", "FrameDecodeError", "Hixie76FrameDecoder"} < set(cyclone.__all__)
