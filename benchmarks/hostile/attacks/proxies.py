"""Behind a proxy with a pool of connections: whether a request can hide in another one's body."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import dial, wire
from ..hosts import Victim
from ..peers import Peer
from .memory import Attack, Measure

NGINX = """\
daemon off; pid {folder}/pid; error_log {folder}/errors; worker_processes 1; {user}
events {{ }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    map $http_upgrade $upgraded {{ default upgrade; "" ""; }}
    upstream attacked {{ server 127.0.0.1:{server}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location /secret {{ return 403; }}
        location / {{
            proxy_pass http://attacked; proxy_http_version 1.1; proxy_request_buffering off;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgraded;
        }}
    }}
}}
"""
HAPROXY = """\
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
    option http-keep-alive
    http-reuse always
frontend proxy
    bind 127.0.0.1:{port}
    http-request deny if {{ path_beg /secret }}
    default_backend attacked
backend attacked
    server attacked 127.0.0.1:{server}
"""
COMMANDS = {"nginx": ("nginx", ["-p", "{folder}", "-c", "{file}"]), "haproxy": ("haproxy", ["-db", "-f", "{file}"])}
CONFIGURATIONS = {"nginx": NGINX, "haproxy": HAPROXY}
HIDDEN = b"GET /secret HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
PATIENCE = 2.0
"""Seconds in which the next user has to have his page."""

NEXT = b"GET /next HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@contextlib.contextmanager
def running(name: str, server: int) -> Iterator[int]:
    """Run a proxy in front of a server, and yield its port."""
    program, arguments = COMMANDS[name]
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if found is None:
        raise RuntimeError(f"{program} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "configuration"
        user = "user root;" if Path(folder).owner() == "root" else ""
        file.write_text(CONFIGURATIONS[name].format(folder=folder, server=server, port=port, user=user))
        words = [word.format(folder=folder, file=file) for word in arguments]
        with subprocess.Popen([found, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_until_up(port)
                yield port
            finally:
                process.terminate()


def wait_until_up(port: int) -> None:
    """Wait until somebody listens."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.05)
    raise RuntimeError("the proxy does not listen")


def chunked(head: bytes, body: bytes) -> bytes:
    """Return a request with its body in one chunk."""
    return head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def requests() -> list[bytes]:
    """Return what hides a request in the body of an upgrade offer."""
    heads = [(method, path) for method in ("GET", "POST", "PUT") for path in ("/echo", "/page")]
    sized = [wire.request(path, method=method, body=HIDDEN) for method, path in heads]
    return sized + [chunked(wire.request(path, method=method), HIDDEN) for method, path in heads]


def smuggled(proxy: str = "") -> Attack:
    """An attack: bodies with a request in them, through a proxy or none; counts what came of that which never may."""

    def attack(victim: Victim) -> Measure:
        with running(proxy, victim.port) if proxy else contextlib.nullcontext(victim.port) as port:
            wrong = sum(not undisturbed(lambda: dial.connect(port), data) for data in requests())
        return {"smuggled": wrong + sum("/secret" in line for line in victim.read_all())}

    return attack


def undisturbed(connect: Callable[[], Peer], data: bytes) -> bool:
    """Send what hides a request; return whether the next users of the pool get their own answers."""
    attacker = connect()
    attacker.send(data)
    attacker.drain(0.1)
    attacker.close()
    return all(own_answer(connect()) for _ in range(3))


def own_answer(user: Peer) -> bool:
    """Whether a user who asks for a page gets that page."""
    user.socket.settimeout(PATIENCE)
    with contextlib.closing(user):
        user.send(NEXT)
        try:
            user.read_head()
            while len(user.data) < len(b"/next 0"):
                user._receive()
        except OSError:
            return False
        return bytes(user.data) == b"/next 0"
