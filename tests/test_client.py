"""client.py, dial.py and owned.py: openings, redirects, proxies, ends and reconnections, over real sockets."""

from __future__ import annotations

import base64
import gc
import itertools
import os
import pathlib
import re
import socket as stdlib_socket
import ssl
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent import subprocess as gsubprocess
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from raw import CLOSE, PING, PONG, TEXT, accept_for, apply_mask, close_payload, frame

from geventws import (
    HandshakeError,
    InvalidStatus,
    InvalidURI,
    StreamingWebSocket,
    WebSocket,
    WebSocketWSGI,
    client,
    dial,
    owned,
)
from geventws.client import connect, reconnect
from geventws.dial import ProxyError

ROOT = pathlib.Path(__file__).resolve().parent.parent
REFUSED = ("127.0.0.1", 1)  # nobody listens there


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the environment's proxies away."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def serve_client(ws: WebSocket) -> None:
    """Do what the first message, or the path, says."""
    if ws.path == "/environ":
        return ws.send(repr({key: value for key, value in ws.environ.items() if key.startswith("HTTP_")}))
    if ws.path == "/close":
        return ws.close(4000, "enough")
    for message in ws:
        ws.send(message)


echo = WebSocketWSGI(serve_client, subprotocols=["chat", "news"], origins=None, max_message_size=1 << 24)


class Peer:
    """One connection to a `Scripted` server: its request, and the bytes behind it."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self._data = bytearray()
        self.request = ""
        self.headers: dict[str, str] = {}

    def read_request(self) -> None:
        while b"\r\n\r\n" not in self._data:
            self._receive()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        self.request, *lines = head.decode("latin-1").split("\r\n")
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self._data += data

    def read(self, size: int) -> bytes:
        while len(self._data) < size:
            self._receive()
        result = bytes(self._data[:size])
        del self._data[:size]
        return result

    def read_frame(self) -> tuple[int, bytes, bytes]:
        """Return opcode, payload and mask key of a small frame; a client's must be masked (RFC 6455 5.1)."""
        first, second = self.read(2)
        assert second & 0x80 and second & 0x7F < 126
        key = self.read(4)
        return first & 0x0F, apply_mask(self.read(second & 0x7F), key), key

    def rest(self) -> bytes:
        """Return what comes up to the end."""
        try:
            while True:
                self._receive()
        except (EOFError, ConnectionError):
            return bytes(self._data)

    def accept(self, behind: bytes = b"", more: str = "") -> None:
        """Answer with a 101, and with bytes right behind it."""
        self.socket.sendall(self.answer(more) + behind)

    def answer(self, more: str = "") -> bytes:
        accept = accept_for(self.headers["sec-websocket-key"])
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        ).encode("latin-1")


