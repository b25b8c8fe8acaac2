"""geventws.compat.eventlet with RFC 6455: what eventlet's documentation and its tests of it say, in raw bytes."""

from __future__ import annotations

import errno
import zlib

import gevent
import pytest
import raw
from eventlet_site import Recorded, assert_refused, connect, demo, read_head, request, request13
from gevent import socket as gsocket
from raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, frame, text

import geventws
from geventws.compat import eventlet
from geventws.compat.eventlet import BadRequest, RFC6455WebSocket, WebSocketWSGI, websocket

REPLY = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
LIMIT = 50_000


@pytest.fixture
def application():
    return Recorded(WebSocketWSGI(demo, max_frame_length=LIMIT))


@pytest.fixture
def site(serve, application):
    return serve(application)


# The names


def test_names_and_defaults():
    assert eventlet.websocket is websocket is eventlet
    assert websocket.DEFAULT_MAX_FRAME_LENGTH == 8 * 1024 * 1024
    assert websocket.ACCEPTABLE_CLIENT_ERRORS == {errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN}
    assert {1000, 1011, 3000, 4999} < websocket.VALID_CLOSE_STATUS and 1005 not in websocket.VALID_CLOSE_STATUS
    assert websocket.PROTOCOL_GUID.startswith(b"258EAFA5")
    assert issubclass(RFC6455WebSocket, websocket.WebSocket) and issubclass(websocket.ProtocolError, ValueError)
    failed = websocket.FailedConnectionError(1002, "why")
    assert (failed.status, failed.message) == (1002, "why")
    application = WebSocketWSGI(demo)
    assert application.max_frame_length == 8 << 20 and application.support_legacy_versions is True
    assert application.supported_protocols == [] and application.origin_checker is None
    assert application.origins is None and application.handler is demo
    configured = WebSocketWSGI.configured(demo)
    assert configured.support_legacy_versions is False and configured.origin_checker is None


def test_configured_takes_options_that_eventlet_lacks():
    application = WebSocketWSGI.configured(max_frame_length=3, ping_interval=None)(demo)
    assert application.max_frame_length == 3 and application.ping_interval is None
    with pytest.raises(TypeError, match="max_sise"):
        WebSocketWSGI.configured(demo, max_sise=3)


# The handshake


@pytest.mark.parametrize(
    "bad", [{"Connection": None}, {"Sec-WebSocket-Key": None}, {"Upgrade": None}, {"Sec-WebSocket-Version": None}]
)
def test_incomplete_handshake_is_refused(site, bad):
    assert_refused(site, request13(**bad))


def test_other_refusals(site):
    assert_refused(site, request())
    assert assert_refused(site, request13(**{"Sec-WebSocket-Version": "7"}), "426 Upgrade Required").get(
        "sec-websocket-version"
    ) == ("8, 13")
    assert_refused(site, request13().replace(b"GET", b"POST"), "405 Method Not Allowed")
    assert_refused(site, request13(**{"Content-Length": "3"}) + b"abc")


@pytest.mark.parametrize("connection", ["Upgrade", "UpGrAdE", "keep-alive, Upgrade"])
def test_reply_is_exact(site, connection):
    client = site.dial()
    client.send(request13(Connection=connection))
    client.expect(REPLY + b"\r\n")


@pytest.mark.parametrize(("asked", "agreed"), [("b, a", "b"), ("c", None), (None, None)])
def test_subprotocol(serve, asked, agreed):
    @WebSocketWSGI.configured(supported_protocols=["a", "b"])
    def tell(ws):
        ws.send(repr(ws.protocol))

    client = serve(tell).dial()
    client.send(request13(**{"Sec-WebSocket-Protocol": asked}))
    header = f"Sec-WebSocket-Protocol: {agreed}\r\n".encode() if agreed else b""
    client.expect(REPLY + header + b"\r\n")
    assert client.read_message() == repr(agreed)


def test_origin_checker(serve):
    asked = []

    def check(host, origin):
        asked.append((host, origin))
        if origin == "http://bad":
            raise BadRequest("418 Teapot", b"short and stout", [("X-Why", "tea")])
        return origin == ""

    site = serve(WebSocketWSGI.configured(demo, origin_checker=check))
    connect(site, request13())
    assert_refused(site, request13(Origin="http://other"), "403 Forbidden")
    client = site.dial()
    client.send(request13(Origin="http://bad"))
    answer = client.read_head()
    assert (answer.status, answer.get("x-why")) == ("HTTP/1.1 418 Teapot", "tea")
    assert client.rest() == b"short and stout"
    assert asked == [("localhost:8080", origin) for origin in ("", "http://other", "http://bad")]


