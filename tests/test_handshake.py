"""handshake.py: the opening handshake on literal environs and headers; every refusal by its exact answer."""

from __future__ import annotations

import base64
import re
import string
from typing import Any

import pytest

from geventws.exceptions import HandshakeError
from geventws.handshake import (
    SAME_ORIGIN,
    Upgrade,
    accept,
    accept_key,
    check_origin,
    check_response,
    is_upgrade,
    make_key,
    read_origin,
    request_headers,
)
from geventws.headers import HeaderList, Parameters

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the sample of RFC 6455 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
ANSWER = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", ACCEPT)]
LONG = 64 * 1024


def request(**changes: str | None) -> dict[str, Any]:
    """Return a browser's request; `changes` are by the names of the environ, None takes one out."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "PATH_INFO": "/chat",
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "server.example.com",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
    }
    environ.update({name.replace("__", "."): value for name, value in changes.items()})
    return {name: value for name, value in environ.items() if value is not None}


def refusal(environ: dict[str, Any], **options: Any) -> tuple[int, str, HeaderList, str | None]:
    before = dict(environ)
    with pytest.raises(HandshakeError) as caught:
        accept(environ, **options)
    assert environ == before
    error = caught.value
    return error.status, str(error), error.headers, error.option


# ---- what is accepted


def test_the_sample_of_the_rfc() -> None:
    assert accept_key(KEY) == ACCEPT


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


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "CONNECT", "get", "G\r\nET"])
def test_405_for_another_method(method: str) -> None:
    why = f"the method is {method!r}, not GET"
    assert refusal(request(REQUEST_METHOD=method)) == (405, why, [("Allow", "GET")], None)


@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/0.9", "", "INCLUDED", "SPDY/3", "http/1.1"])
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


# ---- origins


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "a.example", None),
        ("http", "a.example", "http://a.example"),
        ("http", "a.example", "HTTP://A.Example"),
        ("http", "A.EXAMPLE", "http://a.example"),
        ("http", "a.example:80", "http://a.example"),
        ("http", "a.example", "http://a.example:80"),
        ("http", "a.example:8000", "http://a.example:8000"),
        ("http", "127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http", "[::1]:8000", "http://[::1]:8000"),
        ("http", "[::1]", "http://[::1]:80"),
        ("https", "a.example", "https://a.example"),
        ("https", "a.example:443", "https://a.example"),
        ("http", "a.example", "https://a.example"),  # a proxy in front ends TLS
        ("http", "a.example:443", "https://a.example"),
        ("http", "a.example:8443", "https://a.example:8443"),
    ],
)
def test_same_origin_lets_in(scheme: str, host: str, origin: str | None) -> None:
    environ = request(wsgi__url_scheme=scheme, HTTP_HOST=host, HTTP_ORIGIN=origin)
    assert accept(environ) == Upgrade(ANSWER, None, origin, 13, None)


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "a.example", "http://b.example"),
        ("http", "a.example", "http://a.example.evil.example"),
        ("http", "a.example", "http://evil.a.example"),
        ("http", "a.example", "http://evila.example"),
        ("http", "a.example", "http://a.example@evil.example"),
        ("http", "a.example", "http://evil.example/a.example"),
        ("http", "a.example", "http://evil.example#http://a.example"),
        ("http", "a.example", "http://a.example,http://a.example"),
        ("http", "a.example", "http://a.example http://evil.example"),
        ("http", "a.example", "http://a.example/"),
        ("http", "a.example", "http://a.example:8000"),
        ("http", "a.example:8000", "http://a.example"),
        ("http", "a.example", "http://a.example:443"),
        ("http", "a.example:80", "https://a.example"),
        ("https", "a.example", "http://a.example"),  # TLS ends here: a page over http is another origin
        ("http", "a.example", "ftp://a.example"),
        ("http", "a.example", "chrome-extension://a.example"),
        ("http", "a.example", "a.example"),
        ("http", "a.example", "//a.example"),
        ("http", "a.example", "http:a.example"),
        ("http", "a.example", "http://"),
        ("http", "a.example", "null"),
        ("http", "a.example", "file://"),
        ("http", "a.example", ""),
        ("http", "a.example", "*"),
        ("http", "a.example", "http://a.example\r\nX: y"),
        ("http", "a.example", "http://\xe9.example"),
    ],
)
def test_403_for_another_origin(scheme: str, host: str, origin: str) -> None:
    why = f"the Origin {ascii(origin)} is not the request's own, '{scheme}://{host}'"
    environ = request(wsgi__url_scheme=scheme, HTTP_HOST=host, HTTP_ORIGIN=origin)
    assert refusal(environ) == (403, why, [], "origins")
    assert refusal(environ, origins=SAME_ORIGIN) == (403, why, [], "origins")


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null", ""])
def test_origins_none_turns_the_check_off(origin: str | None) -> None:
    assert accept(request(HTTP_ORIGIN=origin), origins=None).origin == origin


LISTED = ["https://a.example", "http://localhost:3000", "HTTPS://B.example:443", "null"]


@pytest.mark.parametrize(
    "origin",
    ["https://a.example", "https://A.EXAMPLE:443", "http://localhost:3000", "https://b.example", "null"],
)
@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_a_list_lets_in(origin: str, kind: type) -> None:
    assert accept(request(HTTP_ORIGIN=origin), origins=kind(LISTED)).origin == origin


@pytest.mark.parametrize(
    "origin",
    ["http://a.example", "https://a.example:8443", "http://server.example.com", "https://c.example", ""],
)
def test_403_for_an_origin_that_is_not_listed(origin: str) -> None:
    why = f"origins does not list the Origin {ascii(origin)}"
    assert refusal(request(HTTP_ORIGIN=origin), origins=LISTED) == (403, why, [], "origins")


@pytest.mark.parametrize("origins", [["*"], ["https://*.example"], []])
def test_403_for_a_pattern_is_no_origin(origins: list[str]) -> None:
    why = "origins does not list the Origin 'https://a.example'"
    assert refusal(request(HTTP_ORIGIN="https://a.example"), origins=origins) == (403, why, [], "origins")


def test_a_list_with_none_lets_in_requests_without_origin() -> None:
    assert accept(request(), origins=["https://a.example", None]).origin is None
    why = "origins does not list the Origin 'null'"
    assert refusal(request(HTTP_ORIGIN="null"), origins=[None]) == (403, why, [], "origins")


def test_403_for_no_origin_when_a_list_has_no_none() -> None:
    why = "origins does not list a request without Origin"
    assert refusal(request(), origins=LISTED) == (403, why, [], "origins")


@pytest.mark.parametrize("origin", [None, "https://a.example"])
def test_a_function_is_asked(origin: str | None) -> None:
    environ = request(HTTP_ORIGIN=origin)
    asked: list[Any] = []

    def check(*arguments: Any) -> int:
        asked.append(arguments)
        return 1

    assert accept(environ, origins=check).origin == origin
    assert asked == [(origin, environ)]
    assert asked[0][1] is environ


def test_403_when_the_function_refuses() -> None:
    environ = request(HTTP_ORIGIN="https://a.example")
    why = "the function given as origins refuses the Origin 'https://a.example'"
    assert refusal(environ, origins=lambda origin, environ: None) == (403, why, [], "origins")
    why = "the function given as origins refuses a request without Origin"
    assert refusal(request(), origins=lambda origin, environ: False) == (403, why, [], "origins")


def test_an_error_of_the_function_passes() -> None:
    with pytest.raises(ZeroDivisionError):
        accept(request(), origins=lambda origin, environ: 1 / 0)


def test_text_for_origins_is_a_mistake_of_the_caller() -> None:
    why = "origins takes a list, a function, None or SAME_ORIGIN, not the text '*'"
    with pytest.raises(TypeError, match=f"^{re.escape(why)}$"):
        accept(request(), origins="*")


def test_the_origin_of_version_8() -> None:
    both = {"HTTP_ORIGIN": "http://a.example", "HTTP_SEC_WEBSOCKET_ORIGIN": "http://b.example"}
    assert read_origin(both, 8) == "http://b.example"
    assert read_origin(both, 13) == "http://a.example"
    assert read_origin({"HTTP_ORIGIN": "http://a.example"}, 8) == "http://a.example"
    assert read_origin({"HTTP_SEC_WEBSOCKET_ORIGIN": "http://b.example"}, 13) is None
    assert read_origin({}, 8) is None


def test_403_for_another_origin_in_version_8() -> None:
    environ = request(HTTP_SEC_WEBSOCKET_VERSION="8", HTTP_SEC_WEBSOCKET_ORIGIN="http://evil.example")
    why = "the Origin 'http://evil.example' is not the request's own, 'http://server.example.com'"
    assert refusal(environ) == (403, why, [], "origins")


@pytest.mark.parametrize("origin", ["http://", "https://", "http:///", "", "None", "http://None"])
def test_without_a_host_no_page_has_the_same_origin(origin: str) -> None:
    with pytest.raises(HandshakeError):
        check_origin(origin, {}, SAME_ORIGIN)


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


class Squeeze:
    """An extension that agrees to the first offer with a number, and records what it is asked."""

    def __init__(self, name: str = "squeeze") -> None:
        self.name = name
        self.asked: list[Any] = []

    def accept(self, offers: list[Parameters], /) -> tuple[Parameters, object] | None:
        self.asked.append(offers)
        for offer in offers:
            if offer and offer[0][0] == "by":
                return [offer[0], ("really", None)], f"{self.name} by {offer[0][1]}"
        return None

    def check(self, params: Parameters, /) -> object:
        self.asked.append(params)
        if params != [("by", "2")]:
            raise HandshakeError(0, "not by 2")
        return f"{self.name} by 2"


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


@pytest.mark.parametrize("header", ["x", "squeeze", "Squeeze; by=2", "squeezed; by=2", "", ",", None])
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


HOSTILE = ["\r\nSet-Cookie: a=b", "\x00", "\x1b[2J", "\x85", "\xff" * 40, ",", ", " * 9, '"', "\\"]
HOSTILE += ["x" * LONG, "," * LONG, "x, " * LONG]


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


# ---- the client's side


def test_keys_are_16_random_bytes() -> None:
    keys = {make_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {16}
    assert accept(request(HTTP_SEC_WEBSOCKET_KEY=keys.pop())).version == 13


def test_the_least_request() -> None:
    assert request_headers(host="a.example:8000", key=KEY) == [
        ("Host", "a.example:8000"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ]


def test_a_request_with_everything() -> None:
    headers = request_headers(
        host="a.example",
        key=KEY,
        subprotocols=["chat", "superchat"],
        extensions_offer="permessage-deflate; client_max_window_bits",
        origin="https://a.example",
        headers=[("Cookie", "a=b"), ("Authorization", "Bearer c")],
    )
    assert headers[5:] == [
        ("Origin", "https://a.example"),
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Cookie", "a=b"),
        ("Authorization", "Bearer c"),
    ]


def test_host_and_origin_of_the_caller_take_the_place_of_ours() -> None:
    further = [("HOST", "b.example"), ("origin", "http://b.example")]
    headers = request_headers(host="a.example", key=KEY, origin="http://a.example", headers=iter(further))
    assert headers == [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
        *further,
    ]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"host": "a\r\nX: y"}, "the header Host cannot have the value 'a\\r\\nX: y'"),
        ({"host": "\u4f8b.example"}, "the header Host cannot have the value '\\u4f8b.example'"),
        ({"key": "a\n"}, "the header Sec-WebSocket-Key cannot have the value 'a\\n'"),
        ({"origin": "http://a\x00"}, "the header Origin cannot have the value 'http://a\\x00'"),
        ({"extensions_offer": "\n"}, "the header Sec-WebSocket-Extensions cannot have the value '\\n'"),
        ({"headers": [("Cookie", "a\nb")]}, "the header Cookie cannot have the value 'a\\nb'"),
        ({"headers": [("Coo kie", "a")]}, "'Coo kie' cannot be the name of a header"),
        ({"headers": [("A: b\r\nC", "d")]}, "'A: b\\r\\nC' cannot be the name of a header"),
        ({"headers": [("upgrade", "h2c")]}, "the header 'upgrade' is the handshake's own"),
        ({"headers": [("Connection", "close")]}, "the header 'connection' is the handshake's own"),
        ({"headers": [("Content-Length", "1")]}, "the header 'content-length' is the handshake's own"),
        ({"headers": [("Transfer-Encoding", "x")]}, "the header 'transfer-encoding' is the handshake's own"),
        ({"headers": [("Sec-WebSocket-Key", KEY)]}, "the header 'sec-websocket-key' is the handshake's own"),
        ({"subprotocols": ["a b"]}, "'a b' is not a token"),
        ({"subprotocols": ["a", "b\r\n"]}, "'b\\r\\n' is not a token"),
        ({"subprotocols": ["a", "a"]}, "'a, a' holds a token twice"),
    ],
)
def test_a_request_that_cannot_be_sent(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError) as caught:
        request_headers(**{"host": "a.example", "key": KEY, **options})
    assert str(caught.value) == why


def test_text_for_the_subprotocols_of_a_client_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="^subprotocols takes a list of names, not the text 'chat'$"):
        request_headers(host="a.example", key=KEY, subprotocols="chat")


def test_both_sides_agree() -> None:
    sent = request_headers(
        host="a.example",
        key=KEY,
        subprotocols=["chat", "superchat"],
        extensions_offer="squeeze; by=2",
        origin="http://a.example",
    )
    environ = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in sent}
    environ |= {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"}
    upgrade = accept(environ, subprotocols=["superchat"], extensions=[])
    answer = check_response(101, upgrade.headers, key=KEY, subprotocols=["chat", "superchat"])
    assert answer == Upgrade(upgrade.headers, "superchat", None, 13, None)


def answered(*changes: tuple[str, str | None], **options: Any) -> Upgrade:
    """Check a server's answer in which `changes` replace headers, or take them out, or add to them."""
    headers: HeaderList = [pair for pair in ANSWER if pair[0] not in dict(changes)]
    headers += [(name, value) for name, value in changes if value is not None]
    return check_response(101, headers, key=KEY, **options)