class Scripted:
    """A server that does to each connection what a function says, and keeps what it was asked."""

    def __init__(self, script: Callable[[Peer], object], **tls: Any) -> None:
        self._script = script
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []
        self._server = StreamServer(("127.0.0.1", 0), self._serve, **tls)
        self._server.start()
        self.port: int = self._server.server_port
        self.address = f"127.0.0.1:{self.port}"
        self.uri = f"ws://{self.address}/"

    def _serve(self, socket: Any, _address: Any) -> None:
        peer = Peer(socket)
        self.peers.append(peer)
        try:
            peer.read_request()
            self._script(peer)
        except (EOFError, ConnectionError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            socket.close()

    def close(self) -> None:
        self._server.stop(1)
        assert self.errors == []


@pytest.fixture
def scripted(serve: Any) -> Iterator[Callable[..., Scripted]]:
    """Start a server with a script; `serve` sees to the deadline and to what is left behind."""
    servers: list[Scripted] = []

    def start(script: Callable[[Peer], object], **tls: Any) -> Scripted:
        servers.append(Scripted(script, **tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def answering(*parts: bytes) -> Callable[[Peer], None]:
    """Return a script that sends bytes, each in a segment of its own, and hangs up."""

    def script(peer: Peer) -> None:
        peer.socket.setsockopt(gsocket.IPPROTO_TCP, gsocket.TCP_NODELAY, 1)
        for part in parts:
            peer.socket.sendall(part)
            gevent.sleep(0)

    return script


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


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


def test_echo_over_a_unix_socket(serve: Any, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "socket")
    listener = gsocket.socket(gsocket.AF_UNIX)
    listener.bind(path)
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
    server = scripted(lambda peer: peer.socket.sendall(peer.answer().replace(*change)))
    with pytest.raises(HandshakeError, match=re.escape(why)) as caught:
        connect(server.uri, subprotocols=["chat"])
    assert caught.value.status == 0


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 101 Swi"])
def test_a_server_that_hangs_up(scripted: Any, sent: bytes) -> None:
    with pytest.raises(ConnectionResetError, match="hung up"):
        connect(scripted(answering(sent)).uri)


def test_nobody_listens() -> None:
    with pytest.raises(ConnectionRefusedError):
        connect("ws://127.0.0.1:1/")


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

    def script(peer: Peer) -> None:
        if peer.request.startswith("GET / "):
            peer.socket.sendall(f"HTTP/1.1 {status} x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
        else:
            peer.accept()
            peer.rest()

    return script


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
    assert len(server.peers) == 4
    with pytest.raises(InvalidStatus) as refused:
        connect(server.uri, max_redirects=0)
    assert refused.value.status == 302


def test_no_redirect_from_tls(scripted: Any, certificate: Any, tls: Any) -> None:
    files = {"certfile": certificate["certfile"], "keyfile": certificate["keyfile"]}
    server = scripted(redirecting("ws://127.0.0.1:1/"), **files)
    with pytest.raises(HandshakeError, match="from wss to ws"):
        connect(f"wss://127.0.0.1:{server.port}/", ssl=tls)


@pytest.mark.parametrize("location", ["/there", "ws://other.example/"])
def test_no_redirect_away_from_a_socket_that_was_given(scripted: Any, location: str) -> None:
    server = scripted(redirecting(location))
    with pytest.raises(HandshakeError, match="away from the socket"):
        connect(server.uri, socket=gsocket.create_connection(("127.0.0.1", server.port)))


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
    from geventws.uri import Proxy, parse_uri

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


def test_a_proxy_that_speaks_out_of_turn(scripted: Any) -> None:
    proxy = scripted(answering(b"HTTP/1.1 200 x\r\n\r\nHTTP/1.1 101 x\r\n\r\n"))
    with pytest.raises(HandshakeError, match="of its own behind its answer"):
        connect("ws://a.example/", proxy=proxy.address)


# ---- addresses


def tcp(place: tuple[str, int]) -> Any:
    return (gsocket.AF_INET, gsocket.SOCK_STREAM, 6, "", place)


def test_the_next_address_is_tried(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site = serve(echo)
    monkeypatch.setattr(dial, "_resolve", lambda *_: [tcp(REFUSED), tcp(("127.0.0.1", site.port))])
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
    monkeypatch.setattr(dial, "_resolve", lambda *_: [tcp(REFUSED), tcp(REFUSED)])
    with pytest.raises(ConnectionRefusedError, match="no address of a.example:80 answers"):
        connect("ws://a.example/", proxy=None)


def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(10, "a"), (10, "b"), (10, "c"), (2, "d")]
    monkeypatch.setattr(dial.gsocket, "getaddrinfo", lambda *_: found)
    assert dial._resolve("a.example", 80) == [(10, "a"), (2, "d"), (10, "b"), (10, "c")]
    assert [address[4] for address in dial._resolve("127.0.0.1", 80)] == [("127.0.0.1", 80)]


# ---- the end


def test_the_socket_is_closed_with_the_connection(serve: Any) -> None:
    site = serve(echo)
    ws = connect(f"ws://127.0.0.1:{site.port}/")
    assert is_open(ws.fd)
    ws.close(4001, "bye")
    assert not is_open(ws.fd)
    ws.close()
    assert (ws.close_code, ws.close_reason) == (4001, "bye")


def test_the_socket_is_closed_when_the_server_ends_it(serve: Any) -> None:
    site = serve(echo)
    ws = connect(f"ws://127.0.0.1:{site.port}/close")
    assert ws.wait() is None
    ws.wait_closed()
    assert not is_open(ws.fd)
    assert (ws.close_code, ws.close_reason) == (4000, "enough")


@pytest.mark.parametrize("reset", [False, True])
def test_the_socket_is_closed_when_the_connection_is_lost(scripted: Any, reset: bool) -> None:
    go = Event()

    def script(peer: Peer) -> None:
        peer.accept()
        go.wait()
        if reset:
            peer.socket.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    ws = connect(scripted(script).uri)
    go.set()
    assert ws.wait() is None
    gevent.idle()
    assert not is_open(ws.fd)
    assert ws.close_code == 1006


def test_a_server_that_does_not_hang_up(scripted: Any) -> None:
    done = Event()

    def script(peer: Peer) -> None:
        peer.accept()
        _, payload, _ = peer.read_frame()
        peer.socket.sendall(frame(CLOSE, payload, key=None))
        done.wait()

    ws = connect(scripted(script).uri)
    started = time.monotonic()
    ws.close()
    assert 0.5 < time.monotonic() - started < 3
    assert not is_open(ws.fd)
    assert ws.close_code == 1000
    done.set()


def test_a_breach_is_answered(scripted: Any) -> None:
    answers = []
    masked = frame(TEXT, "hi", key=b"abcd")
    server = scripted(lambda peer: [peer.accept(masked), answers.append(peer.read_frame()[:2])])
    ws = connect(server.uri)
    assert ws.wait() is None
    assert ws.close_code == 1002
    ws.close()
    assert answers[0][0] == CLOSE and answers[0][1][:2] == b"\x03\xea"


def test_keepalive(scripted: Any) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        for _ in range(3):
            opcode, payload, _ = peer.read_frame()
            assert opcode == PING
            peer.socket.sendall(frame(PONG, payload, key=None))
        peer.socket.sendall(frame(TEXT, "alive", key=None))
        peer.rest()

    with connect(scripted(script).uri, ping_interval=0.02, ping_timeout=None, close_timeout=0) as ws:
        assert ws.wait() == "alive"
        assert ws.latency > 0


def test_a_dead_server_is_noticed(scripted: Any) -> None:
    done = Event()
    server = scripted(lambda peer: [peer.accept(), done.wait()])
    ws = connect(server.uri, ping_interval=0.02, ping_timeout=0.05)
    assert ws.wait() is None
    assert ws.close_code == 1011
    done.set()


# ---- nobody has a hold of it


def check_dropped(site: Any, drop: Callable[[list[WebSocket]], object], **options: Any) -> None:
    """Drop a connection in some way: there is a warning, and the socket is closed."""
    held = [connect(f"ws://127.0.0.1:{site.port}/", **options)]
    fd, name = held[0].fd, re.escape(repr(held[0]))
    with pytest.warns(ResourceWarning, match=f"{name} was not closed"):
        drop(held)
        gc.collect()
    site.settle()
    assert not is_open(fd)


def test_a_connection_that_was_dropped_is_closed(serve: Any) -> None:
    check_dropped(serve(echo), list.clear)


def test_keepalive_keeps_nobody(serve: Any) -> None:
    check_dropped(serve(echo), list.clear, ping_interval=0.01, ping_timeout=None)


def test_a_connection_dropped_in_a_cycle(serve: Any) -> None:
    def drop(held: list[Any]) -> None:
        held.append(held)
        held[0].environ["me"] = held
        del held[:]

    check_dropped(serve(echo), drop)


def test_a_connection_dropped_in_another_thread(serve: Any, in_thread: Any) -> None:
    check_dropped(serve(echo), lambda held: in_thread(held.clear))


def test_a_closed_connection_that_is_dropped_says_nothing(serve: Any) -> None:
    site = serve(echo)
    connect(f"ws://127.0.0.1:{site.port}/").close()
    ws = connect(f"ws://127.0.0.1:{site.port}/close")
    assert ws.wait() is None
    del ws
    gc.collect()


def test_a_greenlet_that_waits_keeps_its_connection(serve: Any) -> None:
    site = serve(echo)
    received: list[Any] = []
    ws = connect(f"ws://127.0.0.1:{site.port}/")
    remote = weakref.ref(ws)

    def read(ws: WebSocket) -> None:
        received.extend(ws)

    reader = weakref.ref(gevent.spawn(read, ws))
    gevent.sleep(0)
    del ws
    gc.collect()
    remote().send("still there")
    while not received:
        gevent.sleep(0.001)
    assert received == ["still there"]
    assert owned._waiting
    remote().close()
    gevent.idle()
    gc.collect()
    assert reader() is remote() is None
    assert not owned._waiting


def run_program(program: str) -> bytes:
    """Run a program in a process of its own, while the loop goes on, and return its output."""
    arguments = [sys.executable, "-c", "if True:\n" + program]
    options = {"stdout": gsubprocess.PIPE, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    with gsubprocess.Popen(arguments, **options) as process:
        return process.communicate()[0]


def test_a_forked_child_leaves_the_connection_to_its_parent(serve: Any) -> None:
    site = serve(echo)
    program = f"""
        import os, gc, warnings
        warnings.simplefilter("ignore")
        from geventws.client import connect
        ws = connect("ws://127.0.0.1:{site.port}/", proxy=None)
        child = os.fork()
        if child == 0:
            fd = ws.fd
            del ws
            gc.collect()
            try: os.fstat(fd)
            except OSError: os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        ws.send("parent"); print(ws.wait()); ws.close()
    """
    assert run_program(program) == b"parent\n"


def test_a_connection_dropped_when_its_loop_is_gone(serve: Any) -> None:
    site = serve(echo)
    program = f"""
        import gc, gevent, os, threading
        from geventws.client import connect
        held = []
        def run():
            held.append(connect("ws://127.0.0.1:{site.port}/", proxy=None))
            gevent.get_hub().destroy(destroy_loop=True)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        fd = held[0].fd
        held.clear()
        gc.collect()
        try: os.fstat(fd)
        except OSError: print("closed")
    """
    assert run_program(program) == b"closed\n"


# ---- reconnecting


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays between attempts, which take no time here."""
    delays: list[float] = []
    monkeypatch.setattr(client, "_sleep", lambda _name, _why, delay: delays.append(delay))
    return delays


def statuses(*answers: str | None) -> Callable[[Peer], None]:
    """Return a script that gives these answers in turn; None is a 101."""
    turn = itertools.count()

    def script(peer: Peer) -> None:
        answer = answers[next(turn)]
        if answer is None:
            peer.accept(frame(TEXT, "here", key=None) + frame(CLOSE, b"", key=None))
            peer.rest()
        else:
            peer.socket.sendall(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())

    return script


def test_reconnect_waits_out_what_passes(scripted: Any, slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    server = scripted(statuses("503 x\r\nRetry-After: 7", None, "429 x", "500 x", None, None))
    received = []
    for ws in reconnect(server.uri, initial_delay=1, max_delay=4, ping_interval=None):
        received.extend(ws)
        assert ws.close_code == 1005
        if len(received) == 3:
            break
    assert ws.closed and not is_open(ws.fd)
    assert received == ["here"] * 3
    assert slept == [8, 2, 4, 4, 4]  # no connection lived long enough to begin anew


def test_reconnect_begins_anew_after_a_success(
    scripted: Any, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    server = scripted(statuses("500 x", "500 x", None, None, None))
    connections = reconnect(server.uri, initial_delay=1, reset_after=0, ping_interval=None)
    for _ in zip(range(3), connections, strict=False):
        pass
    connections.close()
    assert slept == [1, 2, 1, 1]


def test_reconnect_closes_what_it_gave(serve: Any, slept: list[float]) -> None:
    site = serve(echo)
    given = []
    for ws in reconnect(f"ws://127.0.0.1:{site.port}/"):
        given.append(ws)
        if len(given) == 3:
            break
    assert all(ws.closed and ws.close_code == 1000 for ws in given)


@pytest.mark.parametrize("answer", ["400 x", "401 x", "403 x", "404 x", "200 x"])
def test_reconnect_raises_what_does_not_pass(scripted: Any, slept: list[float], answer: str) -> None:
    with pytest.raises(InvalidStatus):
        next(reconnect(scripted(statuses(answer)).uri))
    assert slept == []


def test_reconnect_raises_what_cannot_be(
    serve: Any, certificate: Any, slept: list[float], hub_errors: list[Any]
) -> None:
    site = serve(echo, certfile=certificate["certfile"], keyfile=certificate["keyfile"])
    with pytest.raises(ssl.SSLCertVerificationError):
        next(reconnect(f"wss://127.0.0.1:{site.port}/"))
    with pytest.raises(InvalidURI):
        next(reconnect("http://127.0.0.1/"))
    with pytest.raises(ValueError):
        next(reconnect("ws://127.0.0.1/", initial_delay=2, max_delay=1))
    assert slept == []
    site.settle()
    hub_errors.clear()


def test_reconnect_gives_up(slept: list[float]) -> None:
    with pytest.raises(ConnectionRefusedError):
        next(reconnect("ws://127.0.0.1:1/", max_attempts=3))
    assert len(slept) == 2


def test_reconnect_says_what_it_waits_for(log: Any) -> None:
    with pytest.raises(ConnectionRefusedError):
        next(reconnect("ws://127.0.0.1:1/", max_attempts=2, initial_delay=0))
    assert [record.getMessage() for record in log()] == [
        "reconnect: [Errno 111] Connection refused; the next attempt follows in 0.0 s"
    ]


# ---- many

MANY = 5000
SERVER = """if True:
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    from geventws import WebSocketWSGI
    from geventws.server import WebSocketServer
    @WebSocketWSGI(ping_interval=None)
    def echo(ws):
        for message in ws: ws.send(message)
    server = WebSocketServer(("127.0.0.1", 0), echo, log=None)
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()
"""


def test_five_thousand_connections() -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY + 200
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"this test needs {wanted} descriptors (ulimit -Hn)"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    server = gsubprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=gsubprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        with gevent.Timeout(90):
            uri = f"ws://127.0.0.1:{int(server.stdout.readline())}/"
            check_many(uri)
    finally:
        server.kill()
        server.communicate()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def check_many(uri: str) -> None:
    """Open them all, have each one answered while all are open, and close them."""
    pool = Pool(200)
    sockets = pool.map(lambda _: connect(uri, open_timeout=60, ping_interval=None), range(MANY))
    assert len({ws.fd for ws in sockets}) == MANY
    for number, ws in enumerate(sockets):
        ws.send(str(number))
    assert [ws.wait(timeout=60) for ws in sockets] == [str(number) for number in range(MANY)]
    pool.map(lambda ws: ws.close(), sockets)
    assert not any(is_open(ws.fd) for ws in sockets)
