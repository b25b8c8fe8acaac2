"""The opening against peers that cut, damage and delay what they say, and callers that are killed in it.

Whatever happens: an error that the documentation names, at once, and nothing left open (the fixtures look).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import greenlet
import pytest
from kit.servers.scripted import Peer, Scripted, answering, echo, tunnel
from kit.servers.socks import WELCOME, SocksPeer, microsocks

from geventws import HandshakeError, InvalidStatus, connect
from geventws.client import dial

DOCUMENTED = (OSError, HandshakeError, InvalidStatus)

REPLY = WELCOME + b"\x05\x00\x00\x03\x07example\x00\x50"
REDIRECT = b"HTTP/1.1 302 x\r\nLocation: //[::1].example/\xc3\xa9\r\nContent-Length: 2\r\n\r\nno"
CHUNKED = b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nno\r\n0\r\n\r\n"
TUNNEL = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"


class Greeted(SocksPeer):
    """A client of a SOCKS5 proxy that has greeted, and is not asked for more."""

    def read_target(self) -> tuple[str, int]:
        return "", 0


class Mute(Peer):
    """A client that nobody listens to."""

    def read_request(self) -> None:
        self.headers = {"sec-websocket-key": ""}


def damaged(data: bytes) -> Iterator[bytes]:
    """Yield the data cut at every byte, and with every byte changed into some others."""
    for at in range(len(data)):
        yield data[:at]
        for other in (b"", b"\x00", b"\n", b"\r\n\r\n", b"\xff"):
            yield data[:at] + other + data[at + 1 :]


WAYS: dict[str, tuple[bytes, type[Peer], Callable[[Scripted], dict[str, Any]]]] = {
    "redirect": (REDIRECT, Peer, lambda server: {"uri": server.uri}),
    "refusal": (CHUNKED, Peer, lambda server: {"uri": server.uri}),
    "proxy": (TUNNEL, Peer, lambda server: {"uri": "ws://a.example/", "proxy": server.address}),
    "socks": (REPLY, Greeted, lambda server: {"uri": "ws://a.example/", "proxy": f"socks5h://{server.address}"}),
    "tls": (TUNNEL, Mute, lambda server: {"uri": f"wss://{server.address}/"}),
    "tls behind a proxy": (TUNNEL, Peer, lambda server: {"uri": "wss://a.example/", "proxy": server.address}),
}


@pytest.mark.parametrize("way", WAYS)
def test_answers_cut_and_damaged(scripted: Any, way: str) -> None:
    answer, kind, options = WAYS[way]
    said = [b""]
    server = scripted(lambda peer: answering(said[0])(peer), kind)
    for said[0] in damaged(answer):
        with pytest.raises(DOCUMENTED):
            connect(**options(server), max_redirects=1)
    assert len(server.peers) >= 6 * len(answer)


@pytest.mark.parametrize("cut", [b"\r\n\r\n", b"Upgrade", b"HTTP"])
def test_a_101_cut_and_damaged(scripted: Any, cut: bytes) -> None:
    """What is damaged in front of a frame is never opened by half."""
    server = scripted(lambda peer: answering(peer.answer().replace(cut, b"\x00", 1) + b"\x81\x02hi")(peer))
    with pytest.raises(HandshakeError):
        connect(server.uri)


@contextlib.contextmanager
def killing(opening: gevent.Greenlet, place: int) -> Iterator[None]:
    """Kill a greenlet when it has left for the loop so many times."""
    left = [place]

    def trace(_event: str, switch: tuple[Any, Any]) -> None:
        if switch[0] is opening:
            left[0] -= 1
            if left[0] == 0:
                opening.kill(block=False)

    before = greenlet.settrace(trace)
    try:
        yield
    finally:
        greenlet.settrace(before)


def kill_wherever_it_waits(open_one: Callable[[], Any]) -> int:
    """Kill an opening where it waits first, then where it does so next, until it is through; return how often."""
    for place in range(1, 100):
        opening = gevent.Greenlet(open_one)
        with killing(opening, place):
            opening.start()
            opening.join()
        if not isinstance(opening.value, gevent.GreenletExit):
            opening.get().close()
            return place - 1
    raise AssertionError("it never opened")


def test_killed_on_the_way_through_an_http_proxy_into_tls(
    scripted: Any, serve: Any, secure: Any, hub_errors: list[Any]
) -> None:
    proxy, site = scripted(tunnel), serve(echo, **secure)
    uri, place = f"wss://localhost:{site.port}/", proxy.address
    assert kill_wherever_it_waits(lambda: connect(uri, ssl=secure["tls"], proxy=place, close_timeout=0)) >= 4
    site.settle()
    hub_errors.clear()  # what gevent says of handshakes that fail


def test_killed_on_the_way_through_a_socks_proxy(serve: Any) -> None:
    site = serve(echo)
    with microsocks("-u", "me", "-P", "pass") as place:
        uri, proxy = f"ws://localhost:{site.port}/", f"socks5://me:pass@{place}"
        assert kill_wherever_it_waits(lambda: connect(uri, proxy=proxy, close_timeout=0)) >= 3


def test_killed_while_a_silent_server_is_asked(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "PLAIN_DELAY", 0.0)
    server = scripted(Peer.rest, Mute)
    opening = gevent.spawn(connect, f"wss://{server.address}/")
    while len(server.peers) < 2:
        gevent.sleep(0)
    opening.kill()
    assert isinstance(opening.value, gevent.GreenletExit)
