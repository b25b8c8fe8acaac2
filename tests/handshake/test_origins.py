"""origins.py: who may connect, by Origin; on literal environs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from kit.handshakes import ANSWER, refusal, request

from geventws.exceptions import HandshakeError
from geventws.handshake.origins import SAME_ORIGIN, check_origin, read_origin
from geventws.handshake.server import accept
from geventws.handshake.upgrade import Upgrade


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
    assert read_origin(both, 8) == "http://a.example"  # which no page can set
    assert read_origin({"HTTP_SEC_WEBSOCKET_ORIGIN": "http://b.example"}, 8) == "http://b.example"
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
