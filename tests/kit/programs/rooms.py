"""Clients of rooms in Python, Node and Chromium, with one face: they do what a test says, and tell what happens.

    client.call("publish", "room:7", "hello")       returns the result, or raises `Failed` with the code of the error
    client.expect(["message", "room:7", "hello", None])

Events are lists: message, gap, join, leave, subscribed, refused and state, as rooms.mjs reports them. Binary data is
{"base64": ...} in both directions. The server runs in the test's own thread, so nothing here blocks that.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gevent
from gevent import subprocess
from gevent.event import AsyncResult
from kit.programs.browser import Browser

import geventws
from geventws import ConnectionClosed, RoomsClient, RoomsError

STATIC = Path(geventws.__file__).parent / "static"
DRIVER = Path(__file__).with_name("rooms.mjs")
NODE_MODULES = Path(__file__).parents[3] / "build" / "node" / "node_modules"
QUICK = {"initialDelay": 10, "maxDelay": 100}
"""Options of a client for which a test need not wait long."""


class Failed(Exception):
    """A call has failed, with a code."""


class Client:
    """What the three have in common.

    Attributes:
        events: what has happened, and was not expected yet.
    """

    def __init__(self) -> None:
        self.events: list[list[Any]] = []

    def call(self, name: str, *values: Any) -> Any:
        """Have it do something, and wait until it is done."""
        status, value = self._call(name, *values)
        if status == "error":
            raise Failed(value)
        return value

    def _call(self, name: str, *values: Any) -> tuple[str, Any]:
        raise NotImplementedError

    def look(self) -> None:
        """Have `events` filled."""

    def wait_for(self, find: Callable[[list[list[Any]]], Any]) -> Any:
        """Block until something has happened; the test has a deadline."""
        while not (found := find(self.events)):
            gevent.sleep(0.005)
            self.look()
        return found

    def expect(self, *events: list[Any]) -> None:
        """Wait for these events, in this order, and for no other ones of their kinds before or between."""
        kinds = {event[0] for event in events}
        wanted = list(events)

        def find(seen: list[list[Any]]) -> list[list[Any]] | None:
            fits = [one for one in seen if one[0] in kinds]
            return fits if len(fits) >= len(wanted) else None

        assert self.wait_for(find)[: len(wanted)] == wanted
        for event in wanted:
            self.events.remove(event)

    def close(self) -> None:
        """End it."""


class PythonClient(Client):
    """RoomsClient, whose messages a greenlet takes."""

    def _call(self, name: str, *values: Any) -> tuple[str, Any]:
        try:
            return "ok", getattr(self, f"_do_{name}")(*values)
        except RoomsError as error:
            return "error", error.code

    def _do_connect(self, url: str, options: dict[str, Any] | None = None) -> None:
        delays = {**QUICK, **(options or {})}
        self._rooms = RoomsClient(
            url,
            on_gap=lambda topic: self.events.append(["gap", topic]),
            on_join=lambda *join: self.events.append(["join", *join]),
            on_leave=lambda *leave: self.events.append(["leave", *leave]),
            initial_delay=delays["initialDelay"] / 1000,
            max_delay=delays["maxDelay"] / 1000,
        )
        self._greenlet = gevent.spawn(self._read)

    def _read(self) -> None:
        while True:
            try:
                for message in self._rooms:
                    self.events.append(["message", message.topic, say(message.data), message.position])
                return
            except RoomsError as error:
                self.events.append(["refused", error.topic, error.code])
            except Exception as error:
                assert isinstance(error, ConnectionClosed), error
                self.events.append(["state", "closed", "closed"])
                return

    def _do_subscribe(self, topic: str, options: dict[str, Any] | None = None) -> None:
        self._rooms.subscribe(topic, **(options or {}))

    def _do_unsubscribe(self, topic: str) -> None:
        self._rooms.unsubscribe(topic)

    def _do_publish(self, topic: str, data: Any) -> None:
        self._rooms.publish(topic, data if isinstance(data, str) else base64.b64decode(data["base64"]))

    def _do_presence(self, topic: str) -> dict[str, Any]:
        return self._rooms.presence(topic)

    def _do_close(self) -> None:
        self._rooms.close()

    def close(self) -> None:
        self._rooms.close()
        self._greenlet.join()


class ScriptClient(Client):
    """geventws.js, in a program that runs any number of them.

    Args:
        program: a NodeProgram or a PageProgram.
    """

    def __init__(self, program: Any) -> None:
        super().__init__()
        self._program = program
        self._number = program.add(self)

    def _call(self, name: str, *values: Any) -> Any:
        if name == "connect":
            values = (values[0], {**QUICK, **(values[1] if values[1:] else {})})
        return self._program.call(self._number, name, *values)

    def look(self) -> None:
        self._program.look()

    def close(self) -> None:
        self._call("close")


class NodeProgram:
    """A process of Node's."""

    def __init__(self) -> None:
        assert NODE_MODULES.exists(), f"there is no {NODE_MODULES}: `make test` installs it"
        command = ["node", str(DRIVER), str(STATIC / "geventws.js"), str(NODE_MODULES)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._clients: list[Client] = []
        self._answers: dict[int, AsyncResult[Any]] = {}
        self._numbers = itertools.count()
        self._greenlet = gevent.spawn(self._read)

    def _read(self) -> None:
        for line in self._process.stdout:
            number, *rest = json.loads(line)
            if number == "event":
                self._clients[rest[0]].events.append(rest[1:])
            else:
                self._answers.pop(number).set(rest)

    def add(self, client: Client) -> int:
        """Take a client; return its number."""
        self._clients.append(client)
        return len(self._clients) - 1

    def call(self, client: int, *call: Any) -> Any:
        """Have a client do something; return "ok" or "error", and the value."""
        number = next(self._numbers)
        answer = self._answers[number] = AsyncResult()
        self._process.stdin.write(json.dumps([number, client, *call]).encode() + b"\n")
        self._process.stdin.flush()
        return answer.get()

    def look(self) -> None:
        """Nothing: events come by themselves."""

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()
        self._greenlet.join()
        self._process.stdout.close()


class PageProgram:
    """A page of a browser's, from a server in a thread. The browser is asked in one, too, as whoever asks blocks."""

    def __init__(self, browser: Browser, in_thread: Callable[..., Any]) -> None:
        self._in_thread = in_thread
        self._clients: list[Client] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
        self._serving = threading.Thread(target=self._server.serve_forever)
        self._serving.start()
        self._page = in_thread(browser.open, f"http://127.0.0.1:{self._server.server_port}/")
        self._evaluate("""(async () => {
            const [module, driver] = await Promise.all([import("/geventws.js"), import("/rooms.mjs")]);
            window.events = [];
            window.drive = driver.makeDrive(module, (...event) => events.push(event));
        })()""")

    def _evaluate(self, expression: str) -> Any:
        return self._in_thread(self._page.evaluate, expression)

    def add(self, client: Client) -> int:
        """Take a client; return its number."""
        self._clients.append(client)
        return len(self._clients) - 1

    def call(self, *call: Any) -> Any:
        """Have a client do something; return "ok" or "error", and the value."""
        return self._evaluate(f"drive(...{json.dumps(call)})")

    def look(self) -> None:
        """Fetch the events."""
        for client, *event in self._evaluate("events.splice(0)"):
            self._clients[client].events.append(event)

    def close(self) -> None:
        """Close the page, which must have logged no errors but those of connections."""
        errors = [error for error in self._page.errors if "WebSocket connection to" not in error]
        self._in_thread(self._page.close)
        self._in_thread(self._server.shutdown)
        self._serving.join()
        self._server.server_close()
        assert errors == []


class Files(BaseHTTPRequestHandler):
    """The page and its scripts."""

    FILES = {"/geventws.js": STATIC / "geventws.js", "/rooms.mjs": DRIVER}

    def do_GET(self) -> None:
        path = self.FILES.get(self.path)
        body = path.read_bytes() if path else b"<!doctype html><link rel=icon href=data:,><title>Rooms</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if path else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Nothing."""


def say(data: str | bytes) -> Any:
    """Return data as JSON has it; of what is long, its beginning and its length."""
    if isinstance(data, str):
        return data if len(data) < 1000 else f"{data[:10]}...{len(data)}"
    return {"base64": base64.b64encode(data).decode()}
