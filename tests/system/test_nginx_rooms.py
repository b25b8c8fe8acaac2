"""Clients that nginx routes by room, with the configuration that docs/scaling.rst shows: deploy/nginx-rooms.conf."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
import websocket
from kit.programs.proxies import nginx, running
from kit.servers.ports import free_port

pytestmark = pytest.mark.nginx
ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "deploy" / "nginx-rooms.conf"
ROOMS = [f"room-{number}" for number in range(16)]
BACKEND = """\
import os
from gevent import pywsgi
from geventws import WebSocketWSGI

@WebSocketWSGI
def serve(ws):
    ws.send(str(os.getpid()))
    ws.wait()

server = pywsgi.WSGIServer(("127.0.0.1", 0), serve, log=None)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
"""


def rendered(port: int, backends: list[int]) -> str:
    """Return the configuration with the ports of this test; each stands there once."""
    text = CONFIG.read_text()
    for there, here in {
        "listen 80;": f"listen 127.0.0.1:{port};",
        "server 127.0.0.1:8001;": f"server 127.0.0.1:{backends[0]};",
        "server 127.0.0.1:8002;": f"server 127.0.0.1:{backends[1]};",
    }.items():
        assert text.count(there) == 1, there
        text = text.replace(there, here)
    return text


@contextlib.contextmanager
def backend() -> Iterator[tuple[subprocess.Popen[str], int]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # installed or not
    with running([sys.executable, "-c", BACKEND], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())


def ask(port: int, room: str) -> int:
    """Return the process that serves a client of a room."""
    with contextlib.closing(websocket.create_connection(f"ws://127.0.0.1:{port}/?room={room}", timeout=10)) as ws:
        return int(ws.recv())


def test_all_clients_of_a_room_reach_the_same_process(tmp_path: pathlib.Path) -> None:
    with backend() as (one, first), backend() as (other, second):
        port = free_port()
        with nginx(tmp_path, rendered(port, [first, second]), port):
            homes = {room: ask(port, room) for room in ROOMS}
            assert set(homes.values()) == {one.pid, other.pid}
            for _ in range(3):
                assert {room: ask(port, room) for room in ROOMS} == homes
            one.terminate()
            one.wait(10)
            assert {ask(port, room) for room in ROOMS} == {other.pid}  # they come back where there is somebody
