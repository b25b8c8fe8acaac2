"""Runs blocks of code from the documents, for test_readme.py: as they stand, but for their port.

A program is started as it stands; a handler alone is served by `SERVE`; a script runs to its end beside an echo server;
a line of a shell is run with this interpreter. What is said to what is served stands in talks.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import docutils.core
import docutils.nodes
import docutils.parsers.rst.directives
import docutils.parsers.rst.roles
from kit.documents.talks import Place, echoes, is_drained
from kit.programs import proxies
from kit.programs.hosts import Host
from kit.servers.ports import free_port

ROOT = pathlib.Path(__file__).resolve().parents[3]
STRICT = {"report_level": 2, "halt_level": 2, "syntax_highlight": "none", "_disable_config": True}
GUNICORN = [sys.executable, "-m", "gunicorn", "--bind"]
START = 30.0
"""Seconds for a program to listen, on a busy machine."""

SERVE = """\
import gevent
from geventws import WebSocketWSGI
from geventws.endpoints.endpoint import Endpoint
from geventws.server import WebSocketServer

exec(compile(open("block.py").read(), "block.py", "exec"))
route = [value for value in list(globals().values()) if isinstance(value, Endpoint)][-1]
server = WebSocketServer(("127.0.0.1", 0), route, log=None)
server.start()
print(f"Listening at: http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""
ECHO = """\
from geventws import WebSocketWSGI

print("loaded", flush=True)

@WebSocketWSGI(subprotocols=["chat"])
def application(ws):
    for message in ws:
        ws.send(message)
"""
COUNT = """\
import itertools
from geventws import WebSocketWSGI

numbers = itertools.count(1)

@WebSocketWSGI
def application(ws):
    if ws.wait() == "subscribe":
        ws.send(f"connection {next(numbers)}")
"""

class Block(NamedTuple):
    """A block of code: the page it is on, its language, and what it says."""

    page: str
    language: str
    text: str


class Skipped(docutils.parsers.rst.Directive):
    """A directive of Sphinx's, which tests/docs/test_site.py looks at."""

    optional_arguments, final_argument_whitespace, has_content = 1, True, True

    def run(self) -> list[docutils.nodes.Node]:
        return []


SPHINX = ["toctree", "automodule", "currentmodule", "autoclass", "autodata", "autoexception", "autofunction"]
for name in SPHINX:
    options = ("caption", "hidden", "maxdepth", "members", "undoc-members", "no-members", "no-value")
    spec = dict.fromkeys(options, docutils.parsers.rst.directives.unchanged)
    docutils.parsers.rst.directives.register_directive(name, type(name, (Skipped,), {"option_spec": spec}))
for name in ("doc", "ref"):
    docutils.parsers.rst.roles.register_generic_role(name, docutils.nodes.emphasis)


def read(page: pathlib.Path) -> docutils.nodes.document:
    """Return a page as docutils reads it; a warning is an error."""
    return docutils.core.publish_doctree(page.read_text(), source_path=str(page), settings_overrides=STRICT)


def read_blocks(name: str) -> Iterator[Block]:
    """Yield the blocks of code on a page."""
    for node in read(ROOT / name).findall(docutils.nodes.literal_block):
        assert node["classes"][:1] == ["code"], f"{name} has a block without a language: {node.astext()}"
        yield Block(name, node["classes"][1], node.astext())




def wait_until_up(host: Host, port: int, workers: int) -> None:
    """Block until somebody listens on a port, and so many workers have loaded `ECHO`.

    A worker of gunicorn's that is told to end before it loads its application may miss that.
    """
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            if sum(line.count("loaded") for line in host.lines) >= workers:  # two may share a line
                return
        time.sleep(0.02)
    raise AssertionError("it is not up; it says\n" + "\n".join(host.lines))


@contextlib.contextmanager
def running(command: list[str], port: int = 0, workers: int = 0) -> Iterator[Place]:
    """Run a command that serves, on a port, or on the one that it tells."""
    host = Host(command)
    try:
        if port:
            wait_until_up(host, port, workers)
        yield Place(port or host.listening().port, host)
    finally:
        host.terminate()
        host.wait()


# How a block is run


def program(talk: Callable[[Place], None]) -> Callable[[Block], None]:
    """Run a block as it stands, but for its port, and talk to it."""

    def run(block: Block) -> None:
        assert "8000" in block.text
        port = free_port()
        pathlib.Path("block.py").write_text(block.text.replace("8000", str(port)))
        with running([sys.executable, "block.py"], port) as place:
            talk(place)

    return run


def handler(talk: Callable[[Place], None], **changed: str) -> Callable[[Block], None]:
    """Serve the handler of a block, and talk to it; `changed` are numbers in it, set to what a test can wait for."""

    def run(block: Block) -> None:
        text = block.text
        for name, value in changed.items():
            text, count = re.subn(rf"\b({name} ?[=(] ?)\d+", rf"\g<1>{value}", text)
            assert count == 1
        with serving(text) as place:
            talk(place)

    return run


def script(output: str = "") -> Callable[[Block], None]:
    """Run a block to its end, beside an echo server, and compare what it writes."""

    def run(block: Block) -> None:
        with serving(ECHO) as place:
            assert execute(["-c", block.text.replace("8000", str(place.port))]) == output

    return run


@contextlib.contextmanager
def serving(text: str) -> Iterator[Place]:
    """Serve the handler that a text defines."""
    pathlib.Path("block.py").write_text(text)
    with running([sys.executable, "-c", SERVE]) as place:
        yield place


def passes(count: int) -> Callable[[Block], None]:
    """Run a block's tests, which are so many."""

    def run(block: Block) -> None:
        pathlib.Path("test_block.py").write_text(block.text)
        lines = execute(["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_block.py"]).splitlines()
        assert lines[-1].startswith(f"{count} passed"), lines

    return run


def execute(arguments: list[str], stdin: str = "") -> str:
    """Run the interpreter to its end, which has to be a good one, and return the output."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, *arguments], input=stdin, capture_output=True, text=True, timeout=20, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def arguments_of(line: str, port: int) -> list[str]:
    """Return a line of a shell as arguments of this interpreter."""
    words = shlex.split(line.replace("8000", str(port)))
    return words[1:] if words[0] == "python" else ["-m", *words]


def workers_of(line: str) -> int:
    """Return how many processes a line starts that load the application."""
    return int((re.search(r"--workers (\d+)", line) or [0, 1])[1])


def serve_commands(block: Block) -> None:
    """Run each line: those that serve in turn, and beside each those that connect."""
    pathlib.Path("package").mkdir()
    pathlib.Path("package/module.py").write_text(ECHO)
    lines = block.text.splitlines()
    talks = [line for line in lines if " connect " in line]
    for line in lines:
        if line not in talks:
            port = free_port()
            with running([sys.executable, *arguments_of(line, port)], port, workers_of(line)) as place:
                echoes(place)
                for other in talks:
                    assert execute(arguments_of(other, port), "hello\n") == "hello\n"


def connect_command(block: Block) -> None:
    """Send two lines through a pipe, which are two messages."""
    with serving(ECHO) as place:
        assert execute(arguments_of(block.text, place.port), "hello\nyou\n") == "hello\nyou\n"


def tells(start: str) -> Callable[[Block], None]:
    """Run a line, and compare how its output begins."""

    def run(block: Block) -> None:
        assert execute(arguments_of(block.text, 0)).startswith(start)

    return run


def javascript(server: str, output: str, after: str = "") -> Callable[[Block], None]:
    """Run a block, and `after`, in Node, beside the handler that the page's block with `server` in it defines."""

    def run(block: Block) -> None:
        (text,) = [other.text for other in read_blocks(block.page) if server in other.text]
        with serving(text) as place:
            code = (block.text + after).replace("8000", str(place.port))
            command = ["node", "--experimental-websocket", "-e", code]
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert (done.returncode, done.stdout) == (0, output), done.stderr

    return run


def make_targets(block: Block) -> None:
    """Nothing is made: make has to know how."""
    for line in block.text.splitlines():
        words = shlex.split(line)
        assert words[0] == "make"
        subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, timeout=20, check=True)


