"""hixie76.py: drafts 75 and 76 on literal environs and bytes; numbers of sections are those of draft 76."""

from __future__ import annotations

from typing import Any

import pytest
from kit.frames import WAYS, feed

from geventws.exceptions import HandshakeError, PayloadTooBig, ProtocolError
from geventws.handshake.server import Upgrade
from geventws.protocol.hixie76 import HixieProtocol, accept, is_legacy
from geventws.protocol.messages import END_OF_TEXT

every_way = pytest.mark.parametrize("feed", WAYS.values(), ids=WAYS)

# The example of draft 76 1.2, whose keys have the numbers 777007543 and 114997259 (1.3).
KEY1, KEY2 = "18x 6]8vM;54 *(5:  {   U1]8  z [  8", "1_ tx7X d  <  nw  334J702) 7]o}` 0"
CHALLENGE, RESPONSE = b"Tm[K T2u", b"fQJ,fN/4F4!~K~MH"


def request75(**changes: str | None) -> dict[str, Any]:
    """Return a request for draft 75; `changes` are by the names of the environ, None takes one out."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "PATH_INFO": "/demo",
        "QUERY_STRING": "",
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "example.com",
        "HTTP_UPGRADE": "WebSocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_ORIGIN": "http://example.com",
    }
    environ.update({name.replace("__", "."): value for name, value in changes.items()})
    return {name: value for name, value in environ.items() if value is not None}


def request76(**changes: str | None) -> dict[str, Any]:
    """Return the same for draft 76."""
    return request75(**{"HTTP_SEC_WEBSOCKET_KEY1": KEY1, "HTTP_SEC_WEBSOCKET_KEY2": KEY2, **changes})


def refusal(environ: dict[str, Any], **options: Any) -> tuple[int, str]:
    with pytest.raises(HandshakeError) as caught:
        accept(environ, **options)
    return caught.value.status, str(caught.value)


def location(environ: dict[str, Any], target: str | None = None) -> str:
    return dict(accept(environ, target=target, origins=None).headers)["WebSocket-Location"]


# The opening handshake (5)


def test_draft_75():
    accepted = accept(request75())
    assert accepted == Upgrade(
        [
            ("Upgrade", "WebSocket"),
            ("Connection", "Upgrade"),
            ("WebSocket-Origin", "http://example.com"),
            ("WebSocket-Location", "ws://example.com/demo"),
        ],
        None,
        "http://example.com",
        75,
        None,
    )
    assert accepted.status == "101 Web Socket Protocol Handshake"
    assert (accepted.numbers, accepted.respond(b"")) == (b"", b"")


def test_draft_76_answers_the_example_of_the_draft():
    accepted = accept(request76(HTTP_SEC_WEBSOCKET_PROTOCOL="sample"), subprotocols=["sample"])
    assert accepted.status == "101 WebSocket Protocol Handshake"
    assert accepted.headers == [
        ("Upgrade", "WebSocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Origin", "http://example.com"),
        ("Sec-WebSocket-Protocol", "sample"),
        ("Sec-WebSocket-Location", "ws://example.com/demo"),
    ]
    assert (accepted.protocol, accepted.version) == ("sample", 76)
    assert accepted.respond(CHALLENGE) == RESPONSE


@pytest.mark.parametrize("name", ["HTTP_SEC_WEBSOCKET_VERSION", "HTTP_SEC_WEBSOCKET_KEY"])
def test_later_versions_are_no_drafts(name):
    assert is_legacy(request75()) and is_legacy(request76())
    assert not is_legacy(request76(**{name: "13"}))


def test_plain_requests_are_no_drafts():
    assert not is_legacy(request75(HTTP_UPGRADE=None))
    assert not is_legacy(request75(HTTP_CONNECTION="close"))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "12345",  # no space
        "no digits here",
        "1 0  0",  # 100 has no third
        "4294967296 ",  # 33 bits
        "8589934592  " + "0",  # 11 digits
        "1 " * 40_000,
        "9" * 70_000 + " ",
        "\u0663 ",  # a digit, but none of ASCII
        "\r\nInjected: x",
    ],
)
@pytest.mark.parametrize("name", ["HTTP_SEC_WEBSOCKET_KEY1", "HTTP_SEC_WEBSOCKET_KEY2"])
def test_bad_key_is_a_bad_request(name, key):
    status, why = refusal(request76(**{name: key}))
    assert status == 400
    assert len(why) < 300 and "\r" not in why and "\n" not in why


@pytest.mark.parametrize("name", ["HTTP_SEC_WEBSOCKET_KEY1", "HTTP_SEC_WEBSOCKET_KEY2"])
def test_missing_key_is_a_bad_request(name):
    assert refusal(request76(**{name: None}))[0] == 400


def test_zero_and_the_largest_number_are_keys():
    accepted = accept(request76(HTTP_SEC_WEBSOCKET_KEY1="a 0 b", HTTP_SEC_WEBSOCKET_KEY2="4294967295 "))
    assert accepted.numbers == b"\0\0\0\0\xff\xff\xff\xff"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"HTTP_ORIGIN": None}, 400),
        ({"HTTP_ORIGIN": ""}, 400),
        ({"HTTP_ORIGIN": "http://elsewhere.example"}, 403),
        ({"HTTP_HOST": None}, 400),
        ({"HTTP_HOST": "a\r\nb: c", "HTTP_ORIGIN": "http://a\r\nb: c"}, 400),
        ({"REQUEST_METHOD": "POST"}, 405),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 400),
        ({"CONTENT_LENGTH": "8"}, 400),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 400),
    ],
)
def test_refusals(changes, status):
    assert refusal(request75(**changes))[0] == status
    assert refusal(request76(**changes))[0] == status


def test_origins():
    other = request76(HTTP_ORIGIN="http://elsewhere.example")
    assert accept(other, origins=None).origin == "http://elsewhere.example"
    assert accept(other, origins=["http://elsewhere.example"])
    assert refusal(other, origins=["http://example.com"])[0] == 403


@pytest.mark.parametrize(
    ("asked", "spoken", "agreed"),
    [
        ("chat", ["chat"], "chat"),
        ("chat", [], None),
        ("chat", None, "chat"),
        (None, ["chat"], None),
        (None, None, None),
    ],
)
def test_subprotocol(asked, spoken, agreed):
    for environ, name in (
        (request75(HTTP_WEBSOCKET_PROTOCOL=asked), "WebSocket-Protocol"),
        (request76(HTTP_SEC_WEBSOCKET_PROTOCOL=asked), "Sec-WebSocket-Protocol"),
    ):
        accepted = accept(environ, subprotocols=spoken)
        assert accepted.protocol == dict(accepted.headers).get(name) == agreed


def test_subprotocol_that_ends_a_line_is_a_bad_request():
    environ = request76(HTTP_SEC_WEBSOCKET_PROTOCOL="a\r\nb: c")
    assert refusal(environ, subprotocols=None)[0] == 400


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("/demo", "ws://example.com/demo"),
        ("/demo?", "ws://example.com/demo?"),
        ("/demo?a=1&b", "ws://example.com/demo?a=1&b"),
        ("/d%C3%A9mo%0D%0A", "ws://example.com/d%C3%A9mo%0D%0A"),
        ("http://example.com/demo", "ws://example.com/demo"),  # absolute-form
        ("/a b", "ws://example.com/demo"),  # no target at all
        (None, "ws://example.com/demo"),
    ],
)
def test_location_is_the_target_as_it_came(target, url):
    assert location(request75(), target) == url


def test_location_without_the_target():
    environ = request75(SCRIPT_NAME="/app", PATH_INFO="/\xc3\xa9\r\nx: y", QUERY_STRING="q=1", wsgi__url_scheme="https")
    assert location(environ) == "wss://example.com/app/%C3%A9%0D%0Ax:%20y?q=1"


# Receiving (5.3)


def take(protocol: HixieProtocol) -> list[Any]:
    messages = list(protocol.inbox)
    protocol.inbox.clear()
    return messages


@every_way
def test_messages(feed):
    protocol = HixieProtocol()
    feed(protocol, b"\x00hello\xff\x00\xff\x00\xc3\xa9\x00\xff")
    assert take(protocol) == ["hello", "", "\xe9\0"]
    feed(protocol, b"\x00later\xff")
    assert take(protocol) == ["later"]
    assert not protocol.output and protocol.failure is None and protocol.fast_path == 0


@every_way
def test_what_is_not_utf8_is_replaced(feed):
    protocol = HixieProtocol()
    feed(protocol, b"\x00a\x80b\xc3\xff")
    assert take(protocol) == ["a\ufffdb\ufffd"]


@every_way
@pytest.mark.parametrize(
    "ignored",
    [
        b"\x01text of another type\xff",
        b"\x7f\xff",
        b"\x80\x00",
        b"\x80\x05\x00\xff\x00\xff\x00",
        b"\x80\x82\x00" + bytes(256),
        b"\xfe\x80\x80\x01\xff",
        b"\xff\x02\xff\x00",
    ],
)
def test_frames_of_other_types_are_ignored(feed, ignored):
    protocol = HixieProtocol()
    feed(protocol, b"\x00a\xff" + ignored + b"\x00b\xff")
    assert take(protocol) == ["a", "b"]
    assert protocol.failure is None and not protocol.close_received


@every_way
@pytest.mark.parametrize("data", [b"\x01", b"\x7f\xff", b"\x80\x00", b"\xef\x00", b"\xff\x01\x00", b"\xff\x80\x01x"])
def test_strict_takes_no_other_types(feed, data):
    protocol = HixieProtocol(strict=True)
    feed(protocol, b"\x00a\xff" + data + b"\x00b\xff")
    assert take(protocol) == ["a"]
    assert type(protocol.failure) is ProtocolError
    protocol.reply_to_close()
    assert (protocol.output, protocol.close_code) == ([b"\xff\x00"], 1002)


@every_way
def test_message_limit(feed):
    protocol = HixieProtocol(max_message_size=5)
    feed(protocol, b"\x00exact\xff\x05other\xff\x80\x05other\x00longer\xff\x00a\xff")
    assert take(protocol) == ["exact"]
    assert isinstance(protocol.failure, PayloadTooBig) and protocol.failure.close_code == 1009
    assert protocol._body == b""


@every_way
@pytest.mark.parametrize("data", [b"\x80\x06", b"\x80\x81\x00", b"\x80" + b"\xff" * 9, b"\xff\x81\x80", b"\x01longer"])
def test_limit_of_ignored_frames(feed, data):
    protocol = HixieProtocol(max_message_size=5)
    feed(protocol, data)
    assert isinstance(protocol.failure, PayloadTooBig)


@every_way
def test_length_that_never_ends(feed):
    protocol = HixieProtocol(max_message_size=1 << 70)
    feed(protocol, b"\x80" + b"\x80" * 10)
    assert isinstance(protocol.failure, PayloadTooBig)


@every_way
def test_length_of_63_bits_is_the_longest(feed):
    protocol = HixieProtocol(max_message_size=1 << 70)
    feed(protocol, b"\x80" + b"\xff" * 8 + b"\x7f" + b"skipped")
    assert protocol.failure is None
    assert protocol._left == (1 << 63) - 1 - len(b"skipped")


@every_way
def test_closing_frame_is_answered_once(feed):
    protocol = HixieProtocol()
    feed(protocol, b"\x00a\xff\xff\x00\x00b\xff\xff\x00")
    assert take(protocol) == ["a"]
    assert protocol.close_received and protocol.close_sent
    assert protocol.output == [b"\xff\x00"]
    assert (protocol.close_code, protocol.close_reason) == (1005, "")
    protocol.send_close()
    assert protocol.output == [b"\xff\x00"]


def test_answer_to_our_closing_frame():
    protocol = HixieProtocol()
    protocol.send_close(1001, "going away")
    assert protocol.output == [b"\xff\x00"] and not protocol.close_received
    feed(protocol, b"\x00a\xff\xff\x00")
    assert take(protocol) == ["a"] and protocol.close_received
    assert protocol.output == [b"\xff\x00"]


def test_draft_75_sends_no_closing_frame():
    ours, theirs = HixieProtocol(75), HixieProtocol(75)
    ours.send_close()
    feed(theirs, b"\xff\x00")
    for protocol in (ours, theirs):
        assert protocol.close_sent and protocol.close_received and not protocol.output
        assert protocol.close_code == 1005


def test_text_as_bytes_and_in_pieces():
    protocol = HixieProtocol(decode_text=False)
    feed(protocol, b"\x00\xc3\xa9\xff")
    assert take(protocol) == [b"\xc3\xa9"]
    protocol = HixieProtocol(streaming=True)
    feed(protocol, b"\x00a\xff\x00\xff")
    assert take(protocol) == ["a", END_OF_TEXT, END_OF_TEXT]


# Sending


def test_encode():
    protocol = HixieProtocol()
    assert b"".join(protocol.encode(0x81, "\xe9".encode())) == b"\x00\xc3\xa9\xff"
    assert b"".join(protocol.encode_message(0x82, memoryview(b"bytes"), True)) == b"\x00bytes\xff"
    pieces = protocol.encode_parts(["a", b"", "\xe9"], None)
    assert b"".join(header + payload for header, payload in pieces) == b"\x00a\xc3\xa9\xff"
    assert not list(protocol.encode_parts([], None))


def test_what_cannot_be_sent():
    protocol = HixieProtocol()
    with pytest.raises(ValueError, match="text only"):
        protocol.encode(0x82, b"a\xffb")
    with pytest.raises(ValueError, match="text only"):
        list(protocol.encode_parts([b"\xff"], None))
    for opcode in (8, 9, 10):
        with pytest.raises(ValueError, match="no control frames"):
            protocol.encode_control(opcode, b"")
