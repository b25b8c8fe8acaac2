"""Behind a real nginx, with the very configuration that docs/proxy.rst shows (deploy/nginx.conf)."""

from __future__ import annotations

import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import websocket
from kit.programs.proxies import nginx, running
from kit.servers.ports import free_port

pytestmark = pytest.mark.nginx
ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "deploy" / "nginx.conf"
BACKEND = """\
from gevent import pywsgi
from geventws import WebSocketWSGI

@WebSocketWSGI(ping_interval=0.3)
def serve(ws):
    for message in ws:
        if message == "leave":
            return ws.close(4001, "as you wish")
        if message == "who":
            message = ws.environ["HTTP_X_FORWARDED_PROTO"] + " " + ws.environ["HTTP_HOST"]
        ws.send(message)

server = pywsgi.WSGIServer(("127.0.0.1", 0), serve, log=None)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
"""


class Site(NamedTuple):
    """Where nginx listens, and what a client needs to trust it."""

    port: int
    tls_port: int
    trust: ssl.SSLContext

    def connect(self, tls: bool = False, **options) -> websocket.WebSocket:
        url = f"wss://localhost:{self.tls_port}/" if tls else f"ws://localhost:{self.port}/"
        options.setdefault("suppress_origin", "origin" not in options)
        return websocket.create_connection(url, timeout=10, sslopt={"context": self.trust}, **options)


def rendered(site: Site, backend: int, certificate: dict[str, str]) -> str:
    """deploy/nginx.conf with the ports, the paths and the timeout of this test; each stands there once."""
    text = CONFIG.read_text()
    for there, here in {
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{backend};",
        "listen 80;": f"listen 127.0.0.1:{site.port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{site.tls_port} ssl;",
        "server_name chat.example;": "server_name localhost chat.example;",
        "/etc/ssl/chat.example/fullchain.pem": certificate["certfile"],
        "/etc/ssl/chat.example/privkey.pem": certificate["keyfile"],
        "proxy_read_timeout 60s;": "proxy_read_timeout 1s;",
    }.items():
        assert text.count(there) == 1, there
        text = text.replace(there, here)
    return text


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, certificate: dict[str, str], thread_tls: ssl.SSLContext
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nginx")
    site = Site(free_port(), free_port(), thread_tls)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # installed or not
    with running([sys.executable, "-c", BACKEND], stdout=subprocess.PIPE, env=environment) as backend:
        assert backend.stdout is not None
        port = int(backend.stdout.readline())
        with nginx(folder, rendered(site, port, certificate), site.port):
            yield site


both = pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])


@both
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000])
def test_echo(site: Site, tls: bool, size: int) -> None:
    ws = site.connect(tls)
    ws.send_binary(bytes(i % 251 for i in range(size)))
    assert ws.recv() == bytes(i % 251 for i in range(size))
    ws.send("grüße")
    assert ws.recv() == "grüße"
    ws.close()


@both
def test_the_backend_sees_scheme_and_host_as_the_browser_named_them(site: Site, tls: bool) -> None:
    ws = site.connect(tls)
    ws.send("who")
    assert ws.recv() == (f"https localhost:{site.tls_port}" if tls else f"http localhost:{site.port}")
    ws.close()


@both
def test_same_origin_gets_in(site: Site, tls: bool) -> None:
    origin = f"https://localhost:{site.tls_port}" if tls else f"http://localhost:{site.port}"
    site.connect(tls, origin=origin).close()


def test_same_origin_gets_in_on_default_ports(site: Site) -> None:
    site.connect(True, origin="https://chat.example", host="chat.example").close()


@both
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_another_origin_is_refused(site: Site, tls: bool, origin: str) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
        site.connect(tls, origin=origin)
    assert refusal.value.status_code == 403


@both
def test_close_code_and_reason_come_through(site: Site, tls: bool) -> None:
    ws = site.connect(tls)
    ws.send("leave")
    opcode, payload = ws.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    assert payload == (4001).to_bytes(2, "big") + b"as you wish"
    ws.shutdown()


def test_pings_keep_an_idle_connection_open(site: Site) -> None:
    """Twice the proxy's read timeout goes by with nothing but pings."""
    ws = site.connect()
    end = time.monotonic() + 2.2
    while time.monotonic() < end:
        opcode, _ = ws.recv_data(control_frame=True)
        assert opcode == websocket.ABNF.OPCODE_PING  # and it has been answered
    ws.send("still here")
    assert ws.recv() == "still here"
    ws.close()


def test_a_plain_request_gets_a_plain_answer(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: plain.recv(65536), b""))
    assert re.match(rb"HTTP/1\.1 400 ", answer), answer


def test_the_page_shows_this_configuration() -> None:
    shown = "".join(f"    {line}" if line.strip() else line for line in CONFIG.read_text().splitlines(True))
    assert shown in (ROOT / "docs" / "proxy.rst").read_text()
