"""server.py: the server's side of the opening handshake, on literal environs; every refusal by its exact answer."""

from __future__ import annotations

import base64
import re
import string
from typing import Any

import pytest
from kit.handshakes import ANSWER, HOSTILE, KEY, Squeeze, refusal, request

from geventws.exceptions import HandshakeError
from geventws.handshake.server import accept, is_upgrade
from geventws.handshake.upgrade import Upgrade, accept_key
from geventws.http.headers import Parameters

# ---- what is accepted


def test_an_ordinary_request() -> None:
    environ = request()
    assert accept(environ) == Upgrade(ANSWER, None, None, 13, None)
    assert environ == request()


def test_answers_are_separate_lists() -> None:
    assert accept(request()).headers is not accept(request()).headers


def test_version_8() -> None:
    environ = request(HTTP_SEC_WEBSOCKET_VERSION="8", HTTP_SEC_WEBSOCKET_ORIGIN="http://server.example.com")
    assert accept(environ) == Upgrade(ANSWER, None, "http://server.example.com", 8, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"HTTP_UPGRADE": "WebSocket"},
        {"HTTP_UPGRADE": "websocket, h2c"},
        {"HTTP_CONNECTION": "keep-alive, Upgrade"},
        {"HTTP_CONNECTION": "keep-alive,upgrade"},
        {"HTTP_CONNECTION": " UPGRADE\t,,"},
        {"SERVER_PROTOCOL": "HTTP/1.2"},
        {"SERVER_PROTOCOL": "HTTP/2.0"},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "0"},
        {"HTTP_EXPECT": "100-continue"},
        {"HTTP_SEC_WEBSOCKET_KEY": "+/+/+/+/+/+/+/+/+/+/+w=="},
    ],
)
def test_what_a_request_may_look_like(changes: dict[str, str]) -> None:
    upgrade = accept(request(**changes))
    key = changes.get("HTTP_SEC_WEBSOCKET_KEY", KEY)
    assert upgrade == Upgrade([*ANSWER[:2], ("Sec-WebSocket-Accept", accept_key(key))], None, None, 13, None)


def test_is_upgrade_looks_at_two_headers_alone() -> None:
    assert is_upgrade({"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "keep-alive, Upgrade"})
    assert not is_upgrade({"HTTP_UPGRADE": "websocket"})
    assert not is_upgrade({"HTTP_CONNECTION": "Upgrade"})
    assert not is_upgrade({"HTTP_UPGRADE": "h2c", "HTTP_CONNECTION": "Upgrade"})
    assert not is_upgrade({})


# ---- one test per refusal


@pytest.mark.parametrize("host", ["a,b", "a b", "a/b", "u@a", "[::1", "a:b", "a\r\nb"])
def test_400_for_a_host_that_is_none(host: str) -> None:
    """WSGI servers join two of them with a comma."""
    assert refusal(request(HTTP_HOST=host)) == (400, f"the Host {host!r} is not valid, or there are two", [], None)


@pytest.mark.parametrize("path", ["http://a.example/b", "a", "*"])
def test_400_for_a_path_that_is_none(path: str) -> None:
    """Of an absolute target, which pywsgi takes for a path."""
    assert refusal(request(PATH_INFO=path)) == (400, f"the path {path!r} does not begin with a slash", [], None)


def test_an_application_may_be_mounted_at_the_path() -> None:
    accept(request(SCRIPT_NAME="/echo", PATH_INFO=""))


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "CONNECT", "get", "G\r\nET"])
def test_405_for_another_method(method: str) -> None:
    why = f"the method is {method!r}, not GET"
    assert refusal(request(REQUEST_METHOD=method)) == (405, why, [("Allow", "GET")], None)


