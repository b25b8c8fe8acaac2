"""uri.py, http_response.py and backoff.py: what the client knows without a socket; literal text and bytes."""

from __future__ import annotations

import random
import time

import pytest

from geventws.client.backoff import MAX_RETRY_AFTER, Backoff, retry_after
from geventws.exceptions import InvalidURI
from geventws.http import response as http_response
from geventws.http.response import MAX_BODY, MAX_CHUNKED, Body, Response, find_end
from geventws.http.uri import URI, Proxy, basic_auth, parse_proxy, parse_uri, resolve

# ---- URIs: RFC 6455 3


@pytest.mark.parametrize(
    ("text", "expected", "authority", "resource"),
    [
        ("ws://a.example", URI(False, "a.example", 80, "/"), "a.example", "/"),
        ("wss://a.example", URI(True, "a.example", 443, "/"), "a.example", "/"),
        ("WS://A.Example:80/", URI(False, "a.example", 80, "/"), "a.example", "/"),
        ("ws://a.example:443/", URI(False, "a.example", 443, "/"), "a.example:443", "/"),
        ("wss://a.example:8443/b/c?d=e", URI(True, "a.example", 8443, "/b/c", "d=e"), "a.example:8443", "/b/c?d=e"),
        ("ws://a.example?q", URI(False, "a.example", 80, "/", "q"), "a.example", "/?q"),
        ("ws://[::1]:9000/", URI(False, "::1", 9000, "/"), "[::1]:9000", "/"),
        ("wss://[2001:DB8::1]", URI(True, "2001:db8::1", 443, "/"), "[2001:db8::1]", "/"),
        (f"ws://{63 * 'a'}.b./", URI(False, f"{63 * 'a'}.b.", 80, "/"), f"{63 * 'a'}.b.", "/"),
        ("ws://127.0.0.1/", URI(False, "127.0.0.1", 80, "/"), "127.0.0.1", "/"),
        ("ws://b\xfccher.example/", URI(False, "xn--bcher-kva.example", 80, "/"), "xn--bcher-kva.example", "/"),
        ("ws://a/\xe4%20%2F?\u20ac=%C3", URI(False, "a", 80, "/%C3%A4%20%2F", "%E2%82%AC=%C3"), "a", None),
        ("ws://a/;x=1,2/@:!$&'()*+,;=~", URI(False, "a", 80, "/;x=1,2/@:!$&'()*+,;=~"), "a", None),
        ("ws://me:p%40ss@a/", URI(False, "a", 80, "/", None, ("me", "p@ss")), "a", "/"),
        ("ws://me@a/", URI(False, "a", 80, "/", None, ("me", "")), "a", "/"),
    ],
)
def test_parse_uri(text: str, expected: URI, authority: str, resource: str | None) -> None:
    uri = parse_uri(text)
    assert uri == expected
    assert uri.authority == authority
    assert resource in (None, uri.resource)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the scheme is ''"),
        ("a.example", "the scheme is ''"),
        ("http://a.example/", "the scheme is 'http', not ws or wss"),
        ("ws:/a.example", "no host"),
        ("ws:///path", "no host"),
        ("ws://:80/", "no host"),
        ("ws://a:0/", "the port"),
        ("ws://a:65536/", "the port"),
        ("ws://a:-1/", "the port"),
        ("ws://a:1x/", "the port"),
        ("ws://a/#there", "fragment"),
        ("ws://a/#", "fragment"),
        ("ws://a/b c", "a space or a control"),
        ("ws://a/\r\nX: y", "a space or a control"),
        ("ws://a/\nb", "a space or a control"),
        ("ws://a\x00/", "a space or a control"),
        ("ws://a\x7f/", "a space or a control"),
        ("ws://[::1/", "does not parse"),
        ("ws://[nothing]/", "does not parse"),
        ("ws://[v1.a]/", "does not parse"),
        ("ws://[127.0.0.1]/", "does not parse"),
        ("ws://a<b>/", "is not a host"),
        ("ws://\u3002/", "is not a"),
        ("ws://a..b/", "the host 'a..b' is not a name"),
        ("ws://.a/", "the host '.a' is not a name"),
        (f"ws://{64 * 'a'}.example/", "is not a name"),
        (f"ws://a.{64 * 'b'}/", "is not a name"),
    ],
)
def test_parse_uri_refuses(text: str, why: str) -> None:
    with pytest.raises(InvalidURI, match=why):
        parse_uri(text)


def test_errors_show_no_password() -> None:
    with pytest.raises(InvalidURI) as caught:
        parse_uri("ftp://me:secret@a.example/")
    assert "secret" not in str(caught.value)


