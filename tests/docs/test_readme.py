"""The documents do what they say: every block of code in them is run, and what the README says of defaults is compared.

`RUNS` has one entry for each block, found by a text that stands in it. How blocks are run is in documents.py.
"""

from __future__ import annotations

import inspect
import pathlib
import pkgutil
import re
from collections.abc import Callable
from typing import Any

import docutils.nodes
import pytest
from kit.documents import flask_pages, talks
from kit.documents.blocks import (
    GEVENT_WEBSOCKET,
    HANDLER,
    ROOT,
    Block,
    connect_command,
    docker_command,
    drained_at_exit,
    drained_by_hook,
    execute,
    handler,
    make_targets,
    nginx,
    passes,
    pip_install,
    program,
    read,
    read_blocks,
    reconnects,
    script,
    serve_commands,
    tls_program,
    tls_program_for_robots,
)
from kit.documents.talks import echoes

import geventws
from geventws.client.opening import connect
from geventws.endpoints.endpoint import Endpoint
from geventws.server.server import WebSocketServer

TOP = [ROOT / f"{name}.rst" for name in ("README", "CHANGES", "CONTRIBUTING", "SECURITY")]
PAGES = sorted([*TOP, *(ROOT / "docs").glob("*.rst")])
README = (ROOT / "README.rst").read_text()

RUNS: dict[str, dict[str, Callable[[Block], None]]] = {
    "README.rst": {
        "@WebSocketWSGI\n": program(echoes),
        "pip install geventws": pip_install,
        "pip install 'geventws[compression": pip_install,
        "make run": make_targets,
        "geventws connect": serve_commands,
        "eventlet.listen(": program(echoes, HANDLER),
        "geventwebsocket.handler": program(echoes, GEVENT_WEBSOCKET),
        "class Echo(": program(echoes),
        "import Flask": program(lambda place: echoes(place, "/echo")),
        "geventws.connect(": script("hello\n"),
        "pip install 'geventws[gunicorn]'": pip_install,
        "gunicorn -k geventws.gunicorn.Worker --bind": serve_commands,
        "proxy_pass": nginx,
        "make bench": make_targets,
    },
    "docs/handlers.rst": {
        "def page(": program(talks.echoes_beside_a_page),
        "import Flask": program(lambda place: echoes(place, "/echo")),
        "import gevent\n": script(),
        "def count(": handler(talks.counts),
        "def add(": handler(talks.adds),
        "def guess(": handler(talks.guesses),
        "def notify(": handler(talks.learns_of_the_end),
        "def work(": handler(talks.is_killed),
        "def patient(": handler(talks.is_patient, timeout="0.2"),
        "def brief(": handler(talks.is_brief, Timeout="0.5"),
        "def chat(": handler(talks.chooses),
        "def private(": handler(talks.authenticates),
        "def clock(": handler(talks.ticks, sleep="0.05"),
        "def room(": handler(talks.broadcasts),
        "def think(": handler(talks.thinks),
        "def measure(": handler(talks.measures),
        "def download(": handler(talks.downloads),
        "def upload(": handler(talks.uploads),
        "def feed(": handler(talks.compresses),
        "def choose_compression(": handler(talks.compresses_for_others),
    },
    "docs/testing.rst": {
        "def test_shout(": passes(1),
        "def test_welcome(": passes(2),
        "def test_a_slow_one(": passes(3),
        "def test_a_silent_client": passes(1),
        "def test_count(": passes(1),
    },
    "docs/flask.rst": {
        "pip install": pip_install,
        "def echo(": flask_pages.application,
        "flask run": flask_pages.commands,
        "def create_app(": flask_pages.factory,
    },
    "docs/rooms.rst": {
        "def room(ws)": program(talks.broadcasts),
        "import Flask": program(lambda place: talks.broadcasts(place, "/rooms/7")),
        "class Room(": program(talks.tells_others),
        "RULES =": handler(talks.prepares),
        "def prices(": handler(talks.quotes),
        "def report(": handler(echoes),
    },
    "docs/client.rst": {
        "subprotocols=": script("hello\n1000\n"),
        "InvalidStatus": script(),
        "reconnect(": reconnects,
        "geventws connect": connect_command,
    },
    "docs/deployment.rst": {
        "max_connections=10_000": program(talks.is_drained),
        "serve package.module:application --bind": serve_commands,
        "pip install 'geventws[gunicorn]'": pip_install,
        "gunicorn -k geventws.gunicorn.Worker --workers": serve_commands,
        "serve package.module:application --workers": serve_commands,
        "gunicorn -k gevent --workers": serve_commands,
        "connections = set()": handler(echoes),
        "def post_worker_init(": drained_by_hook,
        "def worker_exit(": drained_at_exit,
        "proxy_pass": nginx,
        "certfile=": tls_program,
        "def robots(": tls_program_for_robots,
        "FROM python": docker_command,
        "server.init_socket()": program(echoes),
    },
    "docs/types.rst": {
        "ws: WebSocket)": handler(echoes),
        "ws: CallbackWebSocket)": handler(talks.counts_messages),
        "ws: RequestWebSocket": handler(echoes),
        "def ask(": script("websocket chat\nhello\n"),
    },
    "docs/codec.rst": {
        "Opcode.PING": script(),
        "close_code == 1002": script(),
    },
}

