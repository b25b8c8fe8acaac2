"""How the blocks of the pages on migrating are run."""

from __future__ import annotations

import pathlib
import sys

from kit.documents.blocks import Block, arguments_of, running
from kit.documents.talks import ANSWER, Place
from kit.servers.ports import free_port

APPLICATION = """\
print("loaded", flush=True)

def application(environ, start_response):
    ws = environ["wsgi.websocket"]
    while (message := ws.receive()) is not None:
        ws.send(message)
"""
"""Made for gevent-websocket."""


def worker(block: Block) -> None:
    """Serve an application made for gevent-websocket with a line for gunicorn."""
    pathlib.Path("package").mkdir()
    pathlib.Path("package/module.py").write_text(APPLICATION)
    port = free_port()
    with running([sys.executable, *arguments_of(block.text, port)], port, 1) as place:
        echoes_text(place)


def echoes_text(place: Place, path: str = "/") -> None:
    place.asks({"hello": "hello", "": ""}, path)


def greets_the_world(place: Place) -> None:
    with place.connect() as client:
        assert client.recv(timeout=ANSWER) == "hello world"


def repeats(place: Place) -> None:
    place.asks({"hello": "you said: hello"})
    place.host.wait_for("connected$")


def says_what_was_said(place: Place) -> None:
    place.asks({"hello": "You said: hello"}, "/websocket")
    place.host.wait_for("^WebSocket disconnected$")
