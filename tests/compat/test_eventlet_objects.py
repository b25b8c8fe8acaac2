"""geventws.compat.eventlet: its RFC6455WebSocket on either side of a real socket, and permessage-deflate."""

from __future__ import annotations

import io
import zlib

import pytest
from gevent import socket as gsocket
from kit.clients import RawClient
from kit.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, apply_mask, text
from kit.sites.eventlet import LIMIT, REPLY, demo, read_head, request13

import geventws
from geventws.compat.eventlet import ProtocolError, RFC6455WebSocket, WebSocket, WebSocketWSGI
from geventws.websocket import get_connection

DEFLATE = "permessage-deflate"


@pytest.fixture
def site(serve):
    return serve(WebSocketWSGI(demo, max_frame_length=LIMIT))


@pytest.fixture
def make(serve):
    """Make connections, and see them end before the test does."""
    made = []

    def make(socket, environ=None, **options):
        made.append(RFC6455WebSocket(socket, environ or {}, **options))
        return made[-1]

    yield make
    for ws in made:
        ws.close()
        get_connection(ws).closing.wait_closed()
        assert ws.socket.fileno() == -1


@pytest.fixture
def pair(make):
    """Return a connection on the client's side, and its peer, which speaks raw bytes."""
    ours, theirs = gsocket.socketpair()
    peer = RawClient.__new__(RawClient)
    peer.socket, peer._data = theirs, bytearray()
    yield make(ours), peer
    peer.close()


# Both sides by themselves


def test_is_the_one_engine():
    assert issubclass(WebSocket, geventws.WebSocket) and issubclass(RFC6455WebSocket, WebSocket)


def test_attributes(make):
    ours, theirs = gsocket.socketpair()
    errors = io.StringIO()
    environ = {"PATH_INFO": "/chat", "HTTP_ORIGIN": "http://a", "HTTP_HOST": "h", "wsgi.errors": errors}
    ws = make(ours, environ, protocol="soap", max_frame_length=3)
    assert (ws.socket, ws.environ, ws.path, ws.origin, ws.protocol) == (ours, environ, "/chat", "http://a", "soap")
    assert (ws.version, ws.client, ws.extensions, ws.max_frame_length) == (13, False, {}, 3)
    assert not ws.websocket_closed and ws.log is errors and ws.log_context == "server=h//chat client=:"
    ws.anything = "may be set"
    theirs.close()


def test_two_of_them(make):
    left, right = gsocket.socketpair()
    client, server = make(left, client=True), make(right)
    for message in ("hello", b"hello", "", b"\0\xff"):
        client.send(message)
        assert server.wait() == message
        server.send(message)
        assert client.wait() == message
    client.send("last")
    client.close((3001, "bye"))
    assert list(server.iterator) == ["last"] and server.wait() is None
    assert server._remote_close_data == b"\x0b\xb9bye" and client._remote_close_data is None
    with pytest.raises(BrokenPipeError):
        server.send("late")


def test_fragments(pair):
    ws, peer = pair
    ws.send("one", final=False)
    ws.send("two", continuation=True, final=False)
    ws.send("three", continuation=True)
    ws.send(b"four", final=False)
    ws.send(memoryview(b"five"), continuation=True)
    assert [peer.read_frame() for _ in range(5)] == [
        Frame(TEXT, b"one", fin=False),
        Frame(CONTINUATION, b"two", fin=False),
        Frame(CONTINUATION, b"three"),
        Frame(BINARY, b"four", fin=False),
        Frame(CONTINUATION, b"five"),
    ]


@pytest.mark.parametrize("flags", [{}, {"server_no_context_takeover": True}])
def test_compressed_fragments_inflate(pair, flags):
    ws, peer = pair
    ws.extensions = {DEFLATE: flags}
    for _ in range(2):
        ws.send("Hel", final=False)
        ws.send("lo", continuation=True)
    first, second, third, fourth = (peer.read_frame() for _ in range(4))
    assert (first.rsv, second.rsv, third.rsv, fourth.rsv) == (4, 0, 4, 0)
    inflater = zlib.decompressobj(-15)
    for part in (first, third) if flags else (first,):
        joined = first.payload + second.payload if part is first else third.payload + fourth.payload
        assert inflater.decompress(joined + b"\0\0\xff\xff") == b"Hello"
        inflater = zlib.decompressobj(-15)


