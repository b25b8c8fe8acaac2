"""proxies.py: which proxy is taken, and the tunnels through real ones and hostile ones, over real sockets."""

from __future__ import annotations

import struct
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event
from kit.servers.scripted import Peer, answering, check_through, echo, tcp, tunnel

from geventws import HandshakeError, InvalidURI, ProxyError, connect
from geventws.client import dial
from geventws.client.proxies import covers, find_proxy
from geventws.http.uri import Proxy, parse_uri

# ---- HTTP


def test_through_a_proxy(scripted: Any, serve: Any) -> None:
    proxy, site = scripted(tunnel), serve(echo)
    check_through(f"ws://127.0.0.1:{site.port}/", proxy=f"http://me:pass@{proxy.address}")
    peer = proxy.peers[0]
    assert peer.request == f"CONNECT 127.0.0.1:{site.port} HTTP/1.1"
    assert peer.headers == {"host": f"127.0.0.1:{site.port}", "proxy-authorization": "Basic bWU6cGFzcw=="}


def test_tls_through_a_proxy(scripted: Any, serve: Any, certificate: Any, tls: Any) -> None:
    proxy = scripted(tunnel)
    site = serve(echo, certfile=certificate["certfile"], keyfile=certificate["keyfile"])
    check_through(f"wss://localhost:{site.port}/", proxy=proxy.address, ssl=tls)
    assert "proxy-authorization" not in proxy.peers[0].headers


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "ws_proxy", "all_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment(scripted: Any, serve: Any, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    proxy, site = scripted(tunnel), serve(echo)
    monkeypatch.setenv(variable, f"http://{proxy.address}")
    check_through(f"ws://127.0.0.1:{site.port}/")
    assert len(proxy.peers) == 1
    check_through(f"ws://127.0.0.1:{site.port}/", proxy=None)
    check_through(f"ws://127.0.0.1:{site.port}/", proxy=False)
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    check_through(f"ws://127.0.0.1:{site.port}/")
    assert len(proxy.peers) == 1


PLAIN, SAFE = parse_uri("ws://a.example/"), parse_uri("wss://a.example/")


def proxies_of(monkeypatch: pytest.MonkeyPatch, **variables: str) -> tuple[Proxy | None, Proxy | None]:
    """Return the proxies for ws and for wss where these variables are set."""
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return find_proxy(PLAIN), find_proxy(SAFE)


ONE, TWO = Proxy("one", 1), Proxy("two", 2, None, "socks5h")


@pytest.mark.parametrize(
    ("variables", "plain", "safe"),
    [
        ({}, None, None),
        ({"http_proxy": "one:1"}, ONE, None),
        ({"https_proxy": "one:1", "http_proxy": "http://two:2"}, ONE, ONE),
        ({"ws_proxy": "one:1", "https_proxy": "socks5h://two:2"}, ONE, TWO),
        ({"wss_proxy": "one:1", "http_proxy": "socks5h://two:2"}, TWO, ONE),
        ({"all_proxy": "one:1"}, ONE, ONE),
        ({"ALL_PROXY": "socks5h://two:2"}, TWO, TWO),
        ({"all_proxy": "socks5h://two:2", "http_proxy": "one:1"}, ONE, TWO),
        ({"all_proxy": "one:1", "https_proxy": ""}, ONE, ONE),
        ({"socks_proxy": "http://two:2", "https_proxy": "one:1"}, TWO, TWO),  # as macOS has it
        ({"socks_proxy": "two:2"}, TWO, TWO),
        ({"socks_proxy": "socks5h://two:2", "wss_proxy": "one:1"}, TWO, ONE),
        ({"https_proxy": "quic://no:1", "http_proxy": "one:1", "all_proxy": "socks5h://two:2"}, ONE, TWO),
        ({"ws_proxy": "a..b", "https_proxy": "one:1"}, ONE, ONE),
    ],
)
def test_variables(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], plain: Proxy | None, safe: Proxy | None
) -> None:
    assert proxies_of(monkeypatch, **variables) == (plain, safe)


