"""dial.py, and the way to a server: deadlines, TLS, redirects, proxies and addresses, over real sockets."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event
from kit.scripted import Peer, answering, echo

from geventws import HandshakeError, InvalidStatus, ProxyError
from geventws.client import dial
from geventws.client.opening import connect, reconnect

# ---- one deadline


def test_open_timeout(scripted: Any) -> None:
    done = Event()
    server = scripted(lambda peer: done.wait())
    with pytest.raises(TimeoutError, match=rf"{server.uri} did not open within 0.05 s \(option: open_timeout\)"):
        connect(f"{server.uri}?token=secret", open_timeout=0.05)
    done.set()


def test_open_timeout_covers_a_handshake_in_tls_too(scripted: Any) -> None:
    done = Event()
    server = scripted(lambda peer: done.wait())  # takes the ClientHello for the beginning of a request
    with pytest.raises(TimeoutError):
        connect(f"wss://{server.address}/", open_timeout=0.05)
    done.set()


def test_a_timeout_of_the_callers_own(scripted: Any) -> None:
    done = Event()
    server = scripted(lambda peer: done.wait())
    with gevent.Timeout(0.05) as mine, pytest.raises(gevent.Timeout) as caught:
        connect(server.uri)
    assert caught.value is mine
    done.set()


SLOW_REFUSALS = {"server": b"HTTP/1.1 401 x", "proxy": b"HTTP/1.1 407 x"}


@pytest.mark.parametrize("who", SLOW_REFUSALS)
def test_open_timeout_does_not_lose_a_refusal_whose_body_is_late(scripted: Any, who: str) -> None:
    done = Event()
    head = SLOW_REFUSALS[who] + b"\r\nX-Why: late\r\nContent-Length: 10\r\n\r\nhalf"
    peer = scripted(lambda peer: [answering(head)(peer), done.wait()])
    options = {"proxy": peer.address} if who == "proxy" else {}
    uri = "ws://a.example/" if who == "proxy" else peer.uri
    for call in (connect, lambda *args, **more: next(reconnect(*args, **more))):
        with pytest.raises(ProxyError if who == "proxy" else InvalidStatus) as caught:
            call(uri, open_timeout=0.3, **options)
        assert (caught.value.status, caught.value.body) == (407 if who == "proxy" else 401, b"half")
        assert ("X-Why", "late") in caught.value.headers
    done.set()


def test_a_timeout_of_the_callers_own_while_a_body_is_read(scripted: Any) -> None:
    done = Event()
    server = scripted(lambda peer: [answering(b"HTTP/1.1 401 x\r\nContent-Length: 10\r\n\r\n")(peer), done.wait()])
    with gevent.Timeout(0.05) as mine, pytest.raises(gevent.Timeout) as caught:
        connect(server.uri)
    assert caught.value is mine
    done.set()


# ---- TLS


def test_servers_are_verified_by_default(serve: Any, certificate: Any, tls: Any, hub_errors: list[Any]) -> None:
    site = serve(echo, certfile=certificate["certfile"], keyfile=certificate["keyfile"])
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(f"wss://127.0.0.1:{site.port}/")
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(f"wss://127.0.0.1:{site.port}/", ssl=tls, server_hostname="other.example")
    with connect("wss://other.example/", ssl=tls, server_hostname="localhost", socket=site.dial().socket) as ws:
        ws.send("by its name")
        assert ws.wait() == "by its name"
    site.settle()
    hub_errors.clear()  # what pywsgi says of handshakes that fail


# ---- redirects


def redirecting(location: str, status: int = 302) -> Callable[[Peer], None]:
    """Return a script that redirects once, from / to somewhere, and accepts there."""
    answer = f"HTTP/1.1 {status} x\r\nLocation: {location}\r\nContent-Length: 5\r\n\r\nmoved".encode()

    def script(peer: Peer) -> None:
        if peer.request.startswith("GET / "):
            peer.socket.sendall(answer)
        else:
            peer.accept()
            peer.rest()

    return script


def check_redirect(error: HandshakeError, location: str) -> None:
    """Check that an error carries the answer of `redirecting`."""
    assert (error.status, error.body) == (302, b"moved")
    assert error.headers == [("Location", location), ("Content-Length", "5")]


PERSONAL = {"Cookie": "a=b", "X-Kept": "yes"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_a_server_keeps_credentials(scripted: Any, status: int) -> None:
    server = scripted(redirecting("/there?x", status))
    ws = connect(f"ws://me:pass@{server.address}/", headers=PERSONAL, close_timeout=0)
    ws.close()
    assert ws.path == "/there"
    first, second = (peer.headers for peer in server.peers)
    assert first["authorization"] == second["authorization"] == "Basic bWU6cGFzcw=="
    assert second["cookie"] == "a=b"
    assert first["sec-websocket-key"] != second["sec-websocket-key"]


def test_a_redirect_to_another_server_drops_credentials(scripted: Any) -> None:
    other = scripted(lambda peer: [peer.accept(), peer.rest()])
    server = scripted(redirecting(f"http://you:known@{other.address}/there"))
    headers = {**PERSONAL, "Authorization": "Bearer secret", "Host": "internal"}
    connect(f"ws://me:pass@{server.address}/", headers=headers, close_timeout=0).close()
    assert server.peers[0].headers["authorization"] == "Bearer secret"
    found = other.peers[0].headers
    assert found["host"] == other.address and found["x-kept"] == "yes"
    assert not {"authorization", "cookie"} & found.keys()


def test_redirects_end(scripted: Any) -> None:
    server = scripted(redirecting("/"))
    with pytest.raises(HandshakeError, match="more than 3 redirects") as caught:
        connect(server.uri, max_redirects=3)
    assert caught.value.option == "max_redirects"
    check_redirect(caught.value, "/")
    assert len(server.peers) == 4
    with pytest.raises(InvalidStatus) as refused:
        connect(server.uri, max_redirects=0)
    assert refused.value.status == 302


def test_no_redirect_from_tls(scripted: Any, certificate: Any, tls: Any) -> None:
    files = {"certfile": certificate["certfile"], "keyfile": certificate["keyfile"]}
    server = scripted(redirecting("ws://127.0.0.1:1/"), **files)
    with pytest.raises(HandshakeError, match="from wss to ws") as caught:
        connect(f"wss://127.0.0.1:{server.port}/", ssl=tls)
    check_redirect(caught.value, "ws://127.0.0.1:1/")


@pytest.mark.parametrize("location", ["http://a..b/", f"ws://{64 * 'a'}/", "http://["])
def test_a_redirect_to_what_is_no_host(scripted: Any, location: str) -> None:
    with pytest.raises(HandshakeError, match="is not followed") as caught:
        connect(scripted(redirecting(location)).uri)
    check_redirect(caught.value, location)


@pytest.mark.parametrize("location", ["/there", "ws://other.example/"])
def test_no_redirect_away_from_a_socket_that_was_given(scripted: Any, location: str) -> None:
    server = scripted(redirecting(location))
    with pytest.raises(HandshakeError, match="away from the socket") as caught:
        connect(server.uri, socket=gsocket.create_connection(("127.0.0.1", server.port)))
    check_redirect(caught.value, location)


def test_a_redirect_without_a_location_is_a_refusal(scripted: Any) -> None:
    with pytest.raises(InvalidStatus, match="302"):
        connect(scripted(answering(b"HTTP/1.1 302 x\r\n\r\n")).uri)


# ---- proxies


def tunnel(peer: Peer) -> None:
    """Be a proxy that lets everybody through."""
    host, _, port = peer.request.split()[1].rpartition(":")
    with gsocket.create_connection((host.strip("[]"), int(port))) as target:
        peer.socket.sendall(b"HTTP/1.0 200 Connection established\r\nVia: test\r\n\r\n")
        back = gevent.spawn(pump, target, peer.socket)
        pump(peer.socket, target)
        back.join()


def pump(source: Any, target: Any) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(gsocket.SHUT_WR)
    except OSError:
        pass  # one of them has gone


def check_through(uri: str, **options: Any) -> None:
    with connect(uri, **options) as ws:
        ws.send("through")
        assert ws.wait() == "through"


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


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "ws_proxy"])
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


def test_variables_by_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    from geventws.http.uri import Proxy, parse_uri

    monkeypatch.setenv("http_proxy", "http://plain:1")
    assert dial.find_proxy(parse_uri("wss://a.example/")) is None
    monkeypatch.setenv("https_proxy", "http://safe:2")
    assert dial.find_proxy(parse_uri("wss://a.example/")) == Proxy("safe", 2)
    monkeypatch.setenv("no_proxy", "a.example:443")
    assert dial.find_proxy(parse_uri("wss://a.example/")) is None
    assert dial.find_proxy(parse_uri("wss://a.example:444/")) == Proxy("safe", 2)


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
    with pytest.raises(HandshakeError, match="of its own behind its answer") as caught:
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
    monkeypatch.setattr(dial, "_resolve", lambda *_: [tcp(("127.0.0.1", 1)), tcp(("127.0.0.1", 1))])
    why = fail_through("p.example:8", ConnectionRefusedError)
    assert why.startswith(
        "[Errno 111] the proxy http://p.example:8 cannot be reached: no address of p.example:8 answers"
    )


def test_a_proxy_whose_name_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise gsocket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(dial, "_resolve", fail)
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


# ---- addresses


def tcp(place: tuple[str, int]) -> Any:
    return (gsocket.AF_INET, gsocket.SOCK_STREAM, 6, "", place)


def test_the_next_address_is_tried(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site = serve(echo)
    monkeypatch.setattr(dial, "_resolve", lambda *_: [tcp(("127.0.0.1", 1)), tcp(("127.0.0.1", site.port))])
    check_through("ws://a.example/", proxy=None)


def test_an_address_that_does_not_answer_holds_up_nobody(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site = serve(echo)
    silent = ("192.0.2.1", 80)
    ended = []

    def connect_or_hang(address: Any) -> Any:
        if address[4] != silent:
            return really(address)
        try:
            gevent.sleep(60)
        finally:
            ended.append(address)

    really = dial._connect
    monkeypatch.setattr(dial, "_connect", connect_or_hang)
    monkeypatch.setattr(dial, "ATTEMPT_DELAY", 0.01)
    monkeypatch.setattr(dial, "_resolve", lambda *_: [tcp(silent), tcp(("127.0.0.1", site.port))])
    check_through("ws://a.example/", proxy=None)
    assert ended == [tcp(silent)]
    monkeypatch.setattr(dial, "_resolve", lambda *_: [tcp(silent), tcp(silent)])
    with pytest.raises(TimeoutError):
        connect("ws://a.example/", open_timeout=0.05)
    assert len(ended) == 3


def test_two_addresses_at_once(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site = serve(echo)
    monkeypatch.setattr(dial, "ATTEMPT_DELAY", 0)
    monkeypatch.setattr(dial, "_resolve", lambda *_: [tcp(("127.0.0.1", site.port))] * 3)
    check_through("ws://a.example/", proxy=None)


def test_no_address_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "_resolve", lambda *_: [tcp(("127.0.0.1", 1)), tcp(("127.0.0.1", 1))])
    with pytest.raises(ConnectionRefusedError, match="no address of a.example:80 answers"):
        connect("ws://a.example/", proxy=None)


def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(10, "a"), (10, "b"), (10, "c"), (2, "d")]
    monkeypatch.setattr(dial.gsocket, "getaddrinfo", lambda *_: found)
    assert dial._resolve("a.example", 80) == [(10, "a"), (2, "d"), (10, "b"), (10, "c")]
    assert [address[4] for address in dial._resolve("127.0.0.1", 80)] == [("127.0.0.1", 80)]
