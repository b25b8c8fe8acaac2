"""Every server that gives out its socket, as users start it, with clients that others wrote."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import gevent
import pytest
import websocket
import websockets.sync.client
from kit import frames
from kit.clients import RawClient, handshake
from kit.programs.hosts import COMMANDS, Host
from kit.sites.eventlet import RESPONSE, request76
from websockets.exceptions import ConnectionClosed

NAMES = [(command, secure) for command in COMMANDS for secure in (False, True)]
MESSAGES = ["hello", "", b"", b"\x00\xff", "\u20ac\U0001f600", "x" * 126, b"y" * 65536, "z" * 1_000_000]
numbers = itertools.count()


@pytest.fixture(scope="module")
def hosts(certificate, tls) -> Iterator[dict[tuple[str, bool], Host]]:
    """All of them, started at once."""
    keys = certificate["certfile"], certificate["keyfile"]
    started = {}
    for command, secure in NAMES:
        started[command, secure] = Host(COMMANDS[command], *((keys, tls) if secure else ()))
    yield started
    for host in started.values():
        host.terminate()
    assert [host.wait() for host in started.values()] == [0] * len(started)


@pytest.fixture(params=NAMES, ids=[command + (" tls" if secure else "") for command, secure in NAMES])
def host(request, hosts) -> Iterator[Host]:
    """One of them; everything has to be done within a few seconds."""
    host = hosts[request.param].listening()
    with gevent.Timeout(30):
        yield host
    print(*host.lines[-20:], sep="\n")  # shown where a test fails


@pytest.fixture
def path() -> str:
    """A part of a path, of this test alone."""
    return str(next(numbers))


def connect(host: Host, path: str, frames: bytes = b"", **changed) -> RawClient:
    client = RawClient(host.port, host.tls)
    client.open(frames, path, **changed)
    return client


def url(host: Host, path: str) -> str:
    return f"{'wss' if host.tls else 'ws'}://127.0.0.1:{host.port}{path}"


def assert_one_access_line(host: Host, path: str, status: str = "101") -> None:
    """The log has one line for a path, also when a later request has been logged."""
    host.wait_for(f'"GET {path} HTTP')
    later = f"/page/{next(numbers)}"
    with RawClient(host.port, host.tls) as client:
        client.send(f"GET {later} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        assert client.read_head().status == "HTTP/1.1 200 OK"
        client.expect(b"page")
    host.wait_for(f'"GET {later} HTTP')
    assert host.statuses(path) == [status]


def test_the_answer_to_draft_76_is_one_write(host, path):
    """Clients of that time read once: over TLS, that is one record."""
    with RawClient(host.port, host.tls) as client:
        client.send(request76(f"/drafts/{path}"))
        assert client.read_some().endswith(b"\r\n\r\n" + RESPONSE)
        client.send(b"\x00hello\xff")
        client.expect(b"\x00hello\xff")
        client.send(b"\xff\x00")
        assert client.rest() == b"\xff\x00"
    assert_one_access_line(host, f"/drafts/{path}")


def test_websockets(host, thread_tls, path):
    ssl = thread_tls if host.tls else None
    with websockets.sync.client.connect(
        url(host, f"/echo/{path}"), ssl=ssl, subprotocols=["x", "chat"], proxy=None
    ) as client:
        assert client.subprotocol == "chat"
        for message in MESSAGES:
            client.send(message)
            assert client.recv(timeout=15) == message
        client.send(["in ", "three ", "parts"])
        assert client.recv(timeout=15) == "in three parts"
        assert client.ping().wait(5)
        client.close(4000, "bye")
        assert (client.close_code, client.close_reason) == (4000, "bye")
    assert_one_access_line(host, f"/echo/{path}")


def test_websockets_is_told_the_code_and_the_reason(host, thread_tls):
    ssl = thread_tls if host.tls else None
    with websockets.sync.client.connect(url(host, "/leave"), ssl=ssl, proxy=None) as client:
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=15)
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4321, "see you")


def test_websocket_client(host, certificate, path):
    client = websocket.create_connection(
        url(host, f"/echo/{path}"), timeout=5, subprotocols=["chat"], sslopt={"ca_certs": certificate["ca_certs"]}
    )
    try:
        for message in MESSAGES:
            client.send(message, frames.TEXT if isinstance(message, str) else frames.BINARY)
            opcode, data = client.recv_data()
            assert (data.decode() if opcode == frames.TEXT else data) == message
        client.ping("?")
        assert client.recv_data(control_frame=True) == (frames.PONG, b"?")
    finally:
        client.close(timeout=15)
    assert_one_access_line(host, f"/echo/{path}")


def test_early_frames_and_nothing_but_frames(host, path):
    early = frames.text("early") + frames.frame(frames.PING, b"1") + frames.binary(b"x" * 9000)
    with connect(host, f"/echo/{path}", early) as client:
        received = [client.read_frame() for _ in range(3)]
        data = [frame.payload for frame in received if frame.opcode != frames.PONG]
        assert data == [b"early", b"x" * 9000]
        client.leave()
    assert_one_access_line(host, f"/echo/{path}")


def test_upgrade_behind_plain_requests_on_one_connection(host, path):
    with RawClient(host.port, host.tls) as client:
        for _ in range(2):
            client.send(b"GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert client.read_head().status == "HTTP/1.1 200 OK"
            client.expect(b"page")
        client.open(frames.text("a"), f"/echo/{path}")
        client.expect(b"\x81\x01a")
        client.leave()
    assert_one_access_line(host, f"/echo/{path}")


def test_failing_handler(host, path):
    before = len(host.lines)
    with connect(host, f"/fail/{path}") as client:
        client.expect(b"\x81\x06before")
        client.expect_close(1011)
    assert_one_access_line(host, f"/fail/{path}")
    lines = host.lines[before:]
    assert sum("Traceback" in line for line in lines) == sum("LookupError: " in line for line in lines) == 1


@pytest.mark.parametrize("how", ["reset", "close"])
def test_client_gone_while_sending(host, path, how):
    before = len(host.lines)
    client = connect(host, f"/pour/{path}")
    assert client.read_frame().opcode == frames.BINARY
    getattr(client, how)()
    assert_one_access_line(host, f"/pour/{path}")
    assert not [line for line in host.lines[before:] if "Traceback" in line or "rror" in line]


@pytest.mark.parametrize(("route", "told"), [("watch", "ended"), ("work", "killed")])
@pytest.mark.parametrize(("how", "code"), [("leave", 1000), ("shut_down", 1006)])
def test_a_handler_that_waits_for_something_else_is_told_of_the_end(host, path, route, told, how, code):
    client = connect(host, f"/{route}/{path}")
    assert client.read_message() == "ready"
    getattr(client, how)()
    host.wait_for(f"^{told} /{route}/{path} {code}$")
    assert_one_access_line(host, f"/{route}/{path}")
    client.close()


def test_behind_middleware(host, path):
    with RawClient(host.port, host.tls) as client:
        assert client.open(frames.text("a"), f"/wrapped/{path}").get("x-wrapped") == "yes"
        client.expect(b"\x81\x01a")
        client.leave()
    assert_one_access_line(host, f"/wrapped/{path}")


@pytest.mark.parametrize("command", [name for name in COMMANDS if "gunicorn" in name])
def test_behind_middleware_that_has_read_the_body(hosts, command, path):
    with gevent.Timeout(30), connect(hosts[command, False].listening(), f"/emptied/{path}") as client:
        client.send(frames.text("a"))
        client.expect(b"\x81\x01a")
        client.leave()


@pytest.mark.parametrize("route", ["echo", "wrapped"])
@pytest.mark.parametrize(
    ("changed", "body", "status"),
    [
        ({"sec_websocket_version": "12"}, b"", "426"),
        ({"origin": "https://evil.example"}, b"", "403"),
        ({"content_length": "5"}, b"", "400"),
        ({"content_length": "5"}, b"hello", "400"),
        ({"transfer_encoding": "chunked"}, b"5\r\nhello\r\n0\r\n\r\n", "400"),
    ],
    ids=["version", "origin", "a body due", "a body and more", "chunks and more"],
)
def test_refused(host, path, route, changed, body, status):
    before = len(host.lines)
    with RawClient(host.port, host.tls) as client:
        behind = handshake(f"/page/behind/{path}") if body else b""
        client.send(handshake(f"/{route}/{path}", **changed) + body + behind)
        answer = client.read_head()
        assert answer.status.split()[1] == status
        client.read(int(answer.get("content-length")))
        if body or answer.get("connection").lower() == "close":
            assert client.rest() == b""
    assert_one_access_line(host, f"/{route}/{path}", status)
    assert host.statuses(f"/page/behind/{path}") == []
    lines = [line for line in host.lines[before:] if f"/{route}/{path}'" in line]
    assert len(lines) == 1 and f"refused with {status}" in lines[0]

