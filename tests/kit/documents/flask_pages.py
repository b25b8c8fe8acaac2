"""How the blocks of docs/flask.rst are run."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable

from kit.documents.blocks import Block, arguments_of, read_blocks, running
from kit.documents.talks import ANSWER, Place
from kit.servers.ports import free_port

BIND = {"geventws": "--bind 127.0.0.1:{}", "gunicorn": "--bind 127.0.0.1:{}", "flask": "--port {}"}
SERVE = "from geventws import WebSocketServer; import {0}; WebSocketServer(('127.0.0.1', {2}), {1}).serve_forever()"


def application(block: Block) -> None:
    """Serve the block's application."""
    pathlib.Path("app.py").write_text(block.text)
    _greets(["-c", SERVE.format("app", "app.app", port := free_port())], port)


def serves(talk: Callable[[Place], None]) -> Callable[[Block], None]:
    """Serve the block's application as its page says, and talk to it."""

    def run(block: Block) -> None:
        pathlib.Path("app.py").write_text(block.text)
        port = free_port()
        command = [sys.executable, "-m", "geventws", "serve", "app:app", "--bind", f"127.0.0.1:{port}"]
        with running(command, port) as place:
            talk(place)

    return run


def factory(block: Block) -> None:
    """Serve what the block's factory makes."""
    pathlib.Path("app.py").write_text(block.text)
    port = free_port()
    with running([sys.executable, "-c", SERVE.format("app", "app.create_app()", port)], port) as place:
        place.asks({"hello": "lobby: hello"}, "/chat/lobby")


def commands(block: Block) -> None:
    """Run each line beside the page's first application."""
    (first, *_) = [other for other in read_blocks(block.page) if "app = Flask" in other.text]
    pathlib.Path("app.py").write_text(first.text)
    for line in block.text.splitlines():
        port = free_port()
        _greets(arguments_of(f"{line} {BIND[line.split()[0]].format(port)}", port), port)


def _greets(arguments: list[str], port: int) -> None:
    with running([sys.executable, *arguments], port) as place, place.connect(path="/echo/ann") as client:
        assert client.recv(timeout=ANSWER) == "hello ann"
        client.send("you")
        assert client.recv(timeout=ANSWER) == "you"