def test_a_proxy_of_an_unknown_kind_stops_its_own_scheme_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """To go without would be against what was asked for."""
    monkeypatch.setenv("wss_proxy", "quic://me:secret@no:1")
    assert find_proxy(PLAIN) is None
    with pytest.raises(InvalidURI, match="wss_proxy: only http://, .* not 'quic://'") as caught:
        connect("wss://127.0.0.1:1/")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("no_proxy", "a.example")
    assert find_proxy(SAFE) is None


@pytest.mark.parametrize(
    ("entry", "exempt", "others"),
    [
        ("*", ["ws://a.example", "wss://[::1]", "ws://10.1.2.3:81"], []),
        ("a.example", ["ws://a.example", "ws://A.EXAMPLE.", "ws://b.a.example:81"], ["ws://ba.example", "ws://a.example.b"]),
        (".a.example", ["ws://a.example", "ws://b.a.example"], ["ws://ba.example"]),
        ("*.a.example.", ["ws://b.c.a.example"], ["ws://ba.example"]),
        ("A.example:81", ["ws://a.example:81", "wss://b.a.example:81"], ["ws://a.example", "wss://a.example"]),
        ("b\xfccher.example", ["ws://xn--bcher-kva.example", "ws://www.b\xfccher.example"], ["ws://a.example"]),
        ("::1", ["ws://[::1]", "wss://[0:0::0001]:81"], ["ws://[::2]", "ws://a.example"]),
        ("[::1]", ["ws://[::1]"], ["ws://[::2]"]),
        ("[::1]:81", ["ws://[::1]:81"], ["ws://[::1]"]),
        ("fe80::/10", ["ws://[fe80::1%25eth0]", "ws://[febf::]"], ["ws://[fec0::]", "ws://10.0.0.1"]),
        ("[fd00::]/8", ["ws://[fd12::1]"], ["ws://[fc00::1]"]),
        ("10.0.0.0/8", ["ws://10.1.2.3", "ws://10.255.255.255:81"], ["ws://11.0.0.1", "ws://[::1]", "ws://10.example"]),
        ("10.1.2.3/8", ["ws://10.9.9.9"], ["ws://11.0.0.1"]),
        ("192.168.1.0/24:81", ["ws://192.168.1.7:81"], ["ws://192.168.1.7"]),
        ("127.0.0.1", ["ws://127.0.0.1:81"], ["ws://127.0.0.2"]),
        ("10.0.0.0/33", [], ["ws://10.0.0.0"]),
        (".", [], ["ws://a.example", "ws://127.0.0.1"]),
    ],
)
def test_no_proxy(entry: str, exempt: list[str], others: list[str]) -> None:
    for expected, uris in ((True, exempt), (False, others)):
        for uri in map(parse_uri, uris):
            assert covers(entry, uri.host, uri.port) is expected, uri