def pip_install(block: Block) -> None:
    """Nothing is installed: the name and the extras are compared with pyproject.toml."""
    project = (ROOT / "pyproject.toml").read_text()
    words = shlex.split(block.text)
    assert words[:2] == ["pip", "install"] and len(words) == 3
    name, _, extras = words[2].rstrip("]").partition("[")
    assert f'\nname = "{name}"\n' in project
    optional = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    for extra in filter(None, extras.split(",")):
        assert re.search(rf"^{extra} = \[", optional, re.MULTILINE), f"there is no extra {extra}"


def nginx(block: Block) -> None:
    """It is the file that test_nginx.py runs."""
    assert block.text == (ROOT / "deploy" / "nginx.conf").read_text().rstrip("\n")


def nginx_rooms(block: Block) -> None:
    """It is the file that test_nginx_rooms.py runs."""
    assert block.text == (ROOT / "deploy" / "nginx-rooms.conf").read_text().rstrip("\n")


def haproxy(block: Block) -> None:
    """Run HAProxy with the block in front of an echo server."""
    port, config = free_port(), block.text + "\n"
    with serving(ECHO) as place:
        config = config.replace("8000", str(place.port)).replace("8080", str(port))
        with proxies.haproxy(pathlib.Path.cwd(), config, port):
            echoes(Place(port, place.host))


