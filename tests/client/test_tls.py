"""dial.py and opening.py: TLS where there is none and none where there is, names of certificates, over real sockets."""

from __future__ import annotations

import pathlib
import re
import ssl
import struct
from collections.abc import Callable
from typing import Any

import gevent
import gevent.ssl
import pytest
from gevent import pywsgi
from gevent import socket as gsocket
from gevent.event import Event
from gevent.server import StreamServer
from kit.programs.hosts import COMMANDS, Host
from kit.servers.scripted import Peer, answering, check_through, echo, tunnel

from geventws import HandshakeError, connect
from geventws.client import dial
from geventws.client.reconnection import reconnect
from geventws.server import WebSocketServer
from geventws.websocket import get_connection

PLAIN = r"the server does not speak TLS, but says 'HTTP/1.[01] 4\d\d .*'; ws:// is for such servers"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a silent server without delay."""
    monkeypatch.setattr(dial, "PLAIN_DELAY", 0.0)


@pytest.fixture
def listen(serve: Any) -> Any:
    """Serve connections with a function of the socket and of its number; return the port."""
    servers: list[StreamServer] = []

    def listen(function: Callable[[Any, int], object]) -> int:
        accepted = iter(range(100))
        server = StreamServer(("127.0.0.1", 0), lambda socket, _address: function(socket, next(accepted)))
        servers.append(server)
        server.start()
        return server.server_port

    yield listen
    for server in servers:
        server.stop(1)


def wait_for_a_line(socket: Any, _number: int = 0) -> None:
    """Be a server that takes the hello of TLS for a line that has not ended."""
    data = b""
    while b"\r\n" not in data and (more := socket.recv(65536)):
        data += more
    if b"\r\n" in data:
        socket.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


# ---- TLS to a plain port


@pytest.mark.parametrize("server", [pywsgi.WSGIServer, WebSocketServer])
@pytest.mark.parametrize("context", [None, ssl.create_default_context()], ids=["default", "given"])
def test_tls_to_a_plain_server(serve: Any, at_once: None, server: Any, context: Any) -> None:
    site = serve(echo, server_class=server)
    for call in (connect, lambda *args, **more: next(reconnect(*args, **more))):
        with pytest.raises(HandshakeError, match=PLAIN) as caught:
            call(f"wss://localhost:{site.port}/", ssl=context)
        assert (caught.value.status, caught.value.headers, caught.value.body) == (0, [], b"")


@pytest.mark.parametrize("server", [pywsgi.WSGIServer, WebSocketServer])
def test_our_own_servers_need_not_be_asked(serve: Any, monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
    monkeypatch.setattr(dial, "PLAIN_DELAY", 1000.0)
    site = serve(echo, server_class=server)
    with pytest.raises(HandshakeError, match=PLAIN):
        connect(f"wss://localhost:{site.port}/")


@pytest.mark.parametrize("worker", [name for name in COMMANDS if "gunicorn" in name])
def test_tls_to_a_plain_gunicorn(serve: Any, at_once: None, worker: str) -> None:
    host = Host(COMMANDS[worker]).listening()
    try:
        with pytest.raises(HandshakeError, match=PLAIN):
            connect(f"wss://localhost:{host.port}/")
    finally:
        host.terminate()
        host.wait()


def test_tls_to_a_plain_server_behind_a_proxy(scripted: Any, listen: Any, at_once: None) -> None:
    proxy = scripted(tunnel)
    with pytest.raises(HandshakeError, match=PLAIN):
        connect(f"wss://localhost:{listen(wait_for_a_line)}/", proxy=proxy.address)
    assert len(proxy.peers) == 2


def test_tls_to_a_plain_unix_socket(serve: Any, at_once: None, tmp_path: pathlib.Path) -> None:
    serve(echo)
    with gsocket.socket(gsocket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        server = StreamServer(listener, lambda socket, _address: wait_for_a_line(socket))
        server.start()
        with pytest.raises(HandshakeError, match=PLAIN):
            connect("wss://some.host/", unix_path=tmp_path / "socket")
        server.stop(1)


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.6\r\n", b"2", b"220 mail.example ESMTP\r\n", b"\x05\x00", b"\n"])
def test_a_server_that_says_something_else(listen: Any, said: bytes) -> None:
    port = listen(lambda socket, _number: [socket.sendall(said), socket.recv(65536)])
    shown = ascii(said.split(b"\r\n")[0].strip().decode())
    with pytest.raises(HandshakeError, match=f"does not speak TLS, but says {re.escape(shown)}; "):
        connect(f"wss://localhost:{port}/")


def test_a_server_that_says_nothing_to_a_socket_that_was_given(listen: Any) -> None:
    """There is no second connection to be had, and the deadline says what may be wrong."""
    port = listen(wait_for_a_line)
    given = gsocket.create_connection(("127.0.0.1", port))
    late = f"wss://localhost:{port}/ did not open within 0.05 s (option: open_timeout): the TLS handshake did not end"
    with pytest.raises(TimeoutError, match=re.escape(late)):
        connect(f"wss://localhost:{port}/?token=secret", socket=given, open_timeout=0.05)


def test_a_timeout_of_the_callers_own(listen: Any) -> None:
    port = listen(wait_for_a_line)
    with gevent.Timeout(0.05) as mine, pytest.raises(gevent.Timeout) as caught:
        connect(f"wss://localhost:{port}/")
    assert caught.value is mine


def test_a_slow_server_of_tls_is_asked_and_waited_for(
    listen: Any, certificate: Any, tls: Any, at_once: None
) -> None:
    """The question is an alert to it, and the connection that waits is not touched."""
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate["certfile"], certificate["keyfile"])
    asked, failures = Event(), []

    def serve_late(socket: Any, number: int) -> None:
        if number:
            try:
                context.wrap_socket(socket, server_side=True)
            except ssl.SSLError as error:
                failures.append(error)
            socket.close()
            return asked.set()
        asked.wait()
        with context.wrap_socket(socket, server_side=True) as safe:
            peer = Peer(safe)
            peer.read_request()
            peer.accept()
            peer.rest()

    connect(f"wss://localhost:{listen(serve_late)}/", ssl=tls, close_timeout=0).close()
    assert len(failures) == 1


def test_no_answer_to_the_question_is_no_answer(listen: Any, at_once: None) -> None:
    """Not even one that is refused: the server may be busy."""
    numbers: list[int] = []
    port = listen(lambda socket, number: [numbers.append(number), socket.recv(65536) and number or socket.recv(1)])
    with pytest.raises(TimeoutError, match="the TLS handshake did not end; with a server"):
        connect(f"wss://localhost:{port}/", open_timeout=0.1)
    assert numbers == [0, 1]


@pytest.mark.parametrize("reset", [False, True])
def test_a_server_that_hangs_up_in_the_handshake(listen: Any, reset: bool) -> None:
    def hang_up(socket: Any, _number: int) -> None:
        socket.recv(65536)
        if reset:
            socket.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_LINGER, struct.pack("ii", 1, 0))

    with pytest.raises(ConnectionResetError):
        connect(f"wss://localhost:{listen(hang_up)}/")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 101 Swi"])
def test_tls_that_is_cut_short(scripted: Any, secure: Any, sent: bytes) -> None:
    """The stream ends without the alert that says so (RFC 8446 6.1)."""
    files = {name: secure[name] for name in ("certfile", "keyfile")}
    server = scripted(lambda peer: [answering(sent)(peer), peer.socket._sock.shutdown(gsocket.SHUT_RDWR)], **files)
    with pytest.raises(ConnectionResetError, match="the server hung up"):
        connect(f"wss://{server.address}/", ssl=secure["tls"])


# ---- none to a port of TLS


@pytest.mark.parametrize("server", [pywsgi.WSGIServer, WebSocketServer])
def test_a_plain_request_to_a_server_of_tls(serve: Any, secure: Any, server: Any, hub_errors: list[Any]) -> None:
    site = serve(echo, server_class=server, **secure)
    why = "the server hung up without an answer; a server for wss:// only does that"
    with pytest.raises(ConnectionResetError, match=why):
        connect(f"ws://localhost:{site.port}/")
    site.settle()
    hub_errors.clear()  # what gevent says of handshakes that fail


@pytest.mark.parametrize("said", [b"\x15\x03\x01\x00\x02\x02\x46", b"\x15"])
def test_a_server_that_answers_in_tls(scripted: Any, said: bytes) -> None:
    server = scripted(lambda peer: [answering(said)(peer), peer.rest()])
    why = "is not HTTP: it is TLS, for which the URI must begin with wss://"
    with pytest.raises(HandshakeError, match=f"the answer of the server {why}"):
        connect(server.uri)
    with pytest.raises(HandshakeError, match=f"the answer of the proxy http://{server.address} {why}"):
        connect("ws://a.example/", proxy=server.address)


# ---- names


def names_asked_for(certificate: Any) -> tuple[ssl.SSLContext, list[str | None]]:
    """Return a server's context, and the names that clients ask for (RFC 6066 3)."""
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate["certfile"], certificate["keyfile"])
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    return context, asked