@pytest.mark.parametrize(
    "protocol", ["HTTP/1.0", "HTTP/0.9", "", "INCLUDED", "SPDY/3", "http/1.1", "HTTP/1.1.1", "HTTP/2"]
)
def test_400_for_another_http(protocol: str) -> None:
    why = f"the request is {protocol!r}, not HTTP/1.1 (in nginx: proxy_http_version 1.1)"
    assert refusal(request(SERVER_PROTOCOL=protocol)) == (400, why, [], None)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"HTTP_UPGRADE": None, "HTTP_CONNECTION": None}, "no Upgrade and no Connection"),
        ({"HTTP_UPGRADE": None}, "no Upgrade and Connection 'Upgrade'"),
        ({"HTTP_UPGRADE": "h2c"}, "Upgrade 'h2c' and Connection 'Upgrade'"),
        ({"HTTP_UPGRADE": "websocket/13"}, "Upgrade 'websocket/13' and Connection 'Upgrade'"),
        ({"HTTP_CONNECTION": None}, "Upgrade 'websocket' and no Connection"),
        ({"HTTP_CONNECTION": "keep-alive"}, "Upgrade 'websocket' and Connection 'keep-alive'"),
        ({"HTTP_CONNECTION": "notupgrade"}, "Upgrade 'websocket' and Connection 'notupgrade'"),
        ({"HTTP_CONNECTION": "close\r\nX: y"}, "Upgrade 'websocket' and Connection 'close\\r\\nX: y'"),
    ],
)
def test_400_for_no_upgrade(changes: dict[str, str | None], found: str) -> None:
    why = f"the request asks for no WebSocket: there is {found} (a proxy has to pass both on)"
    assert refusal(request(**changes)) == (400, why, [], None)


@pytest.mark.parametrize("host", [None, ""])
def test_400_for_no_host(host: str | None) -> None:
    assert refusal(request(HTTP_HOST=host)) == (400, "there is no Host", [], None)


@pytest.mark.parametrize("length", ["1", "00", "+0", "-1", "0,0", "0, 5", " ", "x\r\n"])
def test_400_for_a_body_of_known_length(length: str) -> None:
    why = f"the request has a body: Content-Length {length!r}"
    assert refusal(request(CONTENT_LENGTH=length)) == (400, why, [], None)


@pytest.mark.parametrize("coding", ["chunked", "identity", "", "Chunked, gzip"])
def test_400_for_a_body_in_a_transfer_coding(coding: str) -> None:
    why = f"the request has a body: Transfer-Encoding {coding!r}"
    assert refusal(request(HTTP_TRANSFER_ENCODING=coding)) == (400, why, [], None)


VERSIONS = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13, 8")]


@pytest.mark.parametrize("version", ["", "7", "12", "14", "013", "13.0", "13,13", "13, 8", "+13", "13\r\n"])
def test_426_for_another_version(version: str) -> None:
    why = f"there is Sec-WebSocket-Version {version!r}, not 13 or 8"
    assert refusal(request(HTTP_SEC_WEBSOCKET_VERSION=version)) == (426, why, VERSIONS, None)


def test_426_for_no_version_names_the_option_for_drafts_without() -> None:
    option = "support_legacy_versions"
    why = f"there is no Sec-WebSocket-Version, not 13 or 8 (drafts 75 and 76 send none: {option})"
    assert refusal(request(HTTP_SEC_WEBSOCKET_VERSION=None)) == (426, why, VERSIONS, option)


def test_400_for_no_key() -> None:
    found = refusal(request(HTTP_SEC_WEBSOCKET_KEY=None))
    assert found == (400, "there is no Sec-WebSocket-Key", [], None)


@pytest.mark.parametrize("key", [f"{KEY},{KEY}", f"{KEY}, {KEY}", ",", f"{KEY},"])
def test_400_for_more_than_one_key(key: str) -> None:
    why = f"there is more than one Sec-WebSocket-Key: {key!r}"
    assert refusal(request(HTTP_SEC_WEBSOCKET_KEY=key)) == (400, why, [], None)