def test_control_frames(pair):
    ws, peer = pair
    ws.send(b"", control_code=9)
    ws.send("text", control_code=PING)
    ws.send(b"p" * 125, control_code=PONG)
    ws.send(b"\x03\xe9bye", control_code=CLOSE)
    assert [peer.read_frame() for _ in range(4)] == [
        Frame(PING, b""),
        Frame(PING, b"text"),
        Frame(PONG, b"p" * 125),
        Frame(CLOSE, b"\x03\xe9bye"),
    ]
    with pytest.raises(BrokenPipeError):
        ws.send(b"", control_code=9)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"message": b"", "control_code": 7}, ProtocolError),
        ({"message": b"", "control_code": 1}, ProtocolError),
        ({"message": b"", "control_code": 9, "final": False}, ProtocolError),
        ({"message": b"", "control_code": 9, "continuation": True}, ProtocolError),
        ({"message": b"x" * 126, "control_code": 9}, ProtocolError),
        ({"message": b"", "continuation": True}, ProtocolError),
        ({"message": 10}, TypeError),
        ({"message": None}, TypeError),
        ({"message": 10, "final": False}, TypeError),
    ],
)
def test_what_cannot_be_sent(pair, arguments, error):
    ws, peer = pair
    with pytest.raises(error):
        ws.send(**arguments)
    ws.send("fine")
    peer.expect(b"\x81\x04fine")


def test_message_within_a_message(pair):
    ws, peer = pair
    ws.send("a", final=False)
    with pytest.raises(ProtocolError, match="not finished"):
        ws.send("b")
    ws.send("c", continuation=True)
    peer.expect(b"\x01\x01a\x80\x01c")


@pytest.mark.parametrize(
    ("close_data", "payload"),
    [(None, b""), ((1001, "bye"), b"\x03\xe9bye"), ((1001, b"bye"), b"\x03\xe9bye"), (3000, b"\x0b\xb8")],
)
def test_close(pair, close_data, payload):
    ws, peer = pair
    ws.close(close_data)
    ws.close()
    assert ws.websocket_closed and ws.wait() is None
    assert peer.read_frame() == Frame(CLOSE, payload) and peer.rest() == b""


def test_a_close_code_that_may_not_be_sent(pair):
    ws, peer = pair
    for code in (1005, 1006, 5000):
        with pytest.raises(ValueError, match=str(code)):
            ws.close((code, ""))
    ws.send("", control_code=CLOSE)
    assert peer.read_frame() == Frame(CLOSE, b"")


def test_limit_set_later(pair):
    ws, peer = pair
    ws.max_frame_length = 5
    peer.send(text("12345") + text("123456"))
    assert ws.wait() == "12345"
    assert ws.wait() is None


# Against the server


def test_echo_with_its_types(site, make):
    client = site.connect("/echo")
    ws = make(client.socket, client=True)
    for message in (b"hello", "hello", b"", "", b"\x00\xff", "\xe9"):
        ws.send(message)
        assert ws.wait() == message
    ws.send(b"buffer")
    ws.send(bytearray(b"array"))
    ws.send(memoryview(b"view"))
    assert [ws.wait() for _ in range(3)] == [b"buffer", b"array", b"view"]
    ws.close()
    assert ws.wait() is None


def test_limit_of_a_frame(site, make):
    client = site.connect("/echo")
    ws = make(client.socket, client=True)
    for _ in range(2):
        ws.send(bytes(LIMIT))
        assert ws.wait() == bytes(LIMIT)
    ws.send(bytes(LIMIT + 1))
    assert ws.wait() is None
    assert ws._remote_close_data == b"\x03\xf1Incoming frame of 50001 bytes is above length limit of 50000 bytes."


def test_limit_of_a_compressed_message(site, dial):
    ws = dial("permessage-deflate")
    for _ in range(2):
        ws.send(bytes(LIMIT))
        assert ws.wait() == bytes(LIMIT)
    ws.send(bytes(LIMIT + 1))
    assert ws.wait() is None
    assert ws._remote_close_data == b"\x03\xf1Incoming compressed frame exceeds length limit of 50000 bytes."


