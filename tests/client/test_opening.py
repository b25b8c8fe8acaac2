"""client.py: what is asked, what is answered, and the connection that comes out, over real sockets."""

from __future__ import annotations

import base64
import gc
import os
import pathlib
import socket as stdlib_socket
import ssl
import subprocess
import sys
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event
from kit.frames import TEXT, frame
from kit.servers.scripted import ROOT, Peer, echo, is_open

from geventws import InvalidURI, StreamingWebSocket, WebSocket
from geventws.client.opening import connect
from geventws.websocket import get_connection

# ---- it works


def check_echo(ws: WebSocket) -> None:
    assert isinstance(ws, WebSocket)
    for message in ("", "hello", "\u20ac" * 1000, b"", b"\x00\xff", bytes(1 << 20), "x" * 200_000):
        ws.send(message)
        assert ws.wait() == message
    assert ws.ping().get(timeout=5) < 5


def test_echo_over_tcp(serve: Any) -> None:
    site = serve(echo)
    with connect(f"ws://127.0.0.1:{site.port}/a%20b?c=d", max_message_size=1 << 24) as ws:
        check_echo(ws)
        assert (ws.path, ws.protocol, ws.origin, ws.version, ws.environ) == ("/a%20b", None, None, 13, {})
        assert ("Upgrade", "websocket") in ws.response_headers
        assert repr(ws) == f"<WebSocket ws://127.0.0.1:{site.port}/a%20b open>"
    assert (ws.closed, ws.close_code, ws.close_reason) == (True, 1000, "")


@pytest.mark.parametrize("contexts", ["gevent", "standard library"])
def test_echo_over_tls(serve: Any, certificate: Any, tls: Any, thread_tls: Any, contexts: str) -> None:
    """A context of the standard library must not make a socket that blocks the thread, and the server in it."""
    site = serve(echo, certfile=certificate["certfile"], keyfile=certificate["keyfile"])
    context = tls if contexts == "gevent" else thread_tls
    with connect(f"wss://localhost:{site.port}/", ssl=context, max_message_size=1 << 24) as ws:
        check_echo(ws)


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_echo_over_a_unix_socket(serve: Any, tmp_path: pathlib.Path, kind: Any) -> None:
    path = kind(tmp_path / "socket")
    listener = gsocket.socket(gsocket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    site_socket, answers = listener, []

    def relay() -> None:
        accepted, _ = site_socket.accept()
        peer = Peer(accepted)
        peer.read_request()
        answers.append(peer.headers["host"])
        peer.accept(frame(TEXT, "by unix", key=None))
        peer.rest()
        accepted.close()

    server = gevent.spawn(relay)
    serve(echo)
    ws = connect("ws://some.host/chat", unix_path=path, close_timeout=0)
    assert ws.wait() == "by unix"
    ws.close()
    server.get()
    listener.close()
    assert answers == ["some.host"]


@pytest.mark.parametrize("module", [gsocket, stdlib_socket])
def test_echo_over_a_socket_of_ones_own(serve: Any, module: Any) -> None:
    site = serve(echo)
    with connect("ws://some.host/", socket=module.create_connection(("127.0.0.1", site.port))) as ws:
        ws.send("mine")
        assert ws.wait() == "mine"
        fd = get_connection(ws).fd
    assert not is_open(fd)


def test_text_as_bytes(serve: Any) -> None:
    site = serve(echo)
    with connect(f"ws://127.0.0.1:{site.port}/", decode_text=False) as ws:
        ws.send("\u20ac")
        assert ws.wait() == b"\xe2\x82\xac"


def test_streaming(serve: Any) -> None:
    site = serve(echo)
    with connect(f"ws://127.0.0.1:{site.port}/", streaming=True, ping_interval=None) as ws:
        assert isinstance(ws, StreamingWebSocket)
        ws.send("x" * 300_000)
        gc.collect()
        assert "".join(ws.wait_pieces()) == "x" * 300_000
        ws.send(iter([b"in", b"", b"parts"]))
        assert ws.wait() == b"inparts"
    assert not is_open(get_connection(ws).fd)


def test_other_greenlets_run_meanwhile(serve: Any) -> None:
    site = serve(echo)
    with connect(f"ws://127.0.0.1:{site.port}/") as ws:
        gevent.spawn_later(0.01, ws.send, "late")
        assert ws.wait() == "late"


def test_monkey_patched(serve: Any, certificate: Any) -> None:
    """In a process of its own, with everything patched, contexts of the (patched) standard library included."""
    program = f"""if True:
        from gevent import monkey; monkey.patch_all()
        import ssl, sys
        from gevent import pywsgi
        from geventws import WebSocketWSGI
        from geventws.client import connect
        @WebSocketWSGI
        def echo(ws):
            for message in ws: ws.send(message)
        files = dict(certfile={certificate["certfile"]!r}, keyfile={certificate["keyfile"]!r})
        server = pywsgi.WSGIServer(("127.0.0.1", 0), echo, log=None, **files)
        server.start()
        context = ssl.create_default_context(cafile={certificate["ca_certs"]!r})
        with connect(f"wss://127.0.0.1:{{server.server_port}}/", ssl=context, proxy=None) as ws:
            ws.send("patched"); print(ws.wait())
    """
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program],
        capture_output=True,
        timeout=20,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr) == (b"patched\n", b"")