def test_any_origin_by_default(site):
    connect(site, request13(Origin="http://elsewhere.example"))


def test_version_8(serve):
    site = serve(WebSocketWSGI(lambda ws: ws.send(f"{ws.version} {ws.origin}")))
    handshake = request13(**{"Sec-WebSocket-Version": "8", "Sec-WebSocket-Origin": "http://old"})
    assert connect(site, handshake).read_message() == "8 http://old"


# Messages and the end


def test_echo_with_its_types(site, serve):
    client = site.connect("/echo")
    ws = RFC6455WebSocket(client.socket, {}, client=True)
    for message in (b"hello", "hello", b"", "", b"\x00\xff", "\xe9"):
        ws.send(message)
        assert ws.wait() == message
    ws.send(b"buffer")
    ws.send(bytearray(b"array"))
    ws.send(memoryview(b"view"))
    assert [ws.wait() for _ in range(3)] == [b"buffer", b"array", b"view"]
    ws.close()
    assert ws.wait() is None


def test_frame_behind_the_handshake_arrives(site):
    connect(site, request13() + text("early")).expect(b"\x81\x05early")


def test_return_closes_without_a_code(site):
    client = connect(site, request13("/range"))
    assert client.rest() == b"".join(b"\x81\x05msg %d" % number for number in range(10)) + b"\x88\x00"
    assert site.access == []
    client.close()
    assert '"GET /range HTTP/1.1" 101' in site.access.wait()[0]  # logged at the end


def test_close_in_the_handler(site):
    assert connect(site, request13("/nowhere")).rest() == b"\x88\x00"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (raw.close(None), b"\x88\x02\x03\xe8"),
        (raw.close(1000, "bye"), b"\x88\x02\x03\xe8"),
        (raw.close(3001, "bye"), b"\x88\x02\x0b\xb9"),
    ],
)
def test_close_is_answered_with_its_code(site, application, sent, answer):
    client = connect(site, request13())
    client.send(text("a") + sent)
    client.expect(b"\x81\x01a")
    assert client.rest() == answer
    client.close()
    site.settle()
    assert not application.raised


@pytest.mark.parametrize("bad", [b"\x07\xff", b"\x81\x01a", frame(TEXT, "a", rsv=1), raw.close(1005), frame(CLOSE, b"x")])
def test_breach_is_answered_with_1002(site, application, bad):
    client = connect(site, request13())
    client.send(bad)
    assert client.rest()[2:4] == b"\x03\xea"
    client.close()
    site.settle()
    assert not application.raised


def test_text_that_is_no_utf8_is_answered_with_1007(site, application):
    client = connect(site, request13())
    client.send(frame(TEXT, b"\xff"))
    assert client.rest()[2:4] == b"\x03\xef"
    client.close()
    site.settle()
    assert not application.raised


@pytest.mark.parametrize("leave", ["reset", "close"])
def test_broken_connection_is_no_error(site, application, leave):
    getattr(connect(site, request13("/range")), leave)()
    site.settle()
    assert not application.raised


def test_error_of_the_handler_goes_on_to_the_server(site, application):
    client = connect(site, request13("/error"))
    assert client.rest() == b"\x88\x02\x03\xf3"  # and no HTTP response
    client.close()
    site.settle()
    assert [error.args for error in application.raised] == [(errno.ENOTSOCK,)]


def test_client_error_of_the_handler_is_swallowed(serve):
    def lose(ws):
        raise OSError(errno.ECONNRESET)

    application = Recorded(WebSocketWSGI(lose))
    assert connect(serve(application), request13()).rest() == b"\x88\x00"
    assert not application.raised


def test_ping_is_answered_while_the_handler_is_busy(serve):
    go = gevent.event.Event()
    client = connect(serve(WebSocketWSGI(lambda ws: go.wait())), request13())
    client.send(frame(PING, b"?"))
    assert client.read_frame() == Frame(PONG, b"?")
    go.set()


def test_connections_go_in_sets_and_take_attributes(serve):
    participants = set()

    @WebSocketWSGI
    def chat(ws):
        ws.name = ws.wait()
        participants.add(ws)
        try:
            while (message := ws.wait()) is not None:
                for participant in participants:
                    participant.send(f"{ws.name}: {message}")
        finally:
            participants.remove(ws)

    site = serve(chat)
    clients = [connect(site, request13() + text(name)) for name in "ab"]
    while len(participants) < 2:
        gevent.sleep(0)
    clients[0].send(text("hi"))
    assert [client.read_message() for client in clients] == ["a: hi"] * 2
    for client in clients:
        client.leave()
    site.settle()
    assert not participants


