"""Where redirects lead, and what goes along, over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gevent import socket as gsocket
from kit.servers.scripted import Peer, answering

from geventws import HandshakeError, InvalidStatus, connect


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


PERSONAL = {"Cookie": "a=b", "X-Key": "secret"}
SAFE = {"accept": "text/plain", "accept-language": "de", "user-agent": "mine", "origin": "https://a.example"}


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


HANDSHAKE = {"upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions"}
SECRETS = {"Authorization": "Bearer secret", "Host": "internal", "Proxy-Authorization": "secret", "X-API-Key": "secret"}
SECRETS |= {"Authentication": "secret", "X-Forwarded-For": "10.0.0.1", "CF-Access-Client-Secret": "secret"}


@pytest.mark.parametrize("options", [{"headers": SAFE}, {"headers": {**SAFE, "origin": ""}, "origin": SAFE["origin"]}])
def test_a_redirect_to_another_origin_takes_along_what_can_be_no_secret(scripted: Any, options: Any) -> None:
    other = scripted(lambda peer: [peer.accept(), peer.rest()])
    server = scripted(redirecting(f"http://you:known@{other.address}/there"))
    headers = {name: value for name, value in {**options["headers"], **PERSONAL, **SECRETS}.items() if value}
    connect(f"ws://me:pass@{server.address}/", **{**options, "headers": headers}, close_timeout=0).close()
    assert {name.lower() for name in headers} < server.peers[0].headers.keys()
    found = other.peers[0].headers
    assert {name: value for name, value in found.items() if name not in HANDSHAKE} == {"host": other.address, **SAFE}


def test_what_was_left_behind_does_not_come_back_with_a_redirect_to_the_first_server(scripted: Any) -> None:
    def script(peer: Peer) -> None:
        if peer.request.startswith("GET / "):
            answering(f"HTTP/1.1 302 x\r\nLocation: {other.uri}\r\n\r\n".encode())(peer)
        else:
            peer.accept()
            peer.rest()

    first = scripted(script)
    other = scripted(redirecting(f"{first.uri}there"))
    connect(first.uri, headers=PERSONAL, close_timeout=0).close()
    assert "cookie" in first.peers[0].headers
    assert not {"cookie", "x-key"} & first.peers[1].headers.keys()


def test_tls_is_another_origin(scripted: Any, certificate: Any, tls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"certfile": certificate["certfile"], "keyfile": certificate["keyfile"]}
    safe = scripted(lambda peer: [peer.accept(), peer.rest()], **files)
    server = scripted(redirecting(f"wss://{safe.address}/there"))
    monkeypatch.setattr("geventws.client.dial.default_context", lambda: tls)
    connect(f"ws://me:pass@{server.address}/", headers=PERSONAL, close_timeout=0).close()
    assert not {"authorization", "cookie", "x-key"} & safe.peers[0].headers.keys()


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


def test_redirects_in_a_circle_of_servers_and_schemes_end(
    scripted: Any, certificate: Any, tls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"certfile": certificate["certfile"], "keyfile": certificate["keyfile"]}
    monkeypatch.setattr("geventws.client.dial.default_context", lambda: tls)
    places: list[str] = []
    plain = [scripted(lambda peer: redirecting(places[1])(peer)), scripted(lambda peer: redirecting(places[2])(peer))]
    safe = scripted(lambda peer: redirecting(places[3])(peer), **files)
    places += [plain[0].uri, plain[1].uri, f"https://{safe.address}/", f"wss://{safe.address}/"]
    with pytest.raises(HandshakeError, match="more than 6 redirects"):
        connect(places[0], max_redirects=6)
    assert [len(server.peers) for server in (*plain, safe)] == [1, 1, 5]
    places[3] = plain[0].uri
    with pytest.raises(HandshakeError, match="from wss to ws"):
        connect(places[0], max_redirects=6)


@pytest.mark.parametrize(("sent", "asked"), [("/caf\xe9".encode(), "/caf%C3%A9"), (b"/caf\xe9", "/caf%E9")])
def test_a_location_that_is_not_ascii_is_encoded_once(scripted: Any, sent: bytes, asked: str) -> None:
    def script(peer: Peer) -> None:
        if peer.request.startswith("GET / "):
            answering(b"HTTP/1.1 302 x\r\nLocation: " + sent + b"\r\n\r\n")(peer)
        else:
            peer.accept()
            peer.rest()

    server = scripted(script)
    connect(server.uri, close_timeout=0).close()
    assert server.peers[1].request == f"GET {asked} HTTP/1.1"


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


