"""How blocks that need a Redis are run: beside one of the test's own, whose port replaces 6379."""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from kit.documents import talks
from kit.documents.blocks import Block, arguments_of, execute, read_blocks, running, serving, workers_of
from kit.documents.framework_pages import write_project
from kit.documents.talks import ANSWER, Place
from kit.servers.ports import free_port
from kit.servers.redis import RedisServer

SUBSCRIBE = """\
from geventws import PubSub, WebSocketWSGI

pubsub = PubSub("redis://127.0.0.1:6379/0")

@WebSocketWSGI
def application(ws):
    pubsub.subscribe(ws, "everybody")
    ws.send("in")
    ws.wait()
"""
LOADED = """

print("loaded", flush=True)
"""
PATCHED = "from gevent import monkey\n\nmonkey.patch_all()\n"


@contextlib.contextmanager
def redis_for(text: str) -> Iterator[str]:
    """Run a Redis, and yield the text with its port."""
    assert "6379" in text
    redis = RedisServer()
    try:
        redis.start()
        yield text.replace("6379", str(redis.port))
    finally:
        redis.stop()


def handler(talk: Callable[[Place], None], before: str = "") -> Callable[[Block], None]:
    """Serve the handler of a block, and talk to it."""

    def run(block: Block) -> None:
        with redis_for(before + block.text) as text, serving(text) as place:
            talk(place)

    return run


def flask(block: Block) -> None:
    """Serve the page's Flask application, and chat in a room of it: with the line of the block, or one process."""
    with redis_for(first_of(block.page)) as text:
        pathlib.Path("app.py").write_text(text + LOADED)
        _serve(block, "app:app", "/rooms/lobby")


def django(block: Block) -> None:
    """Serve the page's urls.py, and chat in a room of it: with the line of the block, or one process."""
    with redis_for(first_of(block.page)) as text:
        write_project(block._replace(text=text))
        with pathlib.Path("mysite/wsgi.py").open("a") as file:
            file.write(LOADED)  # of the URLs a worker knows with its first request
        _serve(block, "mysite.wsgi:application", "/ws/chat/lobby/", '{"message":"%s"}')


def job(block: Block) -> None:
    """Run what publishes beside a server that subscribes to the same Redis."""
    with redis_for(SUBSCRIBE + "\0" + block.text) as text:
        server, _, script = text.partition("\0")
        with serving(server) as place, place.connect() as client:
            assert client.recv(timeout=ANSWER) == "in"
            for _ in range(20):  # the first may come before the server has subscribed at Redis
                execute(["-c", script])
                with contextlib.suppress(TimeoutError):
                    assert client.recv(timeout=0.5) == "the backup is done"
                    return
        raise AssertionError("nothing has come")


def first_of(page: str) -> str:
    """Return the page's first block."""
    return next(iter(read_blocks(page))).text


def _serve(block: Block, application: str, path: str, form: str = "%s") -> None:
    """Serve an application, and let its clients talk in a room."""
    line = block.text if block.language == "shell" else f"geventws serve {application}"
    port = free_port()
    command = [sys.executable, *arguments_of(f"{line} --bind 127.0.0.1:{port}", port)]
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(running(command, port, workers_of(line) if block.language == "shell" else 0))
        clients = [stack.enter_context(place.connect(path)) for _ in range(6)]
        for number, client in enumerate(clients):
            client.send(form % f"here is {number}")
            talks.hear(client, f"here is {number}")  # it is in the room
        for client in clients:
            _tell(clients[0], form % "everybody", client)


def _tell(speaker: Any, message: str, listener: Any) -> None:
    """Have a client hear another one: the first message may come before its worker has subscribed at Redis."""
    for _ in range(20):
        speaker.send(message)
        with contextlib.suppress(TimeoutError):
            talks.hear(listener, "everybody", 0.5)
            return
    raise AssertionError("nothing has come")


def over_redis(run: Callable[[Block], None]) -> Callable[[Block], None]:
    """Run a block beside a Redis of its own."""

    def run_over_redis(block: Block) -> None:
        with redis_for(block.text) as text:
            run(block._replace(text=text))

    return run_over_redis


def publishes(block: Block) -> None:
    """Run a program to its end, and hear what it has published."""
    port = int(block.text.partition("127.0.0.1:")[2].partition("/")[0])
    with RedisServer.at(port).subscribed(b"gws:t:room") as receive:
        assert execute(["-c", block.text]) == ""
        assert receive().endswith(b"The shop is open.")