def failure(*changes: tuple[str, str | None], **options: Any) -> tuple[str, str | None]:
    with pytest.raises(HandshakeError) as caught:
        answered(*changes, **options)
    assert (caught.value.status, caught.value.headers) == (0, [])
    return str(caught.value), caught.value.option


@pytest.mark.parametrize(
    "changes",
    [
        (),
        (("Upgrade", "WebSocket"),),
        (("Connection", "keep-alive, upgrade"),),
        (("Connection", "keep-alive"), ("connection", "UPGRADE")),
        (("Sec-WebSocket-Accept", f" {ACCEPT} "),),
        (("Sec-WebSocket-Extensions", ""),),
        (("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")),
    ],
)
def test_what_an_answer_may_look_like(changes: Any) -> None:
    upgrade = answered(*changes)
    assert upgrade[1:] == (None, None, 13, None)
    assert set(changes) <= set(upgrade.headers)


def test_names_of_headers_have_no_case() -> None:
    headers = [(name.lower(), value) for name, value in ANSWER]
    assert check_response(101, iter(headers), key=KEY).headers == headers


@pytest.mark.parametrize("status", [100, 200, 301, 401, 500])
def test_another_status_fails(status: int) -> None:
    with pytest.raises(HandshakeError) as caught:
        check_response(status, ANSWER, key=KEY)
    assert str(caught.value) == f"the server answers with HTTP status {status}, not 101"
    assert caught.value.status == 0


