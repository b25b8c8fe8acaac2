"""Flask-SocketIO on geventws, talked to by the JavaScript client under Node: see app.py and client.mjs."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from kit.documents.blocks import Block, program, read_blocks
from kit.documents.talks import Place
from kit.programs.hosts import ROOT, START, Host
from kit.servers.ports import free_port

FOLDER = pathlib.Path(__file__).parent
CLIENT = FOLDER / "client.mjs"
MODULES = ROOT / "build" / "node"
SCENARIOS = re.findall(r'^  async "(.+)"\(\)', CLIENT.read_text(), re.MULTILINE)
GUNICORN = [sys.executable, "-m", "gunicorn", "--graceful-timeout", "1", "--chdir", str(FOLDER)]
GUNICORN += ["--bind", "127.0.0.1:{}", "app:app"]
COMMANDS = {
    "socketio.run": [sys.executable, str(FOLDER / "app.py"), "{}"],
    "gunicorn -k gevent": [*GUNICORN, "-k", "gevent"],
    "gunicorn -k gevent_pywsgi": [*GUNICORN, "-k", "gevent_pywsgi"],
    "gunicorn -k geventws.gunicorn.Worker": [*GUNICORN, "-k", "geventws.gunicorn.Worker"],
    "example": [sys.executable, str(ROOT / "examples" / "flask_socketio_app.py"), "{}"],
}


def run_client(port: int, way: str, *scenarios: str) -> dict[str, str]:
    """Run scenarios in Node, one after the other, and return what came of each."""
    assert (MODULES / "node_modules").exists(), f"socket.io-client is not in {MODULES}: `make test` installs it"
    command = ["node", str(CLIENT), str(MODULES), f"http://127.0.0.1:{port}", way, *scenarios]
    done = subprocess.run(command, timeout=50, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)


def wait_until_up(host: Host) -> None:
    """Block until it listens: Flask-SocketIO does not tell."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", host.port)).close()
        time.sleep(0.02)
    raise AssertionError("it does not listen; it says\n" + "\n".join(host.lines))


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    """All of them, started at once."""
    started = {}
    for name, command in COMMANDS.items():
        port = free_port()
        started[name] = Host([part.format(port) for part in command])
        started[name].port = port
    yield started
    for host in started.values():
        host.terminate()
    for host in started.values():
        host.wait()


@pytest.fixture
def host(request: pytest.FixtureRequest, hosts: dict[str, Host]) -> Iterator[Host]:
    """One of them, which writes no traceback."""
    host = hosts[request.param]
    wait_until_up(host)
    yield host
    assert not [line for line in host.lines if line.startswith("Traceback")], "\n".join(host.lines)


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[int, str], dict[str, str]]:
    """What came of the scenarios, by port and way. One Node runs them all: it takes longer to start than to talk."""
    return {}


@pytest.mark.parametrize("host", [name for name in COMMANDS if name != "example"], indirect=True)
@pytest.mark.parametrize("way", ["upgrade", "websocket"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_client(host: Host, way: str, scenario: str, outcomes: dict[tuple[int, str], dict[str, str]]) -> None:
    if (host.port, way) not in outcomes:
        outcomes[host.port, way] = run_client(host.port, way, *SCENARIOS)
    assert outcomes[host.port, way][scenario] == "ok"


@pytest.mark.parametrize("host", ["example"], indirect=True)
def test_example(host: Host) -> None:
    assert run_client(host.port, "upgrade", "chats") == {"chats": "ok"}


PROGRAMS = [block for block in read_blocks("docs/flask-socketio.rst") if block.language == "python"]


def adds(place: Place) -> None:
    assert run_client(place.port, "upgrade", "adds") == {"adds": "ok"}


@pytest.mark.parametrize("block", PROGRAMS, ids=["Flask-SocketIO", "python-socketio"])
def test_program_on_the_page(block: Block, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program(adds)(block)