def test_what_is_logged_has_neither_credentials_nor_query() -> None:
    assert str(parse_uri("wss://me:secret@a.example:444/b?token=secret")) == "wss://a.example:444/b"
    assert str(parse_uri("ws://[::1]/")) == "ws://[::1]/"
    assert str(parse_proxy("http://me:secret@[::1]:3128")) == "http://[::1]:3128"


def test_basic_auth() -> None:
    assert basic_auth(("Aladdin", "open sesame")) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617 2
    assert basic_auth(("t\xe9", "")) == "Basic dMOpOg=="


# ---- redirects: RFC 9110 15.4

HERE = "wss://me:secret@a.example/b/c?d"
KEPT = ("me", "secret")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/e", URI(True, "a.example", 443, "/e", None, KEPT)),
        ("e?f", URI(True, "a.example", 443, "/b/e", "f", KEPT)),
        ("https://a.example/e", URI(True, "a.example", 443, "/e", None, KEPT)),
        ("HTTPS://A.example:443/e#part", URI(True, "a.example", 443, "/e", None, KEPT)),
        ("wss://a.example:444/e", URI(True, "a.example", 444, "/e")),
        ("wss://other.example/e", URI(True, "other.example", 443, "/e")),
        ("//other.example/e", URI(True, "other.example", 443, "/e")),
        ("wss://you:known@other.example/e", URI(True, "other.example", 443, "/e")),
    ],
)
def test_resolve(location: str, expected: URI) -> None:
    assert resolve(parse_uri(HERE), location) == expected


@pytest.mark.parametrize("location", ["ws://a.example/", "http://a.example/", "ws://other.example/"])
def test_tls_is_not_given_up(location: str) -> None:
    with pytest.raises(InvalidURI, match="from wss to ws"):
        resolve(parse_uri(HERE), location)


@pytest.mark.parametrize(
    "location",
    ["ftp://a.example/", "wss://", "/a b", "javascript:alert(1)", "https://a..b/", "https://[", "//a\u2100b/"],
)
def test_locations_that_lead_nowhere(location: str) -> None:
    with pytest.raises(InvalidURI):
        resolve(parse_uri(HERE), location)


def test_tls_may_be_taken_up_without_the_credentials() -> None:
    assert resolve(parse_uri("ws://me:secret@a/"), "https://a/") == URI(True, "a", 443, "/")


# ---- proxies


def test_parse_proxy() -> None:
    assert parse_proxy("http://me:p%40ss@proxy.example:3128/") == Proxy("proxy.example", 3128, ("me", "p@ss"))
    assert parse_proxy("proxy.example:3128") == Proxy("proxy.example", 3128)
    assert parse_proxy("http://proxy.example") == Proxy("proxy.example", 80)
    with pytest.raises(InvalidURI, match="only http:// proxies"):
        parse_proxy("socks5://127.0.0.1:1080")
    with pytest.raises(InvalidURI, match="is not a name"):
        parse_proxy("a..b:3128")


# ---- answers: RFC 9112

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX-A:\t b\xe9 \r\nEmpty:\r\n\r\n"


def test_parse_head() -> None:
    expected = Response("HTTP/1.1", 101, [("Upgrade", "websocket"), ("X-A", "b\xe9"), ("Empty", "")])
    assert http_response.parse(HEAD) == expected
    assert http_response.parse(b"HTTP/1.0 200\r\n\r\n") == Response("HTTP/1.0", 200, [])
    assert http_response.parse(b"HTTP/1.1 403 \r\n\r\n").status == 403


@pytest.mark.parametrize("behind", [b"", b"\x81\x02hi", b"\r\n\r\n"])
def test_find_end_at_every_cut(behind: bytes) -> None:
    data = HEAD + behind
    for cut in range(len(data) + 1):
        found = find_end(data[:cut])
        assert found == (len(HEAD) if cut >= len(HEAD) else -1)
        assert find_end(data, min(cut, len(HEAD) - 1)) == len(HEAD)


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/2 101 x\r\n\r\n",
        b"HTTP/1.2 101 x\r\n\r\n",
        b"http/1.1 101 x\r\n\r\n",
        b"HTTP/1.1 1010 x\r\n\r\n",
        b"HTTP/1.1  101 x\r\n\r\n",
        b"HTTP/1.1 099 x\r\n\r\n",
        b"HTTP/1.1 101 x\x00\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 101 x\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade websocket\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade : websocket\r\n\r\n",
        b"HTTP/1.1 101 x\r\n: websocket\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: a\nB: c\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: a\rB: c\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: a\x00b\r\n\r\n",
    ],
)
def test_parse_head_refuses(head: bytes) -> None:
    with pytest.raises(ValueError):
        http_response.parse(head)


def test_interim() -> None:
    assert [Response("HTTP/1.1", status, []).interim for status in (100, 101, 103, 200)] == [True, False, True, False]