@pytest.mark.parametrize(
    "key",
    [
        "",
        " " + KEY,
        KEY + "\n",
        KEY[:-1],
        KEY[:-2],
        KEY[:-2] + "AA",
        KEY[:-1] + "A",
        base64.b64encode(bytes(15)).decode(),
        base64.b64encode(bytes(17)).decode(),
        base64.b64encode(bytes(18)).decode(),
        "A" * 24,
        "=" * 24,
        "A" * 20 + "====",
        "A" * 18 + "=" + "A" * 3 + "==",
        "AAAA==" + "A" * 16 + "==",
        "A" * 21 + "\n==",
        "A" * 21 + "-==",
        "A" * 21 + "_==",
        "A" * 21 + "\xe9==",
        "A" * 21 + "\u0100==",
    ],
)
def test_400_for_a_key_that_is_not_16_bytes(key: str) -> None:
    why = f"the Sec-WebSocket-Key {ascii(key)} is not 16 bytes in base64"
    assert refusal(request(HTTP_SEC_WEBSOCKET_KEY=key)) == (400, why, [], None)


BASE64 = frozenset(string.ascii_letters + string.digits + "+/")


@pytest.mark.parametrize("place", range(22))
def test_a_key_takes_base64_in_every_place_and_nothing_else(place: int) -> None:
    taken = set()
    for code in range(256):
        key = KEY[:place] + chr(code) + KEY[place + 1 :]
        try:
            accept(request(HTTP_SEC_WEBSOCKET_KEY=key))
        except HandshakeError as error:
            assert error.status == 400
        else:
            taken.add(chr(code))
    assert taken == BASE64


# ---- subprotocols


@pytest.mark.parametrize(
    ("offered", "spoken", "chosen"),
    [
        ("chat", ("chat",), "chat"),
        ("chat, superchat", ("superchat", "chat"), "chat"),
        ("superchat,chat", ["superchat", "chat"], "superchat"),
        ("v3, v2, v1", {"v1", "v2"}, "v2"),
        (",chat,,", ("chat",), "chat"),
        ("chat,chat", ("chat",), "chat"),
        ("chat", (), None),
        ("chat", ("superchat",), None),
        ("superchat", ("chat",), None),
        ("Chat", ("chat",), None),
        ("chat, superchat", ("chat, superchat",), None),
        ("", ("chat",), None),
        ("", ("",), None),
        (None, ("chat",), None),
    ],
)
def test_subprotocol(offered: str | None, spoken: Any, chosen: str | None) -> None:
    upgrade = accept(request(HTTP_SEC_WEBSOCKET_PROTOCOL=offered), subprotocols=spoken)
    headers = ANSWER if chosen is None else [*ANSWER, ("Sec-WebSocket-Protocol", chosen)]
    assert upgrade == Upgrade(headers, chosen, None, 13, None)


@pytest.mark.parametrize("spoken", [(), ("chat",)])
@pytest.mark.parametrize(
    ("offered", "part"),
    [("chat, a b", "a b"), ("a;b", "a;b"), ("chat,\r\n x", "\r\n x"), ("\xe9", "\xe9"), ('"chat"', '"chat"')],
)
def test_400_for_subprotocols_that_do_not_parse(offered: str, part: str, spoken: Any) -> None:
    why = f"Sec-WebSocket-Protocol does not parse: {ascii(part)} is not a token"
    found = refusal(request(HTTP_SEC_WEBSOCKET_PROTOCOL=offered), subprotocols=spoken)
    assert found == (400, why, [], None)


def test_text_for_subprotocols_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="^subprotocols takes a list of names, not the text 'superchat'$"):
        accept(request(HTTP_SEC_WEBSOCKET_PROTOCOL="chat"), subprotocols="superchat")


# ---- extensions


