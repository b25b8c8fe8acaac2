"""How the blocks of docs/rooms.rst for browsers, and those of docs/rooms-protocol.rst, are run."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
from collections.abc import Iterator

from kit.documents.blocks import Block, execute, read_blocks, running
from kit.documents.talks import Place
from kit.programs.browser import Browser, Page
from kit.servers.ports import free_port

from geventws.pubsub.rooms.messages import decode_reply, decode_request, encode


@contextlib.contextmanager
def serving_chat(block: Block) -> Iterator[Place]:
    """Serve the page's application and its HTML."""
    texts = [one.text for one in read_blocks(block.page)]
    (program,) = [text for text in texts if "pubsub.endpoint" in text]
    (html,) = [text for text in texts if text.startswith("<!doctype html>")]
    port = free_port()
    pathlib.Path("page.html").write_text(html)
    pathlib.Path("block.py").write_text(program.replace("8000", str(port)))
    with running([sys.executable, "block.py"], port) as place:
        yield place


def says(page: Page, *texts: str) -> None:
    """Wait until the page shows just these."""
    page.wait_for(f"JSON.stringify([...document.querySelectorAll('li')].map((one) => one.innerText)) === "
                  f"{json.dumps(json.dumps(texts, ensure_ascii=False, separators=(',', ':')))}")


def page(block: Block) -> None:
    """Have two people chat, one of whom comes later."""
    with serving_chat(block) as place, Browser() as browser:
        ada = browser.open(f"http://127.0.0.1:{place.port}/")
        ada.type("input", "hello, grüße", enter=True)
        says(ada, "hello, grüße")
        ben = browser.open(f"http://127.0.0.1:{place.port}/")
        says(ben, "hello, grüße")
        ben.type("input", "<b>you</b>", enter=True)
        for one in (ada, ben):
            says(one, "hello, grüße", "<b>you</b>")
            one.errors = [error for error in one.errors if "404" not in error]  # there is no icon
            assert one.errors == []


def client(block: Block) -> None:
    """Run the client beside the application."""
    with serving_chat(block) as place:
        assert execute(["-c", block.text.replace("8000", str(place.port))]) == "room:7 hello\n"


def messages(block: Block) -> None:
    """Decode and encode each message."""
    for line in block.text.splitlines():
        who, _, text = line.partition(" ") if line[:1] in "<>" else ("<" if "error" in line else ">", "", line)
        if line:
            message = decode_request(text) if who == ">" else decode_reply(text)
            assert message is not None and json.loads(encode(message)) == json.loads(text)
