"""The examples: the smallest server, and the demo's room and HTTP routes, from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import websocket
from kit.programs.demo import EXAMPLES, demo


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with demo() as site:
        yield site


class Tab:
    """What the page does, without the page."""

    def __init__(self, site: str, name: str | None = None, **options) -> None:
        self.ws = websocket.create_connection(f"ws://{site}/chat", timeout=10, origin=f"http://{site}", **options)
        if name is not None:
            self.tell("hello", name=name)

    def tell(self, kind: str, **fields: object) -> None:
        self.ws.send(json.dumps({"type": kind} | fields))

    def hear(self, kind: str) -> dict:
        """The next event of a kind; others are passed over."""
        while (event := json.loads(self.ws.recv()))["type"] != kind:
            pass
        return event

    def close_code(self) -> int:
        while True:
            opcode, payload = self.ws.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return int.from_bytes(payload[:2], "big")


@pytest.fixture
def tab(site: str) -> Iterator:
    with contextlib.ExitStack() as stack:

        def tab(name: str | None = None, **options) -> Tab:
            made = Tab(site, name, **options)
            stack.callback(made.ws.shutdown)
            return made

        yield tab


def names(event: dict) -> list[str]:
    return [member["name"] for member in event["members"]]


def test_the_room_tells_who_comes_speaks_and_goes(tab) -> None:
    ada = tab("Ada")
    assert ada.hear("welcome")["you"]["name"] == "Ada"
    ben = tab("  Ben ")
    assert names(ben.hear("welcome")) == ["Ada", "Ben"]
    assert names(ada.hear("joined")) == ["Ada", "Ben"]

    ben.tell("typing")
    assert ada.hear("typing")["name"] == "Ben"
    ben.tell("say", text="grüße 👋 \ud800")
    assert ada.hear("said")["text"] == ben.hear("said")["text"] == "grüße 👋 \ud800"
    ben.tell("rename", name="Benjamin")
    assert ada.hear("renamed")["before"] == "Ben"

    ben.ws.close()
    left = ada.hear("left")
    assert left["name"] == "Benjamin" and names(left) == ["Ada"]
    cleo = tab("Cleo")
    assert cleo.hear("welcome")["history"][-1]["text"] == "grüße 👋 \ud800"


@pytest.mark.parametrize("message", [
    "", "{", "[]", "1", '{"type":"say","text":"too early"}', '{"type":"hello"}', '{"type":"hello","name":" "}',
    '{"type":"hello","name":7}', "[" * 9000, b"bytes",
])
def test_who_does_not_say_hello_is_shown_the_door(tab, message: str | bytes) -> None:
    stranger = tab()
    stranger.ws.send(message, websocket.ABNF.OPCODE_BINARY if isinstance(message, bytes) else 1)
    assert stranger.close_code() == 1008


@pytest.mark.parametrize("message", ["nonsense", '{"type":"shout"}', '{"type":["say"]}', '{"type":"say","text":null}'])
def test_a_member_who_talks_nonsense_leaves_the_room(tab, message: str) -> None:
    ada = tab("Ada")
    ada.hear("welcome")
    eve = tab("Eve")
    ada.hear("joined")
    eve.ws.send(message)
    assert eve.close_code() == 1008
    assert ada.hear("left")["name"] == "Eve"


def test_a_message_over_the_limit_is_too_big(tab) -> None:
    ada = tab("Ada")
    ada.tell("say", text="x" * 20_000)
    assert ada.close_code() == 1009


def test_a_slow_member_holds_nobody_up(tab) -> None:
    ada = tab("Ada")
    ada.hear("welcome")
    tab("Snail", sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
    ada.hear("joined")
    slowest = 0.0
    event = {"type": ""}
    deadline = time.monotonic() + 30
    while event["type"] != "left" and time.monotonic() < deadline:
        said = time.monotonic()
        ada.tell("say", text="ü" * 1000)
        event = json.loads(ada.ws.recv())
        slowest = max(slowest, time.monotonic() - said)
    assert event["type"] == "left" and event["name"] == "Snail"
    assert slowest < 2


@pytest.mark.parametrize("method, path, status, kind", [
    ("GET", "/", 200, "text/html; charset=utf-8"),
    ("HEAD", "/", 200, "text/html; charset=utf-8"),
    ("GET", "/static/style.css", 200, "text/css; charset=utf-8"),
    ("GET", "/status", 200, "application/json"),
    ("POST", "/", 405, "text/plain"),
    ("GET", "/nothing", 404, "text/plain"),
    ("GET", "/static/../demo.py", 404, "text/plain"),
])
def test_ordinary_routes_stand_beside(site: str, method: str, path: str, status: int, kind: str) -> None:
    with contextlib.closing(http.client.HTTPConnection(site, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
    assert (answer.status, answer.headers["Content-Type"]) == (status, kind)
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert len(body) == (0 if method == "HEAD" else int(answer.headers["Content-Length"]))


def test_a_plain_request_to_the_room_is_refused(site: str) -> None:
    with contextlib.closing(http.client.HTTPConnection(site, timeout=10)) as connection:
        connection.request("GET", "/chat")
        assert connection.getresponse().status == 400


def test_a_port_that_is_taken_is_said_in_one_line(site: str) -> None:
    port = site.rpartition(":")[2]
    command = [sys.executable, str(EXAMPLES / "demo.py"), "--port", port]
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent)}
    second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=environment)
    assert second.returncode == 1
    assert second.stderr == f"port {port} is taken; try: python examples/demo.py --port 0\n"


def test_the_smallest_server_echoes(serve, in_thread) -> None:
    port = serve(runpy.run_path(str(EXAMPLES / "echo.py"))["echo"]).port

    def converse() -> list[str | bytes]:
        ws = websocket.create_connection(f"ws://127.0.0.1:{port}/", timeout=10, suppress_origin=True)
        ws.send("text")
        ws.send_binary(b"bytes")
        answers = [ws.recv(), ws.recv()]
        ws.close()
        return answers

    assert in_thread(converse) == ["text", b"bytes"]
