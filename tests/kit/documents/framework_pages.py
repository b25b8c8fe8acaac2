"""How the blocks of docs/frameworks.rst are run."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable

from kit.documents.blocks import Block, arguments_of, read_blocks, running
from kit.documents.talks import ANSWER, Place, echoes, refusal
from kit.servers.ports import free_port

SERVE = "from geventws import WebSocketServer; import {0}; WebSocketServer(('127.0.0.1', {2}), {1}).serve_forever()"
SETTINGS = """\
from django.conf import settings
from django.core.wsgi import get_wsgi_application

settings.configure(ROOT_URLCONF="{}", ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="of the tests", USE_TZ=True)
application = get_wsgi_application()
"""


def application(block: Block) -> None:
    """Serve the block's application."""
    pathlib.Path("app.py").write_text(block.text)
    _serve("app", "app.app", greets)


def urls(block: Block) -> None:
    """Serve the block as a project's urls.py."""
    write_project(block)
    _serve("mysite.wsgi", "mysite.wsgi.application", greets)


def refusing_urls(block: Block) -> None:
    """The same, for a block that refuses who has no key."""
    write_project(block)
    _serve("mysite.wsgi", "mysite.wsgi.application", refuses)


def commands(block: Block) -> None:
    """Run each line beside the page's first block."""
    write_project(next(iter(read_blocks(block.page))))
    for line in block.text.splitlines():
        port = free_port()
        with running([sys.executable, *arguments_of(f"{line} --bind 127.0.0.1:{port}", port)], port) as place:
            greets(place)


def greets(place: Place) -> None:
    with place.connect("/echo/ann") as client:
        assert client.recv(timeout=ANSWER) == "hello ann"
        client.send("you")
        assert client.recv(timeout=ANSWER) == "you"


def refuses(place: Place) -> None:
    assert refusal(place, path="/private").status_code == 403
    echoes(place, "/private?key=open+sesame")


def write_project(block: Block) -> None:
    """Save a block as the urls.py of a project."""
    folder = pathlib.Path("mysite")
    folder.mkdir()
    (folder / "urls.py").write_text(block.text)
    (folder / "wsgi.py").write_text(SETTINGS.format("mysite.urls"))


def _serve(module: str, name: str, talk: Callable[[Place], None]) -> None:
    port = free_port()
    with running([sys.executable, "-c", SERVE.format(module, name, port)], port) as place:
        talk(place)
