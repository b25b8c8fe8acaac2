"""hixie76.py: the handshakes of drafts 75 and 76 on literal environs; numbers of sections are those of draft 76."""

from __future__ import annotations

from hashlib import md5
from typing import Any

import pytest

from geventws.exceptions import HandshakeError
from geventws.handshake.hixie76 import STATUS, accept, answer_challenge, is_legacy
from geventws.handshake.upgrade import Upgrade

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
    assert STATUS[accepted.version] == "101 Web Socket Protocol Handshake"


def test_draft_76_answers_the_example_of_the_draft():
    environ = request76(HTTP_SEC_WEBSOCKET_PROTOCOL="sample")
    accepted = accept(environ, subprotocols=["sample"])
    assert STATUS[accepted.version] == "101 WebSocket Protocol Handshake"
    assert accepted.headers == [
        ("Upgrade", "WebSocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Origin", "http://example.com"),
        ("Sec-WebSocket-Protocol", "sample"),
        ("Sec-WebSocket-Location", "ws://example.com/demo"),
    ]
    assert (accepted.protocol, accepted.version) == ("sample", 76)
    assert answer_challenge(environ, CHALLENGE) == RESPONSE


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
    environ = request76(HTTP_SEC_WEBSOCKET_KEY1="a 0 b", HTTP_SEC_WEBSOCKET_KEY2="4294967295 ")
    assert accept(environ).version == 76
    assert answer_challenge(environ, CHALLENGE) == md5(b"\0\0\0\0\xff\xff\xff\xff" + CHALLENGE).digest()


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
