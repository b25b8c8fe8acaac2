"""proxies.py: SOCKS5, through a proxy as one installs it and through hostile ones, over real sockets.

Servers, and the hostile proxies, run in the thread of the test, in which nothing is patched: were the client to block
the thread instead of its greenlet, nobody would answer.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit.servers.scripted import check_through, echo, run_program
from kit.servers.socks import SocksPeer, granting, microsocks

from geventws import InvalidURI, ProxyError, connect
from geventws.client.reconnection import reconnect

REPLY = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"
"""RFC 1928 6: granted."""


# ---- a real one


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_through_a_proxy(serve: Any, scheme: str, host: str) -> None:
    site = serve(echo)
    with microsocks() as proxy:
        check_through(f"ws://{host}:{site.port}/", proxy=f"{scheme}://{proxy}")


def test_tls_through_a_proxy_that_wants_a_password(serve: Any, secure: Any) -> None:
    site = serve(echo, **secure)
    with microsocks("-u", "me", "-P", "p@ss") as proxy:
        check_through(f"wss://localhost:{site.port}/", proxy=f"socks5h://me:p%40ss@{proxy}", ssl=secure["tls"])
        for credentials in ("", "me:wrong@"):
            with pytest.raises(ProxyError, match=f"the proxy socks5h://{proxy} refused: ") as caught:
                connect(f"wss://localhost:{site.port}/", proxy=f"socks5h://{credentials}{proxy}", ssl=secure["tls"])
            assert (caught.value.status, caught.value.headers, caught.value.body) == (0, [], b"")


def test_a_proxy_of_the_environment(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site = serve(echo)
    with microsocks() as proxy:
        monkeypatch.setenv("all_proxy", f"socks5h://{proxy}")
        check_through(f"ws://localhost:{site.port}/")
        monkeypatch.setenv("no_proxy", "localhost")
    check_through(f"ws://localhost:{site.port}/")


def test_nobody_listens_behind_the_proxy(serve: Any) -> None:
    serve(echo)
    why = "cannot reach 127.0.0.1: Connection refused"
    with microsocks() as proxy, pytest.raises(ConnectionRefusedError, match=why):
        connect("ws://127.0.0.1:1/", proxy=f"socks5://{proxy}")


def test_monkey_patched(serve: Any) -> None:
    site = serve(echo)
    with microsocks() as proxy:
        program = f"""
        from gevent import monkey; monkey.patch_all()
        from geventws import connect
        with connect("ws://localhost:{site.port}/", proxy="socks5://{proxy}") as ws:
            ws.send("patched"); print(ws.wait())
        """
        assert run_program(program) == b"patched\n"


# ---- what it is asked


@pytest.mark.parametrize(
    ("scheme", "host", "asked"),
    [
        ("socks5h", "a.example", "a.example"),
        ("socks5h", "a.example.", "a.example."),
        ("socks5h", "b\xfccher.example", "xn--bcher-kva.example"),
        ("socks5h", "fa\xdf.de", "xn--fa-hia.de"),
        ("socks5h", "192.0.2.1", "192.0.2.1"),
        ("socks5h", "[::1]", "::1"),
        ("socks5h", "[fe80::1%25eth0]", "fe80::1"),
        ("socks5", "localhost", "127.0.0.1"),
        ("socks5", "[::1]", "::1"),
    ],
)
def test_names_are_the_business_of_whom_the_scheme_says(scripted: Any, scheme: str, host: str, asked: str) -> None:
    targets: list[tuple[str, int]] = []
    proxy = scripted(granting(targets, b"\x05\x02\x00"), SocksPeer)
    with pytest.raises(ProxyError, match="Connection not allowed by ruleset"):
        connect(f"ws://{host}:81/", proxy=f"{scheme}://{proxy.address}")
    assert targets == [(asked, 81)]


# ---- a hostile one


@pytest.mark.parametrize("bound", [REPLY, b"\x05\x00\x00\x03\x01a\x00\x50", b"\x05\x00\x00\x04" + bytes(18)])
def test_a_reply_byte_by_byte(scripted: Any, bound: bytes) -> None:
    def script(peer: Any) -> None:
        granting([], *(bound[at : at + 1] for at in range(len(bound))))(peer)
        super(SocksPeer, peer).read_request()
        peer.accept()
        peer.rest()

    proxy = scripted(script, SocksPeer)
    connect("ws://a.example/", proxy=f"socks5h://{proxy.address}", close_timeout=0).close()


@pytest.mark.parametrize(
    "reply",
    [
        b"\x04\x00\x00",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x05\x63\x00",
        b"\x05\x00\x01",
        b"\x05\x00\x00\x09" + bytes(6),
        b"\x05\x00\x00\x03\x02\xff\xfe\x00\x50",  # a name that is no UTF-8
    ],
)
def test_a_reply_that_makes_no_sense(scripted: Any, reply: bytes) -> None:
    proxy = scripted(lambda peer: [granting([], reply)(peer), peer.rest()], SocksPeer)
    with pytest.raises((ProxyError, ConnectionResetError)):
        connect("ws://a.example/", proxy=f"socks5h://me:secret@{proxy.address}")


@pytest.mark.parametrize(
    ("code", "error"),
    [(1, OSError), (3, OSError), (4, OSError), (5, ConnectionRefusedError), (6, OSError)],
)
def test_a_server_out_of_reach_is_waited_for(scripted: Any, code: int, error: type[Exception]) -> None:
    proxy = scripted(granting([], bytes([5, code, 0])), SocksPeer)
    with pytest.raises(error, match=f"the proxy socks5h://{proxy.address} cannot reach a.example"):
        next(reconnect("ws://a.example/", proxy=f"socks5h://{proxy.address}", initial_delay=0, max_attempts=3))
    assert len(proxy.peers) == 3


@pytest.mark.parametrize("code", [2, 7, 8])
def test_a_refusal_is_not(scripted: Any, code: int) -> None:
    proxy = scripted(granting([], bytes([5, code, 0])), SocksPeer)
    with pytest.raises(ProxyError, match="refused: "):
        next(reconnect("ws://a.example/", proxy=f"socks5h://{proxy.address}", initial_delay=0, max_attempts=3))
    assert len(proxy.peers) == 1


@pytest.mark.parametrize("sent", [b"", REPLY[:1], REPLY[:9]])
def test_a_proxy_that_hangs_up(scripted: Any, sent: bytes) -> None:
    proxy = scripted(granting([], sent), SocksPeer)
    with pytest.raises(ConnectionResetError, match=f"the proxy socks5h://{proxy.address} hung up without an answer"):
        connect("ws://a.example/", proxy=f"socks5h://{proxy.address}")


def test_a_proxy_that_does_not_answer(scripted: Any) -> None:
    done = Event()
    proxy = scripted(lambda peer: done.wait(), SocksPeer)
    with pytest.raises(TimeoutError, match=f"the proxy socks5h://{proxy.address} did not answer within 0.05 s"):
        connect("ws://a.example/", proxy=f"socks5h://{proxy.address}", open_timeout=0.05)
    with gevent.Timeout(0.05) as mine, pytest.raises(gevent.Timeout) as caught:
        connect("ws://a.example/", proxy=f"socks5h://{proxy.address}")
    assert caught.value is mine
    done.set()


@pytest.mark.parametrize("place", ["127.0.0.1:1", "[::1]:1"])
def test_a_proxy_that_cannot_be_reached(place: str) -> None:
    with pytest.raises(ConnectionRefusedError, match=re.escape(f"the proxy socks5://{place} cannot be reached")):
        connect("ws://127.0.0.1/", proxy=f"socks5://me:secret@{place}")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("python_socks")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "python_socks", None)
    why = "socks5h:// needs the python-socks package (pip install geventws[socks])"
    with pytest.raises(InvalidURI, match=re.escape(why)):
        connect("ws://127.0.0.1/", proxy="socks5h://127.0.0.1")
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(InvalidURI, match="all_proxy: socks5:// needs"):
        connect("ws://127.0.0.1/")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(ConnectionRefusedError, match="the proxy http://127.0.0.1:1 cannot be reached"):
        connect("ws://127.0.0.1/")
