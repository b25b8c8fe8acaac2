"""How WebSocketServer ends: by `stop`, wherever that is called, by a signal, and whatever holds it up."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit import frames
from kit.clients import RawClient
from kit.sites.http import deadline, run  # noqa: F401

from geventws import WebSocketApplication, WebSocketServer, WebSocketWSGI

CLOSE_TIMEOUT = 5.0
"""A WebSocket's, by default: what a peer has that does not answer."""


@WebSocketWSGI
def handler(ws: Any) -> None:
    ws.send("ready")
    ws.wait()


@WebSocketWSGI
def stubborn(ws: Any) -> None:
    ws.send("ready")
    try:
        Event().wait()
    finally:
        ws.close()


class Callbacks(WebSocketApplication):
    def on_open(self, ws: Any) -> str:
        return "ready"


@pytest.mark.parametrize("application", [handler, stubborn, Callbacks()], ids=["handler", "stubborn", "callbacks"])
@pytest.mark.parametrize("over", ["TCP", "TLS"])
def test_stop_takes_no_longer_than_its_timeout_where_peers_do_not_answer(
    serve: Any, secure: Any, application: Any, over: str
) -> None:
    options = {"server_class": WebSocketServer, "spawn": "default", **(secure if over == "TLS" else {})}
    site = serve(application, **options)
    clients = [site.connect() for _ in range(5)]
    for client in clients:
        assert client.read_message() == "ready"
    begin = time.monotonic()
    site.server.stop(0.3)
    assert time.monotonic() - begin < CLOSE_TIMEOUT / 2
    assert not site.server._connections
    for client in clients:
        assert client.read_frame() == frames.Frame(frames.CLOSE, b"\x03\xe9")
        client.close()


def test_stop_without_any_time_says_good_bye_all_the_same(serve: Any) -> None:
    site = serve(handler, server_class=WebSocketServer)
    client = site.connect()
    assert client.read_message() == "ready"
    site.server.stop(0)
    assert client.read_frame() == frames.Frame(frames.CLOSE, b"\x03\xe9")


def test_stop_in_the_hub_and_in_a_handler_returns_at_once(serve: Any) -> None:
    def stop(ws: Any) -> None:
        site.server.stop()
        ws.send("stopping")
        ws.wait()

    site = serve(WebSocketWSGI(stop), server_class=WebSocketServer)
    client = site.connect()
    assert client.read_message() == "stopping"
    client.expect_close(1001)
    site.server.stop()
    assert site.server._drain.over.is_set()
    site.server.start()
    gevent.get_hub().loop.run_callback(site.server.stop)
    site.server._stop_event.wait()


# In a process of its own

SCRIPT = """
import signal, sys, threading, time
import gevent
from geventws import WebSocketServer, WebSocketWSGI, WebSocketApplication, WebSocketMiddleware

def compute(ws):
    ws.send("computing")
    end = time.monotonic() + 60
    try:
        while time.monotonic() < end:
            pass
    finally:
        print("interrupted", flush=True)

def sleep(ws):
    ws.send("sleeping")
    time.sleep(60)

def echo(ws):
    for message in ws:
        ws.send(message)

class Computing(WebSocketApplication):
    def on_open(self, ws):
        compute(ws)

def leave(ws):
    ws.send("leaving")
    sys.exit(3)

class Leaving(WebSocketApplication):
    def on_message(self, ws, message):
        leave(ws)

def view(environ, start_response):
    leave(environ["wsgi.websocket"])

routes = {name: WebSocketWSGI(function) for name, function in
          {"compute": compute, "sleep": sleep, "echo": echo, "leave": leave}.items()}
routes["callbacks"] = Computing()
routes["leaving"] = Leaving()
routes["view"] = WebSocketMiddleware(view)

def application(environ, start_response):
    return routes[environ["PATH_INFO"][1:]](environ, start_response)

server = WebSocketServer(("127.0.0.1", 0), application, log=None)
server.start()
if "own" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
print(server.server_port, flush=True)
server.serve_forever(stop_timeout=0.5)
print("drained", threading.active_count(), flush=True)
"""


class Process:
    """A server in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-c", SCRIPT, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def connect(self, path: str) -> RawClient:
        client = RawClient(self.port)
        client.open(b"", path)
        return client

    def end(self) -> tuple[str, str]:
        """Send SIGTERM, and return all that it writes."""
        os.kill(self.process.pid, signal.SIGTERM)
        return self.process.communicate(timeout=20)


@pytest.fixture
def start() -> Iterator[Any]:
    """Start servers; all are ended."""
    started: list[Process] = []

    def start(*arguments: str) -> Process:
        started.append(Process(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize(
    ("path", "first", "said"),
    [
        ("/compute", "computing", "interrupted\ndrained 1\n"),
        ("/callbacks", "computing", "interrupted\ndrained 1\n"),
        ("/sleep", "sleeping", "drained 1\n"),
    ],
)
def test_what_holds_the_loop_up_does_not_hold_up_the_end(start: Any, path: str, first: str, said: str) -> None:
    """A handler that computes for a minute is ended at stop_timeout, and everybody else is told."""
    server = start()
    idle = server.connect("/echo")
    busy = server.connect(path)
    assert busy.read_message() == first
    begin = time.monotonic()
    output, errors = server.end()
    assert time.monotonic() - begin < 15
    assert output == said and server.process.returncode == 0
    assert "Traceback" not in errors, errors
    assert idle.read_frame() == frames.Frame(frames.CLOSE, b"\x03\xe9")
    busy.close()
    idle.close()


@pytest.mark.parametrize("arguments", [[], ["own"]], ids=["ours", "the program's own"])
def test_a_signal_drains_without_a_traceback(start: Any, arguments: list[str]) -> None:
    server = start(*arguments)
    client = server.connect("/echo")
    os.kill(server.process.pid, signal.SIGTERM)
    client.expect_close(1001)
    client.close()
    assert server.process.communicate(timeout=20) == ("drained 1\n", "")
    assert server.process.returncode == 0


@pytest.mark.parametrize("path", ["/leave", "/leaving", "/view"])
def test_an_exit_in_a_handler_ends_the_program_without_a_wait_for_its_client(start: Any, path: str) -> None:
    server = start()
    client = server.connect(path)
    client.send(frames.text("go"))
    assert client.read_message() == "leaving"
    begin = time.monotonic()
    output, _errors = server.process.communicate(timeout=20)
    assert time.monotonic() - begin < CLOSE_TIMEOUT
    assert (output, server.process.returncode) == ("", 3)
    assert client.read_frame() == frames.Frame(frames.CLOSE, b"\x03\xf3")
    client.close()