# ---- what is asked


def test_the_request(scripted: Any) -> None:
    server = scripted(Peer.accept)
    connect(f"{server.uri}a/b?c=\xe9", headers=[("X-A", "b"), ("Cookie", "c=d")]).close()
    peer = server.peers[0]
    assert peer.request == "GET /a/b?c=%C3%A9 HTTP/1.1"
    assert len(base64.b64decode(peer.headers.pop("sec-websocket-key"))) == 16
    assert peer.headers.pop("sec-websocket-extensions").startswith("permessage-deflate")
    assert peer.headers == {
        "host": server.address,
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "x-a": "b",
        "cookie": "c=d",
        "user-agent": "geventws",
    }


def test_options_of_the_request(scripted: Any) -> None:
    server = scripted(lambda peer: peer.accept(more="Sec-WebSocket-Protocol: news\r\n"))
    options = {"subprotocols": ["chat", "news"], "origin": "https://a.example", "compression": None}
    ws = connect(server.uri, headers={"User-Agent": "mine", "Host": "b.example"}, **options)
    ws.close()
    assert (ws.protocol, ws.origin) == ("news", "https://a.example")
    headers = server.peers[0].headers
    assert (headers["user-agent"], headers["host"], headers["origin"]) == ("mine", "b.example", "https://a.example")
    assert server.peers[0].names.count("host") == 1
    assert headers["sec-websocket-protocol"] == "chat, news"
    assert "sec-websocket-extensions" not in headers


def test_basic_auth_in_the_uri(scripted: Any) -> None:
    server = scripted(Peer.accept)
    connect(f"ws://Aladdin:open%20sesame@{server.address}/").close()
    connect(f"ws://Aladdin:open%20sesame@{server.address}/", headers={"Authorization": "Bearer 1"}).close()
    found = [peer.headers["authorization"] for peer in server.peers]
    assert found == ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Bearer 1"]


def test_keys_and_masks_are_new_each_time(scripted: Any) -> None:
    keys: list[bytes] = []
    done = [Event(), Event()]

    def script(peer: Peer) -> None:
        keys.append(peer.headers["sec-websocket-key"].encode())
        peer.accept()
        keys.extend(peer.read_frame()[2] for _ in range(3))
        done.pop().set()

    server = scripted(script)
    for event in reversed(done):
        ws = connect(server.uri)
        ws.send("same")
        ws.send("same")
        ws.ping()
        event.wait()
        ws.close()
    assert len(keys) == len(set(keys)) == 8


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"uri": "http://127.0.0.1/"}, InvalidURI),
        ({"uri": "ws://a..b/"}, InvalidURI),
        ({"headers": {"X-A": "b\r\nX-C: d"}}, ValueError),
        ({"headers": {"X A": "b"}}, ValueError),
        ({"headers": {"Sec-WebSocket-Key": "mine"}}, ValueError),
        ({"headers": {"Content-Length": "1"}}, ValueError),
        ({"subprotocols": "chat"}, TypeError),
        ({"subprotocols": ["a b"]}, ValueError),
        ({"origin": "a\nb"}, ValueError),
        ({"ssl": ssl.create_default_context()}, ValueError),
        ({"proxy": "socks4://127.0.0.1"}, InvalidURI),
        ({"headers": [("Host", "a.example"), ("host", "b.example")]}, ValueError),
        ({"uri": "wss://127.0.0.1:1/", "server_hostname": "a..b"}, ValueError),
        ({"socket": object(), "unix_path": "/tmp/x"}, ValueError),
        ({"unix_path": 7}, TypeError),
    ],
)
def test_options_that_cannot_be_are_refused_before_dialing(options: Any, error: type[Exception]) -> None:
    uri = options.pop("uri", "ws://127.0.0.1:1/")
    with pytest.raises(error):
        connect(uri, **options)