@pytest.mark.parametrize(
    ("host", "name"),
    [("localhost.", None), ("LOCALHOST", None), ("other.example", "localhost."), ("other.example", "Localhost")],
)
def test_a_certificate_names_no_root(serve: Any, certificate: Any, tls: Any, host: str, name: str | None) -> None:
    context, asked = names_asked_for(certificate)
    site = serve(echo, ssl_context=context)
    given = gsocket.create_connection(("127.0.0.1", site.port))
    check_through(f"wss://{host}/", ssl=tls, server_hostname=name, socket=given)
    assert asked == ["localhost"]


def test_the_dot_is_the_servers_to_see(scripted: Any, secure: Any) -> None:
    files = {name: secure[name] for name in ("certfile", "keyfile")}
    server = scripted(lambda peer: [peer.accept(), peer.rest()], **files)
    given = gsocket.create_connection(("127.0.0.1", server.port))
    connect("wss://localhost.:81/", ssl=secure["tls"], socket=given, close_timeout=0).close()
    assert server.peers[0].headers["host"] == "localhost.:81"


@pytest.mark.parametrize("host", ["fa\xdf.de", "xn--fa-hia.de"])
def test_international_names(serve: Any, authority: Any, tls: Any, host: str) -> None:
    server = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("xn--fa-hia.de").configure_cert(server)
    site = serve(echo, ssl_context=server)
    for uri, name in ((f"wss://{host}/", None), ("wss://other.example/", host)):
        given = gsocket.create_connection(("127.0.0.1", site.port))
        check_through(uri, ssl=tls, server_hostname=name, socket=given)


def test_the_zone_of_an_address_is_for_connecting_alone(scripted: Any) -> None:
    """1 is the number of the loopback interface, on which nobody but ourselves listens."""
    with gsocket.socket(gsocket.AF_INET6) as listener:
        listener.bind(("::1", 0, 0, 1))
        listener.listen()
        hosts: list[str] = []

        def serve_one(socket: Any, _address: Any) -> None:
            peer = Peer(socket)
            peer.read_request()
            hosts.append(peer.headers["host"])
            peer.accept()
            peer.rest()
            socket.close()

        scripted(answering())
        server = StreamServer(listener, serve_one)
        server.start()
        port = listener.getsockname()[1]
        ws = connect(f"ws://[::1%251]:{port}/", close_timeout=0)
        assert get_connection(ws).peer == f"ws://[::1%251]:{port}/"
        ws.close()
        server.stop(1)
    assert hosts == [f"[::1]:{port}"]
