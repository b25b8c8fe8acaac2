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
import urllib.parse
from collections.abc import Iterator

import pytest
import websocket
from kit.programs.demo import EXAMPLES, demo
from kit.servers.redis import RedisServer


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with demo() as site:
        yield site


class Tab:
    """What the page does, without the page: it goes into the room, under a name if it has one."""

    def __init__(self, site: str, name: str = "", tab: str = "", **options) -> None:
        query = urllib.parse.urlencode({"tab": tab or name, "name": name})
        options |= {"timeout": 15, "origin": f"http://{site}", "subprotocols": ["geventws.rooms.v1"]}
        self.ws = websocket.create_connection(f"ws://{site}/rooms?{query}", **options)
        self.requests = 0
        self.ask("subscribe", topic="room", since="", presence=True)

    def ask(self, kind: str, **fields: object) -> None:
        self.requests += 1
        self.ws.send(json.dumps({"type": kind, "id": self.requests} | fields))

    def say(self, text: str) -> None:
        self.ask("publish", topic="room", data=text)

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

        def tab(*names: str, **options) -> Tab:
            made = Tab(site, *names, **options)
            stack.callback(made.ws.shutdown)
            return made

        yield tab


def names(event: dict) -> set[str]:
    return {member["info"]["name"] for member in event["members"]}


def test_the_room_tells_who_comes_speaks_and_goes(tab) -> None:
    ada = tab("Ada")
    assert "Ada" in names(ada.hear("subscribed"))
    ben = tab("  Ben ", "tab of Ben")
    assert {"Ada", "Ben"} <= names(ben.hear("subscribed"))
    assert ada.hear("join")["info"] == {"name": "Ben"}

    ada.ask("subscribe", topic="typing")
    ada.hear("subscribed")
    ben.ask("publish", topic="typing", data="I am")
    assert ada.hear("message")["topic"] == "typing"
    ben.say("grüße 👋")
    assert ada.hear("message")["data"] == ben.hear("message")["data"] == "grüße 👋"
    ben.ws.close()
    again = tab("Benjamin", "tab of Ben")
    assert ada.hear("join")["info"] == {"name": "Benjamin"}

    again.ws.close()
    left = ada.hear("leave")
    assert left["member"] == "tab of Ben"
    assert tab("Cleo").hear("message")["data"] == "grüße 👋"


def test_two_processes_over_redis_are_one_room(redis: RedisServer) -> None:
    with demo(redis=redis.url) as one, demo(redis=redis.url) as other, contextlib.ExitStack() as stack:
        ada = Tab(one, "Ada")
        stack.callback(ada.ws.shutdown)
        assert names(ada.hear("subscribed")) == {"Ada"}
        ben = Tab(other, "Ben")
        stack.callback(ben.ws.shutdown)
        while ada.hear("join")["info"] != {"name": "Ben"}:
            pass
        ben.say("from over there")
        assert ada.hear("message")["data"] == ben.hear("message")["data"] == "from over there"
        ada.ask("presence", topic="room")
        assert names(ada.hear("presence")) == {"Ada", "Ben"}
        late = Tab(one, "Cleo")
        stack.callback(late.ws.shutdown)
        assert late.hear("message")["data"] == "from over there"  # who comes later reads what is kept


def test_one_without_a_name_sees_others_and_is_not_shown(tab) -> None:
    ada = tab("Ada")
    ada.hear("subscribed")
    assert "Ada" in names(tab().hear("subscribed"))
    tab("Ben")
    assert ada.hear("join")["info"] == {"name": "Ben"}


@pytest.mark.parametrize("kind, topic", [("subscribe", "other"), ("publish", "other"), ("presence", "typing")])
def test_nothing_but_the_room_is_open(tab, kind: str, topic: str) -> None:
    eve = tab("Eve")
    eve.ask(kind, topic=topic, **({"data": "nonsense"} if kind == "publish" else {}))
    assert eve.hear("error")["code"] == "forbidden"


def test_a_message_over_the_limit_is_too_big(tab) -> None:
    ada = tab("Ada")
    ada.say("x" * 20_000)
    assert ada.close_code() == 1009


def test_a_slow_member_holds_nobody_up(tab) -> None:
    ada = tab("Ada")
    ada.hear("subscribed")
    tab("Snail", sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
    while ada.hear("join")["member"] != "Snail":
        pass
    slowest, heard = 0.0, [("", "")]
    deadline = time.monotonic() + 30
    while ("leave", "Snail") not in heard and time.monotonic() < deadline:
        said = time.monotonic()
        ada.say("ü" * 1000)
        heard = []
        while ("published", None) not in heard:
            event = json.loads(ada.ws.recv())
            heard.append((event["type"], event.get("member")))
        slowest = max(slowest, time.monotonic() - said)
    assert ("leave", "Snail") in heard and slowest < 2


def test_the_page_is_told_what_the_server_does(site: str, tab) -> None:
    tab("Ada").hear("subscribed")
    ws = websocket.create_connection(f"ws://{site}/figures", timeout=10, origin=f"http://{site}")
    figures = json.loads(ws.recv())
    ws.close()
    assert figures["connections"] >= 2 and figures["messages"] >= 0 and "memory" in figures


@pytest.mark.parametrize("method, path, status, kind", [
    ("GET", "/", 200, "text/html; charset=utf-8"),
    ("HEAD", "/", 200, "text/html; charset=utf-8"),
    ("GET", "/static/geventws.js", 200, "text/javascript; charset=utf-8"),
    ("GET", "/docs/rooms.rst", 200, "text/plain; charset=utf-8"),
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
        connection.request("GET", "/rooms")
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
