"""client.py: what is asked, what is answered, and the connection that comes out, over real sockets."""

from __future__ import annotations

import base64
import gc
import os
import pathlib
import re
import socket as stdlib_socket
import ssl
import subprocess
import sys
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event
from kit.raw import CLOSE, PING, TEXT, close_payload, frame
from kit.scripted import ROOT, Peer, answering, echo, is_open

from geventws import HandshakeError, InvalidStatus, InvalidURI, StreamingWebSocket, WebSocket
from geventws.client import dial
from geventws.client.opening import connect

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
        fd = ws.fd
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
    assert not is_open(ws.fd)


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
        ({"proxy": "socks5://127.0.0.1"}, InvalidURI),
        ({"socket": object(), "unix_path": "/tmp/x"}, ValueError),
        ({"unix_path": 7}, TypeError),
    ],
)
def test_options_that_cannot_be_are_refused_before_dialing(options: Any, error: type[Exception]) -> None:
    uri = options.pop("uri", "ws://127.0.0.1:1/")
    with pytest.raises(error):
        connect(uri, **options)


# ---- what is answered


def test_messages_right_behind_the_101(scripted: Any) -> None:
    messages = frame(TEXT, "one", key=None) + frame(PING, "p", key=None) + frame(TEXT, "two", key=None)
    server = scripted(lambda peer: [peer.accept(messages), peer.rest()])
    with connect(server.uri, close_timeout=0) as ws:
        assert [ws.wait(), ws.wait()] == ["one", "two"]


def test_a_close_right_behind_the_101(scripted: Any) -> None:
    goodbye = frame(TEXT, "one", key=None) + frame(CLOSE, close_payload(4000, "full"), key=None)
    server = scripted(lambda peer: [peer.accept(goodbye), peer.rest()])
    ws = connect(server.uri)
    assert [ws.wait(), ws.wait()] == ["one", None]
    assert (ws.close_code, ws.close_reason) == (4000, "full")


def test_an_answer_byte_by_byte_after_interim_ones(scripted: Any) -> None:
    def script(peer: Peer) -> None:
        head = b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 100 \r\n\r\n" + peer.answer()
        data = head + frame(TEXT, "hi", key=None)
        answering(*(data[at : at + 1] for at in range(len(data))))(peer)
        peer.rest()

    with connect(scripted(script).uri, close_timeout=0) as ws:
        assert ws.wait() == "hi"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"Content-Length: 5\r\n\r\nhello more", b"hello"),
        (b"Content-Length: 50\r\n\r\nhello", b"hello"),
        (b"Content-Length: 0\r\n\r\n", b""),
        (b"\r\nup to the end", b"up to the end"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x\r\n world\r\n0\r\n\r\n", b"hello world"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", b"hel"),
        (b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 12_000 + b"0\r\n\r\n", b"x" * 12_000),
        (b"Transfer-Encoding: chunked\r\n\r\n186a0\r\n" + bytes(100_000), bytes(65536)),
        (b"\r\n" + bytes(100_000), bytes(65536)),
        (b"Content-Length: 100000\r\n\r\n" + bytes(100_000), bytes(65536)),
    ],
)
def test_a_refusal_carries_what_the_server_says(scripted: Any, answer: bytes, body: bytes) -> None:
    server = scripted(answering(b"HTTP/1.1 403 Forbidden\r\nX-Why: not you\r\n", answer))
    with pytest.raises(InvalidStatus, match="status 403") as caught:
        connect(server.uri)
    assert caught.value.status == 403
    assert caught.value.headers[0] == ("X-Why", "not you")
    assert caught.value.body == body


def test_a_body_of_nothing_but_overhead_ends(scripted: Any) -> None:
    sent: list[int] = []

    def script(peer: Peer) -> None:
        peer.socket.sendall(b"HTTP/1.1 403 x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            peer.socket.sendall(b"1;" + bytes([97]) * 65_000 + b"\r\nx\r\n")
            sent.append(65_000)

    server = scripted(script)
    with pytest.raises(InvalidStatus) as caught:
        connect(server.uri)
    assert set(caught.value.body) == set(b"x") and len(caught.value.body) < 20
    gevent.sleep(0)
    assert sum(sent) < 20_000_000  # the kernel's buffers, and no more than them and a part of a megabyte


def test_a_body_that_does_not_come_delays_the_error_for_a_moment(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "BODY_TIMEOUT", 0.05)
    done = Event()
    server = scripted(lambda peer: [answering(b"HTTP/1.1 500 x\r\n\r\nhalf")(peer), done.wait()])
    with pytest.raises(InvalidStatus) as caught:
        connect(server.uri)
    assert caught.value.body == b"half"
    done.set()


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("framing", ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
def test_an_answer_that_can_have_no_body_is_told_at_once(scripted: Any, status: int, framing: str) -> None:
    done = Event()
    head = f"HTTP/1.1 {status} x\r\n{framing}\r\n".encode()
    server = scripted(lambda peer: [answering(head)(peer), done.wait()])
    with gevent.Timeout(dial.BODY_TIMEOUT / 2), pytest.raises(InvalidStatus) as caught:
        connect(server.uri)
    assert (caught.value.status, caught.value.body) == (status, b"")
    done.set()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ((b"HTTP/1.1 101", b"HTTP/1.0 101"), "answers in HTTP/1.0"),
        ((b"HTTP/1.1 101", b"HTTP/3 101"), "is not HTTP"),
        ((b"Upgrade: WebSocket", b"Upgrade: h2c"), "the Upgrade 'h2c'"),
        ((b"Upgrade: WebSocket\r\n", b""), "no Upgrade"),
        ((b"Connection: keep-alive, Upgrade", b"Connection: close"), "Connection"),
        ((b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x"), "Sec-WebSocket-Accept"),
        ((b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: other\r\n\r\n"), "Sec-WebSocket-Protocol"),
        ((b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: other\r\n\r\n"), "Sec-WebSocket-Extensions"),
        ((b"\r\n\r\n", b"\r\n folded\r\n\r\n"), "is not HTTP"),
        ((b"\r\n\r\n", b"\r\nX: " + bytes([65]) * 70_000), "longer than 65536 bytes"),
    ],
)
def test_an_answer_that_makes_no_websocket(scripted: Any, change: tuple[bytes, bytes], why: str) -> None:
    answer = "X-Why: busy\r\n"
    server = scripted(lambda peer: peer.socket.sendall(peer.answer(answer).replace(*change)))
    with pytest.raises(HandshakeError, match=re.escape(why)) as caught:
        connect(server.uri, subprotocols=["chat"])
    if "is not HTTP" in why or "longer than" in why:  # there is no answer to carry
        assert (caught.value.status, caught.value.headers, caught.value.body) == (0, [], b"")
    else:
        assert (caught.value.status, caught.value.body) == (101, b"")
        assert ("X-Why", "busy") in caught.value.headers


def test_parameters_of_an_extension_that_were_not_offered(scripted: Any) -> None:
    extension = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n"
    with pytest.raises(HandshakeError) as caught:
        connect(scripted(lambda peer: peer.accept(more=extension)).uri)
    assert (caught.value.status, caught.value.option) == (101, "compression")
    assert [name for name, _ in caught.value.headers][-1] == "Sec-WebSocket-Extensions"


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 101 Swi"])
def test_a_server_that_hangs_up(scripted: Any, sent: bytes) -> None:
    with pytest.raises(ConnectionResetError, match="hung up"):
        connect(scripted(answering(sent)).uri)


def test_nobody_listens() -> None:
    with pytest.raises(ConnectionRefusedError):
        connect("ws://127.0.0.1:1/")