def test_the_first_extension_of_the_server_that_agrees() -> None:
    zip_, squeeze = Squeeze("zip"), Squeeze()
    environ = request(
        HTTP_SEC_WEBSOCKET_PROTOCOL="chat",
        HTTP_SEC_WEBSOCKET_EXTENSIONS="x, squeeze, zip; level=9, squeeze; by=2; a, squeeze; by=3",
    )
    upgrade = accept(environ, subprotocols=["chat"], extensions=[Squeeze("y"), zip_, squeeze])
    assert upgrade.headers == [
        *ANSWER,
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", "squeeze; by=2; really"),
    ]
    assert upgrade.extension == "squeeze by 2"
    assert zip_.asked == [[[("level", "9")]]]
    assert squeeze.asked == [[[], [("by", "2"), ("a", None)], [("by", "3")]]]


def test_names_of_extensions_have_no_case() -> None:
    upgrade = accept(request(HTTP_SEC_WEBSOCKET_EXTENSIONS="sQueeze; by=2"), extensions=[Squeeze()])
    assert upgrade.extension == "squeeze by 2"
    assert upgrade.headers[-1] == ("Sec-WebSocket-Extensions", "squeeze; by=2; really")


@pytest.mark.parametrize("header", ["x", "squeeze", "squeezed; by=2", "", ",", None])
def test_no_extension_in_common(header: str | None) -> None:
    upgrade = accept(request(HTTP_SEC_WEBSOCKET_EXTENSIONS=header), extensions=[Squeeze()])
    assert upgrade == Upgrade(ANSWER, None, None, 13, None)


@pytest.mark.parametrize("header", ["squeeze; by=2;", "squeeze, ;", 'squeeze; by="2', "squeeze; by=\r\n 2"])
def test_extensions_that_do_not_parse_are_left_out(header: str) -> None:
    squeeze = Squeeze()
    upgrade = accept(request(HTTP_SEC_WEBSOCKET_EXTENSIONS=header), extensions=[squeeze])
    assert upgrade == Upgrade(ANSWER, None, None, 13, None)
    assert squeeze.asked == []


@pytest.mark.parametrize(
    ("header", "offers"),
    [
        ("permessage-deflate", [[]]),
        ("permessage-deflate; client_max_window_bits", [[("client_max_window_bits", None)]]),
        ("permessage-deflate;client_max_window_bits", [[("client_max_window_bits", None)]]),
    ],
)
def test_the_offers_of_browsers(header: str, offers: list[Parameters]) -> None:
    deflate = Squeeze("permessage-deflate")
    accept(request(HTTP_SEC_WEBSOCKET_EXTENSIONS=header), extensions=[deflate])
    assert deflate.asked == [offers]


# ---- hostile requests: whatever they hold, a refusal is one short line


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "name",
    [
        "REQUEST_METHOD",
        "SERVER_PROTOCOL",
        "HTTP_UPGRADE",
        "HTTP_CONNECTION",
        "CONTENT_LENGTH",
        "HTTP_TRANSFER_ENCODING",
        "HTTP_SEC_WEBSOCKET_VERSION",
        "HTTP_SEC_WEBSOCKET_KEY",
        "HTTP_ORIGIN",
    ],
)
def test_a_refusal_is_one_short_line_of_ascii(name: str, value: str) -> None:
    status, why, headers, _ = refusal(request(**{name: value}))
    assert status in (400, 403, 405, 426)
    assert re.fullmatch(r"[ -~]{1,500}", why)
    assert all(value not in pair for pair in headers)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "name", ["HTTP_SEC_WEBSOCKET_PROTOCOL", "HTTP_SEC_WEBSOCKET_EXTENSIONS", "HTTP_HOST"]
)
def test_what_may_be_anything_never_reaches_the_answer(name: str, value: str) -> None:
    environ = request(**{name: value})
    try:
        upgrade = accept(environ, subprotocols=["chat"], extensions=[Squeeze()])
    except HandshakeError as error:
        assert error.status == 400
        assert re.fullmatch(r"[ -~]{1,500}", str(error))
    else:
        assert upgrade == Upgrade(ANSWER, None, None, 13, None)
