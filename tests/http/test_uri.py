"""uri.py: addresses taken apart, and where redirects lead."""

from __future__ import annotations

import pytest

from geventws.exceptions import InvalidURI
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
        ("ws://me@you:p@a/", URI(False, "a", 80, "/", None, ("me@you", "p")), "a", "/"),
        ("wss://a.example./", URI(True, "a.example.", 443, "/"), "a.example.", "/"),
        ("wss://fa\xdf.de/", URI(True, "xn--fa-hia.de", 443, "/"), "xn--fa-hia.de", "/"),
        ("ws://[fe80::1%25Eth0]/", URI(False, "fe80::1%Eth0", 80, "/"), "[fe80::1]", "/"),
        ("wss://[fe80::1%eth0]:444/", URI(True, "fe80::1%eth0", 444, "/"), "[fe80::1]:444", "/"),
        ("ws://a:/", URI(False, "a", 80, "/"), "a", "/"),
        ("ws://a/?", URI(False, "a", 80, "/"), "a", "/"),
        ("ws://a/\udce4", URI(False, "a", 80, "/%E4"), "a", "/%E4"),
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
        ("ws://a<b>/", "is not a name"),
        ("ws://a%62/", "is not a name"),
        ("ws://a:b:c/", "does not parse"),
        ("ws://::1/", "does not parse"),
        ("ws://[::1].evil.example/", "does not parse"),  # which Python 3.10 and 3.11 take for ::1
        ("ws://[::1]evil/", "does not parse"),
        ("ws://evil.example[::1]/", "does not parse"),
        ("ws://[::1][::2]/", "does not parse"),
        ("ws://me@[::1].evil.example:80/", "does not parse"),
        ("ws://[::1]@evil.example/", "does not parse"),
        ("ws://good.example\\@evil.example/", "does not parse"),  # whose host is the first one for a browser
        ("ws://a:\u0663/", "the port"),
        ("ws://a:+1/", "the port"),
        ("ws://a:0000080/", "the port"),
        ("ws://[fe80::1%25]/", "the zone"),
        ("ws://[fe80::1%25a%20b]/", "the zone"),
        ("ws://a/\ud800", "surrogate"),
        ("ws://\ud800/", "is not a name"),
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
    assert str(parse_uri("ws://[fe80::1%25eth0]:81/b")) == "ws://[fe80::1%25eth0]:81/b"
    assert str(parse_proxy("socks5h://me:secret@[fe80::1%25eth0]")) == "socks5h://[fe80::1%25eth0]:1080"


def test_the_zone_of_an_address_is_nobody_elses_business() -> None:
    uri = parse_uri("ws://[fe80::1%25eth0]/")
    assert (uri.host, uri.address, uri.authority) == ("fe80::1%eth0", "[fe80::1]:80", "[fe80::1]")


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


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ("/caf\xe9".encode(), "/caf%C3%A9"),  # UTF-8, as most servers send it
        (b"/caf\xe9", "/caf%E9"),  # Latin-1, of which nobody knows what it means
        (b"/caf%C3%A9", "/caf%C3%A9"),
        ("/\u20ac%20?\xe9".encode(), "/%E2%82%AC%20?%C3%A9"),
        ("caf\xe9".encode(), "/b/caf%C3%A9"),
    ],
)
def test_a_location_that_is_not_ascii_is_encoded_once(sent: bytes, path: str) -> None:
    assert resolve(parse_uri(HERE), sent.decode("latin-1")).resource == path


def test_the_host_of_a_location_may_be_in_utf_8() -> None:
    location = "https://fa\xdf.de/\xe9".encode().decode("latin-1")
    assert resolve(parse_uri(HERE), location) == URI(True, "xn--fa-hia.de", 443, "/%C3%A9")


def test_a_redirect_keeps_the_zone_of_an_address_of_which_the_server_does_not_know() -> None:
    here = parse_uri("ws://me:secret@[fe80::1%25eth0]:81/")
    for location in ("/b", "http://[fe80::1]:81/b", "http://[fe80::1%25eth0]:81/b"):
        assert resolve(here, location) == URI(False, "fe80::1%eth0", 81, "/b", None, KEPT)
    assert resolve(here, "http://[fe80::2]:81/b") == URI(False, "fe80::2", 81, "/b")


@pytest.mark.parametrize("location", ["ws://a.example/", "http://a.example/", "ws://other.example/"])
def test_tls_is_not_given_up(location: str) -> None:
    with pytest.raises(InvalidURI, match="from wss to ws"):
        resolve(parse_uri(HERE), location)


@pytest.mark.parametrize(
    "location",
    [
        "ftp://a.example/", "wss://", "/a b", "/a\tb", "//[::1].evil.example/", "//\xe9.example/", "/a, /b",
        "javascript:alert(1)", "https://a..b/", "https://[", "//a\xe2\x84\x80b/",
    ],  # fmt: skip
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
    assert parse_proxy("socks5://127.0.0.1") == Proxy("127.0.0.1", 1080, None, "socks5")
    assert parse_proxy("SOCKS5H://me:pass@[::1]:81") == Proxy("::1", 81, ("me", "pass"), "socks5h")
    assert parse_proxy("http://[fe80::1%25eth0]:81") == Proxy("fe80::1%eth0", 81)
    for kind in ("socks4", "socks", "https", "quic"):
        with pytest.raises(InvalidURI, match=f"only http://, socks5:// and socks5h:// .* not '{kind}://'"):
            parse_proxy(f"{kind}://127.0.0.1:1080")
    for credentials in ("me", "me:", ":pass", "m\xe9:pass", f"me:{256 * 'a'}"):
        with pytest.raises(InvalidURI, match="1 to 255 characters of ASCII"):
            parse_proxy(f"socks5://{credentials}@127.0.0.1")
    with pytest.raises(InvalidURI, match="is not a name"):
        parse_proxy("a..b:3128")
