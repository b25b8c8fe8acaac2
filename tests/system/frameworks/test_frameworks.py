"""The examples for the web frameworks, each as its users start it, with a real framework and real sockets."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import gevent
import pytest
import websocket
from kit.clients import Answer, RawClient, handshake
from kit.frames import binary, close, text
from kit.programs.hosts import ROOT, Host

FOLDER = ROOT / "examples" / "frameworks"
FRAMEWORKS = ["flask", "bottle", "django", "pyramid", "falcon"]
GUNICORN = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--access-logfile", "-"]
GUNICORN += ["--graceful-timeout", "1", "--chdir", str(FOLDER)]
COMMANDS = {name: [sys.executable, str(FOLDER / f"{name}_app.py"), "0"] for name in FRAMEWORKS}
COMMANDS |= {f"{name}, -k gevent": [*GUNICORN, "-k", "gevent", f"{name}_app:application"] for name in FRAMEWORKS}
COMMANDS["django, our worker"] = [*GUNICORN, "-k", "geventws.gunicorn.Worker", "django_app:application"]
COMMANDS["flask, -k gevent_pywsgi"] = [*GUNICORN, "-k", "gevent_pywsgi", "flask_app:application"]
PAGE = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    """Those that a test has needed so far: all at once would take too long to start on a small machine."""
    started: dict[str, Host] = {}
    yield started
    for host in started.values():
        host.terminate()
    assert {host.wait() for host in started.values()} <= {0, -signal.SIGTERM}


@pytest.fixture(params=COMMANDS)
def host(request, hosts) -> Iterator[Host]:
    """One of them; everything has to be done within a few seconds."""
    name = request.param
    if name not in hosts:
        hosts[name] = Host(COMMANDS[name]).listening()
    host = hosts[name]
    with gevent.Timeout(30):
        yield host
    assert not [line for line in host.lines if line.startswith("Traceback")], "\n".join(host.lines)


def connect(host: Host, path: str, frames: bytes = b"", **changed) -> RawClient:
    client = RawClient(host.port)
    client.open(frames, path, **changed)
    return client


def request(host: Host, data: bytes) -> tuple[Answer, bytes]:
    """Return the answer to a request, and its body as it is on the wire; without a length, the connection must end."""
    with RawClient(host.port) as client:
        client.send(data)
        answer = client.read_head()
        length = answer.get("content-length")
        return answer, client.rest() if length is None else client.read(int(length))


def test_messages_and_a_close_with_its_code(host):
    messages = ["hello", "", "\u20ac\U0001f600", b"", b"\x00\xff", "x" * 70_000, b"y" * 1_000_000]
    client = connect(host, "/echo", text("early"))
    assert client.read_message() == "early"
    for message in messages:
        client.send(text(message) if isinstance(message, str) else binary(message))
        assert client.read_message() == message
    client.leave(4001, "bye")
    host.wait_for(r'"GET /echo HTTP/1.1" 101 ')


def test_a_client_that_others_wrote(host):
    client = websocket.create_connection(f"ws://127.0.0.1:{host.port}/echo", timeout=15)
    try:
        client.send("hello")
        assert client.recv() == "hello"
    finally:
        client.close()


def test_what_the_view_returns_never_gets_there(host):
    with connect(host, "/echo") as client:
        client.send(close(1000))
        assert client.rest() == b"\x88\x02\x03\xe8"  # the close frame, and nothing behind it


def test_pages_are_served_as_before(host):
    answer, body = request(host, PAGE % b"/")
    assert answer.status == "HTTP/1.1 200 OK" and b"a page" in body
    answer, body = request(host, PAGE % b"/echo")
    assert b"WebSocket" in body
    answer, _ = request(host, PAGE % b"/nowhere")
    assert answer.status.startswith("HTTP/1.1 404 ")


def test_handshake_may_be_refused_with_a_status(host):
    answer, body = request(host, handshake("/private") + text("early"))
    assert answer.status.startswith("HTTP/1.1 403 ") and answer.get("upgrade") is None and body
    client = connect(host, "/private?key=open+sesame", text("a"))
    client.expect(b"\x81\x01a")
    client.leave()


def test_handshake_at_no_path_of_the_framework(host):
    answer, _ = request(host, handshake("/nowhere"))
    assert answer.status.startswith("HTTP/1.1 404 ")


def test_page_of_another_site_may_not_connect(host):
    answer, _ = request(host, handshake("/echo", origin="https://evil.example"))
    assert answer.status.startswith("HTTP/1.1 403 ")


def test_peer_that_is_lost(host):
    client = connect(host, "/echo")
    client.send(text("x" * 100_000) * 10)
    client.reset()


def test_many_at_once(host):
    clients = [connect(host, "/echo") for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(text(str(number)))
    assert [client.read_message() for client in clients] == [str(number) for number in range(20)]
    for client in clients:
        client.leave()