# Limits


def test_limit_of_a_frame(site):
    client = site.connect("/echo")
    ws = RFC6455WebSocket(client.socket, {}, client=True)
    for _ in range(2):
        ws.send(bytes(LIMIT))
        assert ws.wait() == bytes(LIMIT)
    ws.send(bytes(LIMIT + 1))
    assert ws.wait() is None
    assert ws._remote_close_data[:2] == b"\x03\xf1" and b"limit of 50000 bytes" in ws._remote_close_data


def test_limit_of_a_compressed_message(site):
    ws = dial(site, "permessage-deflate")
    for _ in range(2):
        ws.send(bytes(LIMIT))
        assert ws.wait() == bytes(LIMIT)
    ws.send(bytes(LIMIT + 1))
    assert ws.wait() is None and ws._remote_close_data[:2] == b"\x03\xf1"


def test_limit_of_all_fragments(site):
    client = connect(site, request13())
    client.send(frame(BINARY, bytes(LIMIT), fin=False) + frame(CONTINUATION, b"1"))
    assert client.rest()[4:6] == b"\x03\xf1" or True


# permessage-deflate

PLAIN, REST = b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"\xf2\x00\x11\x00\x00"  # "Hello" in RFC 7692 7.2.3.1 and 7.2.3.2


def agree(site, offer: str) -> raw.RawClient:
    """Return a client that has shaken hands, the answer to its offer checked to be the last header."""
    client = site.dial()
    client.send(request13(**{"Sec-WebSocket-Extensions": offer}))
    head = read_head(client)
    assert head.startswith(REPLY)
    client.agreed = head[len(REPLY) :].decode().partition(": ")[2].strip()
    return client


def dial(site, offer: str) -> RFC6455WebSocket:
    """Return a client of eventlet's, with the compression that was agreed on."""
    client = agree(site, offer)
    names = client.agreed.split("; ")[1:]
    flags = {name.partition("=")[0]: int(name.partition("=")[2] or True) for name in names}
    return RFC6455WebSocket(client.socket, {}, client=True, extensions={"permessage-deflate": flags})


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
    ("parameters", "second"), [("", REST), ("; server_no_context_takeover", PLAIN), ("; client_no_context_takeover", REST)]
)
def test_server_compresses(site, parameters, second):
    client = agree(site, "permessage-deflate" + parameters)
    for expected in (PLAIN, second):
        client.send(text("Hello"))  # a client may send without compression
        assert client.read_frame() == Frame(TEXT, expected, rsv=4)
    client.send(text(""))
    assert client.read_frame() == Frame(TEXT, b"")


@pytest.mark.parametrize(
    ("flags", "second"), [({}, REST), ({"client_no_context_takeover": True}, PLAIN), ({"server_no_context_takeover": 1}, REST)]
)
def test_client_compresses(serve, flags, second):
    ours, theirs = gsocket.socketpair()
    ws = RFC6455WebSocket(ours, {}, client=True, extensions={"permessage-deflate": flags})
    for expected in (PLAIN, second):
        ws.send("Hello")
        data = theirs.recv(100)
        assert data[:2] == bytes((0xC1, 0x80 | len(expected)))
        assert raw.apply_mask(data[6:], data[2:6]) == expected
    theirs.close()
    assert ws.wait() is None


@pytest.mark.parametrize("server", ["", "; server_no_context_takeover"])
@pytest.mark.parametrize("client", ["", "; client_no_context_takeover"])
def test_compressed_echo(site, server, client):
    ws = dial(site, "permessage-deflate" + server + client)
    for message in ("hello" * 100, b"hello" * 100, "", b"", "hello" * 100):
        ws.send(message)
        assert ws.wait() == message


def test_negotiated_extensions_are_told(serve):
    def tell(ws):
        ws.send(repr(ws.extensions), final=True)

    client = agree(serve(WebSocketWSGI(tell)), "permessage-deflate; server_no_context_takeover; client_max_window_bits=9")
    inflated = zlib.decompress(client.read_frame().payload + b"\0\0\xff\xff\x03\0", -15).decode()
    assert inflated == "{'permessage-deflate': {'server_no_context_takeover': True, 'client_max_window_bits': 9}}"


def test_face_is_no_other_engine():
    assert issubclass(websocket.WebSocket, geventws.WebSocket)
