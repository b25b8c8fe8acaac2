"""dial.py, and the way to a server: deadlines, TLS and addresses, over real sockets."""

from __future__ import annotations

import ssl
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit.servers.scripted import answering, check_through, echo, tcp

from geventws import InvalidStatus, ProxyError
from geventws.client import dial
from geventws.client.opening import connect
from geventws.client.reconnection import reconnect

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


# ---- addresses


def test_the_next_address_is_tried(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site = serve(echo)
    monkeypatch.setattr(dial, "look_up", lambda *_: [tcp(("127.0.0.1", 1)), tcp(("127.0.0.1", site.port))])
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
    monkeypatch.setattr(dial, "look_up", lambda *_: [tcp(silent), tcp(("127.0.0.1", site.port))])
    check_through("ws://a.example/", proxy=None)
    assert ended == [tcp(silent)]
    monkeypatch.setattr(dial, "look_up", lambda *_: [tcp(silent), tcp(silent)])
    with pytest.raises(TimeoutError):
        connect("ws://a.example/", open_timeout=0.05)
    assert len(ended) == 3


def test_two_addresses_at_once(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site = serve(echo)
    monkeypatch.setattr(dial, "ATTEMPT_DELAY", 0)
    monkeypatch.setattr(dial, "look_up", lambda *_: [tcp(("127.0.0.1", site.port))] * 3)
    check_through("ws://a.example/", proxy=None)


def test_no_address_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "look_up", lambda *_: [tcp(("127.0.0.1", 1)), tcp(("127.0.0.1", 1))])
    with pytest.raises(ConnectionRefusedError, match="no address of a.example:80 answers"):
        connect("ws://a.example/", proxy=None)


def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(10, "a"), (10, "b"), (10, "c"), (2, "d")]
    monkeypatch.setattr(dial.gsocket, "getaddrinfo", lambda *_: found)
    assert dial.look_up("a.example", 80) == [(10, "a"), (2, "d"), (10, "b"), (10, "c")]
    assert [address[4] for address in dial.look_up("127.0.0.1", 80)] == [("127.0.0.1", 80)]