@pytest.mark.parametrize("value", ["h2c", "", "websocket, h2c", "websocket\r\nX: y"])
def test_another_upgrade_fails(value: str) -> None:
    why = f"the server sends the Upgrade {value!r}, which is not websocket"
    assert failure(("Upgrade", value)) == (why, None)


def test_no_upgrade_fails() -> None:
    assert failure(("Upgrade", None)) == ("the server sends no Upgrade", None)


@pytest.mark.parametrize("value", ["close", "notupgrade", ""])
def test_another_connection_fails(value: str) -> None:
    why = f"the server sends the Connection {value!r}, which does not hold Upgrade"
    assert failure(("Connection", value)) == (why, None)


def test_no_connection_fails() -> None:
    assert failure(("Connection", None)) == ("the server sends no Connection", None)


@pytest.mark.parametrize("value", ["", KEY, ACCEPT.lower(), ACCEPT[:-1], ACCEPT + "=", f"{ACCEPT}, {ACCEPT}"])
def test_another_accept_fails(value: str) -> None:
    why = f"the server sends the Sec-WebSocket-Accept {value!r}, which does not answer the key sent"
    assert failure(("Sec-WebSocket-Accept", value)) == (why, None)


def test_no_accept_fails() -> None:
    assert failure(("Sec-WebSocket-Accept", None)) == ("the server sends no Sec-WebSocket-Accept", None)


