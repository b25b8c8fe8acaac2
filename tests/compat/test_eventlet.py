"""geventws.compat.eventlet with RFC 6455: what eventlet's documentation and its tests of it say, in raw bytes."""

from __future__ import annotations

import errno

import gevent
import pytest
from kit.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, close, frame, text
from kit.sites.eventlet import LIMIT, REPLY, Recorded, assert_refused, connect, demo, request, request13

from geventws.compat import eventlet
from geventws.compat.eventlet import BadRequest, RFC6455WebSocket, WebSocketWSGI, websocket

TOO_BIG = b"\x88\x45\x03\xf1Incoming frame of 50001 bytes is above length limit of 50000 bytes."


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
        (close(None), b"\x88\x02\x03\xe8"),
        (close(1000, "bye"), b"\x88\x02\x03\xe8"),
        (close(3001, "bye"), b"\x88\x02\x0b\xb9"),
    ],
)
def test_close_is_answered_with_its_code(site, application, sent, answer):
    client = connect(site, request13())
    client.send(text("a"))
    client.expect(b"\x81\x01a")
    client.send(sent)
    assert client.rest() == answer
    client.close()
    site.settle()
    assert not application.raised


@pytest.mark.parametrize(
    "bad", [b"\x07\xff", b"\x81\x01a", frame(TEXT, "a", rsv=1), close(1005), frame(CLOSE, b"x")]
)
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


def test_limit_of_all_fragments(site):
    client = connect(site, request13())
    for size in (LIMIT - 1, LIMIT - 1):
        client.send(frame(BINARY, bytes(size), fin=False) + frame(CONTINUATION, b"1"))
        assert len(client.read_message()) == LIMIT
    client.send(frame(BINARY, bytes(LIMIT), fin=False) + frame(CONTINUATION, b"1"))
    assert client.rest() == TOO_BIG


def test_limit_of_a_frame_is_checked_before_its_payload(site):
    client = connect(site, request13())
    client.send(frame(BINARY, bytes(LIMIT + 1))[:8])
    assert client.rest() == TOO_BIG