def drained_by_hook(block: Block) -> None:
    """Run gunicorn with the hook and the application above it, and end it as a supervisor does."""
    pathlib.Path("gunicorn.conf.py").write_text(block.text)
    pathlib.Path("package").mkdir()
    application = [other.text for other in read_blocks(block.page) if "connections = set()" in other.text]
    pathlib.Path("package/module.py").write_text("\n".join([*application, 'print("loaded", flush=True)']))
    port = free_port()
    with running([*GUNICORN, f"127.0.0.1:{port}", "package.module:application"], port, 1) as place:
        is_drained(place)


def drained_at_exit(block: Block) -> None:
    """The same with the hook for callbacks."""
    pathlib.Path("gunicorn.conf.py").write_text('worker_class = "gevent"\n' + block.text)
    pathlib.Path("package").mkdir()
    callbacks = "from kit.apps.callbacks import Echo\n\napplication = Echo()\n"
    pathlib.Path("package/module.py").write_text(callbacks + 'print("loaded", flush=True)')
    port = free_port()
    with running([*GUNICORN, f"127.0.0.1:{port}", "package.module:application"], port, 1) as place:
        is_drained(place, "open")


def docker_command(block: Block) -> None:
    """Run what the image runs, and end it as Docker does."""
    pathlib.Path("package").mkdir()
    pathlib.Path("package/module.py").write_text(ECHO)
    port = free_port()
    python, *arguments = json.loads(block.text.partition("\nCMD ")[2])
    assert python == "python"
    changed = [argument.replace("0.0.0.0:8000", f"127.0.0.1:{port}") for argument in arguments]
    assert changed != arguments
    with running([sys.executable, *changed], port) as place:
        is_drained(place)


def reconnects(block: Block) -> None:
    """Two connections, one after the other; then the script is ended."""
    with serving(COUNT) as place:
        text = block.text.replace("8000", str(place.port)).replace("initial_delay=1.0", "initial_delay=0.01")
        client = Host([sys.executable, "-u", "-c", text])
        try:
            client.wait_for("^connection 1$", START)
            client.wait_for("^connection 2$")
        finally:
            client.terminate()
            client.wait()