def read(headers: list[tuple[str, str]], *parts: bytes, status: int = 403) -> tuple[bytes, bool]:
    """Return what a body comes to that arrives in parts, and whether no more of it is expected."""
    body = Body(Response("HTTP/1.1", status, headers))
    for part in parts:
        body.feed(part)
    return bytes(body.data), body.ended


CHUNKED = [("Content-Length", "1"), ("Transfer-Encoding", "Chunked")]


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ([("Content-Length", "0")], 0),
        ([("content-length", "12")], 12),
        ([("Content-Length", "9" * 5000)], MAX_BODY),
        ([], MAX_BODY),
        ([("Content-Length", "-1")], MAX_BODY),
        ([("Content-Length", "\xb2")], MAX_BODY),
        ([("Content-Length", "1"), ("Content-Length", "2")], MAX_BODY),
        ([("Content-Length", "1"), ("Transfer-Encoding", "gzip, chunked")], MAX_BODY),
    ],
)
def test_a_body_ends_at_its_size_or_the_limit(headers: list[tuple[str, str]], size: int) -> None:
    assert read(headers) == (b"", size == 0)
    if size:
        assert read(headers, bytes(size - 1)) == (bytes(size - 1), False)
    assert read(headers, bytes(size), b"more") == (bytes(size), True)
    assert read(headers, bytes(size + 5)) == (bytes(size), True)


@pytest.mark.parametrize("status", [101, 204, 304])
def test_statuses_without_a_body(status: int) -> None:
    for headers in ([], [("Content-Length", "5")], CHUNKED):
        assert read(headers, b"1\r\nx\r\n", status=status) == (b"", True)


def test_chunks_at_every_cut() -> None:
    data = b"5\r\nhello\r\n6 ; a=b\r\n world\r\n0\r\n\r\n"
    for cut in range(len(data)):
        joined, ended = read(CHUNKED, data[:cut])
        assert b"hello world".startswith(joined)
        assert ended == (cut > data.index(b"\r\n0\r\n") + 4)
        assert read(CHUNKED, data[:cut], data[cut:]) == (b"hello world", True)
    assert read(CHUNKED, *(data[at : at + 1] for at in range(len(data)))) == (b"hello world", True)
    assert read(CHUNKED, b"xyz\r\n", b"1\r\nx\r\n") == (b"", False)


def test_the_limit_is_for_what_is_in_the_chunks() -> None:
    assert read(CHUNKED, b"1\r\nx\r\n" * MAX_BODY) == (b"x" * MAX_BODY, True)
    assert read(CHUNKED, b"1\r\nx\r\n" * (MAX_BODY - 1)) == (b"x" * (MAX_BODY - 1), False)
    assert read(CHUNKED, b"ffffffff\r\n", bytes(MAX_BODY - 1), b"xy") == (bytes(MAX_BODY - 1) + b"x", True)


def test_there_is_a_limit_for_what_is_around_the_chunks() -> None:
    part = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    count = MAX_CHUNKED // len(part)
    assert read(CHUNKED, *[part] * count) == (b"x" * count, False)
    assert read(CHUNKED, *[part] * count, part) == (b"x" * (count + 1), True)
    assert read(CHUNKED, bytes(MAX_CHUNKED)) == (b"", True)


# ---- backoff


def test_full_jitter_under_a_growing_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = []
    monkeypatch.setattr(random, "uniform", lambda low, high: bounds.append((low, high)) or high / 2)
    backoff = Backoff(1.0, 10.0, 2.0)
    delays = [backoff.next_delay() for _ in range(6)]
    assert bounds == [(0, 1), (0, 2), (0, 4), (0, 8), (0, 10), (0, 10)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.failures == 6
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next_delay(at_least=30.0) == 30.5


def test_delays_are_spread() -> None:
    delays = [Backoff(1.0, 1.0, 1.0).next_delay() for _ in range(500)]
    assert 0 <= min(delays) < 0.1 and 0.9 < max(delays) <= 1
    assert 0.4 < sum(delays) / 500 < 0.6


@pytest.mark.parametrize("numbers", [(-1.0, 1.0, 2.0), (2.0, 1.0, 2.0), (1.0, 2.0, 0.5), (float("nan"), 1.0, 2.0)])
def test_backoff_refuses(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="initial_delay"):
        Backoff(*numbers)


NOW = 1445412480.0  # Wed, 21 Oct 2015 07:28:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:30 GMT", 0.0),
        ("9" * 400, MAX_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("-5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("\xb2", 0.0),
    ],
)
def test_retry_after(value: str, seconds: float) -> None:
    assert retry_after([("retry-after", value)], NOW) == seconds


def test_no_retry_after() -> None:
    assert retry_after([], time.time()) == 0.0