# permessage-deflate

PLAIN, REST = b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"\xf2\x00\x11\x00\x00"  # "Hello" in RFC 7692 7.2.3.1 and 7.2.3.2


def agree(site, offer: str) -> RawClient:
    """Return a client that has shaken hands, the answer to its offer checked to be the last header."""
    client = site.dial()
    client.send(request13(**{"Sec-WebSocket-Extensions": offer}))
    head = read_head(client)
    assert head.startswith(REPLY)
    client.agreed = head[len(REPLY) :].decode().partition(": ")[2].strip()
    return client


@pytest.fixture
def dial(site, make):
    """Return a client of eventlet's, with the compression that was agreed on."""

    def dial(offer):
        client = agree(site, offer)
        names = client.agreed.split("; ")[1:]
        flags = {name.partition("=")[0]: int(name.partition("=")[2] or True) for name in names}
        return make(client.socket, client=True, extensions={DEFLATE: flags})

    return dial


@pytest.mark.parametrize(
    ("offer", "agreed"),
    [
        ("permessage-deflate", "permessage-deflate"),
        ("PerMessage-Deflate", "permessage-deflate"),
        ("permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"),
        (
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits", "permessage-deflate; server_max_window_bits=15"),
        ('permessage-deflate; server_max_window_bits="9"', "permessage-deflate; server_max_window_bits=9"),
        (
            "permessage-deflate; client_max_window_bits=10; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=8; client_max_window_bits=10",
        ),
        ("permessage-deflate; server_max_window_bits=7, permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=16, permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; server_max_window_bits=x", ""),
        ("permessage-deflate; unknown", ""),
        ("x-webkit-deflate-frame", ""),
        ("%s", ""),
        ("; = , nonsense;;", ""),
    ],
)
def test_negotiation(site, offer, agreed):
    client = agree(site, offer)
    assert client.agreed == agreed
    client.send(text("hello"))
    assert client.read_frame().payload == (zlib_hello(b"hello") if agreed else b"hello")


def zlib_hello(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    ("parameters", "second"),
    [("", REST), ("; server_no_context_takeover", PLAIN), ("; client_no_context_takeover", REST)],
)
def test_server_compresses(site, parameters, second):
    client = agree(site, "permessage-deflate" + parameters)
    for expected in (PLAIN, second):
        client.send(text("Hello"))  # a client may send without compression
        assert client.read_frame() == Frame(TEXT, expected, rsv=4)
    client.send(text(""))
    assert client.read_frame() == Frame(TEXT, b"")


@pytest.mark.parametrize(
    ("flags", "second"),
    [({}, REST), ({"client_no_context_takeover": True}, PLAIN), ({"server_no_context_takeover": 1}, REST)],
)
def test_client_compresses(make, flags, second):
    ours, theirs = gsocket.socketpair()
    ws = make(ours, client=True, extensions={DEFLATE: flags})
    for expected in (PLAIN, second):
        ws.send("Hello")
        data = theirs.recv(100)
        assert data[:2] == bytes((0xC1, 0x80 | len(expected)))
        assert apply_mask(data[6:], data[2:6]) == expected
    theirs.close()
    assert ws.wait() is None


@pytest.mark.parametrize("server", ["", "; server_no_context_takeover"])
@pytest.mark.parametrize("client", ["", "; client_no_context_takeover"])
def test_compressed_echo(dial, server, client):
    ws = dial("permessage-deflate" + server + client)
    for message in ("hello" * 100, b"hello" * 100, "", b"", "hello" * 100):
        ws.send(message)
        assert ws.wait() == message


def test_negotiated_extensions_are_told(serve):
    def tell(ws):
        ws.send(repr(ws.extensions), final=True)

    offer = "permessage-deflate; server_no_context_takeover; client_max_window_bits=9"
    client = agree(serve(WebSocketWSGI(tell)), offer)
    inflated = zlib.decompress(client.read_frame().payload + b"\0\0\xff\xff\x03\0", -15).decode()
    assert inflated == "{'permessage-deflate': {'server_no_context_takeover': True, 'client_max_window_bits': 9}}"