BLOCKS = [block for name in RUNS for block in read_blocks(name)]
LAST_LINES = [f"{block.page}: {block.text.strip().splitlines()[-1].strip()[:40]}" for block in BLOCKS]


@pytest.mark.parametrize("block", BLOCKS, ids=LAST_LINES)
def test_a_block_runs(block: Block, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = [run for key, run in RUNS[block.page].items() if key in block.text]
    assert len(found) == 1, f"{len(found)} entries of RUNS are for\n{block.text}"
    found[0](block)


def test_no_run_is_without_its_block() -> None:
    for page, runs in RUNS.items():
        for key in runs:
            assert [block.page for block in BLOCKS if key in block.text].count(page) == 1, (page, key)


# The pages


@pytest.mark.parametrize("page", TOP, ids=lambda page: page.name)  # test_site.py has the others
def test_a_page_has_no_warning_and_its_links_lead_somewhere(page: pathlib.Path) -> None:
    document = read(page)
    assert not document.parse_messages and not document.transform_messages
    for link in document.findall(docutils.nodes.reference):
        target = link.get("refuri", "")
        if target and "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links {target}"


def test_the_readme_becomes_a_page() -> None:
    html = execute(["-m", "docutils", "--strict", str(ROOT / "README.rst")])
    assert '<pre class="code python literal-block">' in html


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: pathlib.Path) -> None:
    for dotted in re.findall(r"``(geventws(?:\.\w+)+)", page.read_text()):
        assert pkgutil.resolve_name(dotted) is not None


# What the README says of the package


@pytest.mark.parametrize("name", geventws.__all__)
def test_a_public_name_stands_in_the_readme(name: str) -> None:
    assert re.search(rf"``{name}\b", README)


def default(function: Any, option: str) -> Any:
    return inspect.signature(function).parameters[option].default


@pytest.mark.parametrize(("option", "told", "value"), [
    ("max_message_size", "1 MiB", 1 << 20),
    ("ping_interval", "20 s, varied by 10 %", 20.0),
    ("ping_timeout", "20 s", 20.0),
    ("close_timeout", "5 s", 5.0),
    ("send_timeout", "30 s", 30.0),
    ("origins", "same origin", geventws.SAME_ORIGIN),
    ("subprotocols", "none", ()),
    ("decode_text", "``True``", True),
    ("streaming", "``False``", False),
    ("headers", "none", ()),
    ("support_legacy_versions", "``False``", False),
    ("compression", "when the peer offers it", geventws.PerMessageDeflate()),
])  # fmt: skip
def test_the_defaults_of_an_endpoint(option: str, told: str, value: Any) -> None:
    row = re.search(rf"^``{option}``( \*)? +(\S.*?)  ", README, re.MULTILINE)
    assert row is not None and row[2] == told
    assert default(Endpoint, option) == value
    assert bool(row[1]) == (option in inspect.signature(connect).parameters)
    assert not row[1] or default(connect, option) == value


def test_every_option_of_an_endpoint_stands_in_the_readme() -> None:
    for option in inspect.signature(Endpoint).parameters:
        assert re.search(rf"^``{option}``", README, re.MULTILINE), option


def test_the_defaults_of_the_server_and_the_client() -> None:
    text = " ".join(README.split())
    for option in ("head_timeout", "keepalive_timeout", "body_timeout"):
        assert f"``{option}`` {default(WebSocketServer, option):g} s" in text
    assert f"``handshake_timeout`` (TLS) {default(WebSocketServer, 'handshake_timeout'):g} s" in text
    assert f"``max_head_size`` {default(WebSocketServer, 'max_head_size') >> 10} KiB" in text
    assert default(WebSocketServer, "max_connections") is None
    assert f"{WebSocketServer.stop_timeout:g} s for a drain" in text
    assert f"``open_timeout`` {default(connect, 'open_timeout'):g} s" in text
    assert f"``max_redirects`` {default(connect, 'max_redirects')}" in text
