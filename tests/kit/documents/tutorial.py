"""How the steps of docs/tutorial.rst are run: as its reader saves them, and with the commands that it gives."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from kit.documents.blocks import Block, arguments_of, execute, read_blocks, running, workers_of
from kit.documents.redis_pages import redis_for
from kit.documents.talks import ANSWER, Place
from kit.programs.browser import Browser
from kit.servers.ports import free_port


def step(module: str, talk: Callable[[Place], None]) -> Callable[[Block], None]:
    """Save a block as a module, serve it, and talk to it."""

    def run(block: Block) -> None:
        pathlib.Path(f"{module}.py").write_text(block.text)
        serve(f"geventws serve {module}:application", talk)

    return run


def serve(line: str, talk: Callable[[Place], None], workers: int = 0) -> None:
    """Serve with a line of the page, on a port of our own, and talk to it once so many workers have loaded the app."""
    port = free_port()
    with running([sys.executable, *arguments_of(f"{line} --bind 127.0.0.1:{port}", port)], port, workers) as place:
        talk(place)


def save_app(page: str, pubsub: str = "pubsub = PubSub()") -> None:
    """Save what the page calls app.py, with what is added to it, and its template; `pubsub` replaces that line."""
    blocks = [block.text for block in read_blocks(page)]
    (first,) = [text for text in blocks if "def page(" in text]
    (more,) = [text for text in blocks if "def announce(" in text]
    (html,) = [text for text in blocks if "<!doctype" in text]
    assert "\npubsub = PubSub()\n" in first
    text = f"{first}\n\n{more}\n\nprint('loaded', flush=True)\n"
    pathlib.Path("app.py").write_text(text.replace("pubsub = PubSub()", pubsub))
    pathlib.Path("templates").mkdir()
    pathlib.Path("templates/chat.html").write_text(html)


def echo_commands(block: Block) -> None:
    """Run the two lines for the first step: what is typed comes back."""
    (text,) = [other.text for other in read_blocks(block.page) if "ws.send(message)" in other.text]
    pathlib.Path("echo.py").write_text(text)
    server, client = block.text.splitlines()
    serve(server, lambda place: said(execute(arguments_of(client, place.port), "hello\n")))


def said(output: str) -> None:
    assert output == "hello\n"


def app(talk: Callable[[Place], None]) -> Callable[[Block], None]:
    """Serve app.py as the page does, and talk to it."""

    def run(block: Block) -> None:
        save_app(block.page)
        serve("geventws serve app:app", talk)

    return run


def test_of_app(block: Block) -> None:
    """Run the block's test beside app.py."""
    save_app(block.page)
    pathlib.Path("test_app.py").write_text(block.text)
    done = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_app.py"]
    lines = subprocess.run(done, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert lines[-1].startswith("1 passed"), lines


def announces(block: Block) -> None:
    """Send what the line sends to the app of the tutorial."""
    save_app("docs/tutorial.rst")

    def talk(place: Place) -> None:
        with place.connect("/chat") as ann:
            enter(ann, "ann")
            line = block.text.replace("8000", str(place.port)).split()
            assert subprocess.run(line, capture_output=True, text=True, timeout=10).stdout == "announced\n"
            assert hear(ann) == {"type": "said", "name": "the management", "text": "hello"}

    serve("geventws serve app:app", talk)


def over_redis(talk: Callable[[Place], None]) -> Callable[[Block], None]:
    """Serve app.py with the last step's line, beside a Redis of its own, and talk to it."""

    def run(block: Block) -> None:
        blocks = [other.text for other in read_blocks(block.page)]
        (pubsub,) = [text for text in blocks if "os.environ" in text]
        (command,) = [text for text in blocks if text.startswith("REDIS_URL=")]
        save_app(block.page, pubsub)
        variable, _, line = command.partition(" ")
        with redis_for(variable.removeprefix("REDIS_URL=")) as url, pytest.MonkeyPatch.context() as patch:
            patch.setenv("REDIS_URL", url)
            serve(line, talk, workers_of(line))

    return run


# What is said


def hear(client: Any) -> Any:
    return json.loads(client.recv(timeout=ANSWER))


def enter(client: Any, name: str) -> None:
    client.send(name)
    assert hear(client) == {"type": "joined", "name": name}


def chats(place: Place, path: str = "/") -> None:
    with place.connect(path) as ann:
        enter(ann, "ann")
        with place.connect(path) as ben:
            enter(ben, "ben")
            assert hear(ann) == {"type": "joined", "name": "ben"}
            ann.send("hello")
            assert hear(ben) == {"type": "said", "name": "ann", "text": "hello"} == hear(ann)
        assert hear(ann) == {"type": "left", "name": "ben"}


def chats_in_flask(place: Place) -> None:
    chats(place, "/chat")


def chats_over_four_workers(place: Place) -> None:
    """Everybody hears everybody, in whatever worker they are."""
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(12):
            client = stack.enter_context(place.connect("/chat"))
            client.send(f"n{number}")
            while hear(client) != {"type": "joined", "name": f"n{number}"}:
                pass
            clients.append(client)
        for number, author in enumerate(clients):
            author.send("hello")
            for client in clients:
                while hear(client) != {"type": "said", "name": f"n{number}", "text": "hello"}:
                    pass
    workers = sum("Booting worker" in line for line in place.host.lines)
    assert workers == 4


def chats_in_a_browser(place: Place) -> None:
    def shows(page: Any, line: str) -> None:
        page.wait_for(f"document.getElementById('log').innerText.includes({json.dumps(line)})")

    with Browser() as browser:
        ann = browser.open(f"http://127.0.0.1:{place.port}/?name=ann")
        shows(ann, "ann has joined")
        ben = browser.open(f"http://127.0.0.1:{place.port}/?name=ben")
        shows(ann, "ben has joined")
        ben.type("#text", "<b>hello</b>", enter=True)
        for page in (ann, ben):
            shows(page, "ben: <b>hello</b>")
            assert [error for error in page.errors if "404" not in error] == []  # there is no favicon
        place.host.terminate()
        shows(ann, "connection lost; trying again")