def test_the_subprotocol_of_the_server() -> None:
    assert answered(("Sec-WebSocket-Protocol", "b"), subprotocols=["a", "b"]).protocol == "b"
    assert answered(subprotocols=["a", "b"]).protocol is None


@pytest.mark.parametrize("value", ["c", "A", "", "a, b", "a,a"])
@pytest.mark.parametrize("offered", [(), ("a", "b")])
def test_a_subprotocol_that_was_not_offered_fails(value: str, offered: tuple[str, ...]) -> None:
    why = f"the server sends the Sec-WebSocket-Protocol {value!r}, which was not offered"
    assert failure(("Sec-WebSocket-Protocol", value), subprotocols=offered) == (why, "subprotocols")


def test_the_extension_of_the_server() -> None:
    squeeze = Squeeze()
    offered = [Squeeze("zip"), squeeze]
    upgrade = answered(("Sec-WebSocket-Extensions", "squeeze; by=2"), extensions=offered)
    assert upgrade.extension == "squeeze by 2"
    assert squeeze.asked == [[("by", "2")]]
    assert answered(extensions=offered).extension is None


def test_parameters_that_the_extension_refuses_fail() -> None:
    found = failure(("Sec-WebSocket-Extensions", "squeeze; by=3"), extensions=[Squeeze()])
    assert found == ("not by 2", None)


@pytest.mark.parametrize("value", ["x", "Squeeze; by=2", "squeeze; by=2, squeeze; by=2", "squeeze; by=2, x"])
@pytest.mark.parametrize("offered", [(), (Squeeze(),)])
def test_an_extension_that_was_not_offered_fails(value: str, offered: tuple[Squeeze, ...]) -> None:
    why = f"the server sends the Sec-WebSocket-Extensions {value!r}, which was not offered"
    assert failure(("Sec-WebSocket-Extensions", value), extensions=offered) == (why, None)


def test_extensions_of_the_server_that_do_not_parse_fail() -> None:
    why = "the server's Sec-WebSocket-Extensions does not parse: '' is not a token"
    assert failure(("Sec-WebSocket-Extensions", "squeeze;"), extensions=[Squeeze()]) == (why, None)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "name",
    [
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Protocol",
    ],
)
def test_a_failure_is_one_short_line_of_ascii(name: str, value: str) -> None:
    assert re.fullmatch(r"[ -~]{1,500}", failure((name, value))[0])