@pytest.mark.parametrize("listed", ["b.example,127.0.0.0/8", " b.example , 127.0.0.1 ", "::1 127.0.0.1", "*"])
def test_no_proxy_is_a_list(scripted: Any, serve: Any, monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    proxy, site = scripted(tunnel), serve(echo)
    monkeypatch.setenv("all_proxy", f"http://{proxy.address}")
    monkeypatch.setenv("no_proxy", listed)
    check_through(f"ws://127.0.0.1:{site.port}/")
    assert proxy.peers == []
    check_through(f"ws://127.0.0.1:{site.port}/", proxy=proxy.address)  # no_proxy is about the environment
    assert len(proxy.peers) == 1


def test_a_proxy_that_refuses(scripted: Any) -> None:
    proxy = scripted(answering(b"HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\nContent-Length: 5\r\n\r\nlogin"))
    with pytest.raises(ProxyError) as caught:
        connect("ws://a.example/", proxy=f"http://me:secret@{proxy.address}")
    assert str(caught.value) == f"the proxy http://{proxy.address} answered CONNECT with HTTP status 407"
    assert (caught.value.status, caught.value.body) == (407, b"login")
    assert ("Proxy-Authenticate", "Basic") in caught.value.headers


@pytest.mark.parametrize("status", [101, 304])
def test_a_proxys_answer_that_can_have_no_body_is_told_at_once(scripted: Any, status: int) -> None:
    done = Event()
    head = f"HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n".encode()
    proxy = scripted(lambda peer: [answering(head)(peer), done.wait()])
    with gevent.Timeout(dial.BODY_TIMEOUT / 2), pytest.raises(ProxyError) as caught:
        connect("ws://a.example/", proxy=proxy.address)
    assert (caught.value.status, caught.value.body) == (status, b"")
    done.set()


def test_a_proxy_that_speaks_out_of_turn(scripted: Any) -> None:
    proxy = scripted(answering(b"HTTP/1.1 200 x\r\nVia: test\r\n\r\nHTTP/1.1 101 x\r\n\r\n"))
    with pytest.raises(HandshakeError, match="of its own after its answer") as caught:
        connect("ws://a.example/", proxy=proxy.address)
    assert (caught.value.status, caught.value.headers) == (200, [("Via", "test")])


def fail_through(proxy: str, error: type[Exception], **options: Any) -> str:
    """Return what an error on the way through a proxy says."""
    with pytest.raises(error) as caught:
        connect("ws://a.example/", proxy=f"http://me:secret@{proxy}", **options)
    assert "secret" not in str(caught.value)
    return str(caught.value)


def test_a_proxy_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    why = fail_through("127.0.0.1:1", ConnectionRefusedError)
    assert why == "[Errno 111] the proxy http://127.0.0.1:1 cannot be reached: Connection refused"
    monkeypatch.setattr(dial, "look_up", lambda *_: [tcp(("127.0.0.1", 1)), tcp(("127.0.0.1", 1))])
    why = fail_through("p.example:8", ConnectionRefusedError)
    assert why.startswith(
        "[Errno 111] the proxy http://p.example:8 cannot be reached: no address of p.example:8 answers"
    )


def test_a_proxy_whose_name_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise gsocket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(dial, "look_up", fail)
    why = fail_through("p.example", gsocket.gaierror)
    assert why == "[Errno -2] the proxy http://p.example:80 cannot be reached: Name or service not known"


@pytest.mark.parametrize(("sent", "state"), [(b"", "without"), (b"HTTP/1.1 200 O", "in the middle of")])
@pytest.mark.parametrize("reset", [False, True])
def test_a_proxy_that_hangs_up(scripted: Any, sent: bytes, state: str, reset: bool) -> None:
    def script(peer: Peer) -> None:
        answering(sent)(peer)
        if reset:
            peer.socket.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_LINGER, struct.pack("ii", 1, 0))

    proxy = scripted(script)
    why = fail_through(proxy.address, ConnectionResetError)
    if not reset or not sent:  # a reset may overtake what was sent
        assert why == f"[Errno 104] the proxy http://{proxy.address} hung up {state} an answer"


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "the answer of the proxy {} is not HTTP: 'SSH-2.0-OpenSSH_9.6' is not"),
        (b"HTTP/1.1 200 x\r\nX: " + 70_000 * b"a", "the head of the answer of the proxy {} is longer than 65536 bytes"),
    ],
)
def test_a_proxy_that_makes_no_sense(scripted: Any, sent: bytes, why: str) -> None:
    proxy = scripted(lambda peer: [answering(sent)(peer), peer.rest()])
    assert fail_through(proxy.address, HandshakeError).startswith(why.format(f"http://{proxy.address}"))


def test_a_proxy_that_does_not_answer(scripted: Any) -> None:
    proxy = scripted(Peer.rest)
    why = fail_through(proxy.address, TimeoutError, open_timeout=0.05)
    assert why == f"the proxy http://{proxy.address} did not answer within 0.05 s (option: open_timeout)"


