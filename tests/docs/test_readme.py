"""The documents do what they say: every block of code in them is run, and what they say of defaults is compared.

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
from kit.documents import (
    flask_pages,
    framework_pages,
    guides,
    metrics_pages,
    migrations,
    redis_pages,
    rooms_pages,
    secure,
    talks,
    tutorial,
)
from kit.documents.blocks import (
    ROOT,
    Block,
    connect_command,
    docker_command,
    drained_at_exit,
    drained_by_hook,
    execute,
    handler,
    haproxy,
    javascript,
    make_targets,
    nginx,
    nginx_rooms,
    passes,
    pip_install,
    program,
    read,
    read_blocks,
    reconnects,
    script,
    serve_commands,
    tells,
)
from kit.documents.redis_pages import over_redis, publishes
from kit.documents.talks import echoes

import geventws
from geventws.client.opening import connect
from geventws.client.reconnection import reconnect
from geventws.endpoints.endpoint import Endpoint
from geventws.server.server import WebSocketServer

TOP = [ROOT / f"{name}.rst" for name in ("README", "CHANGES", "CONTRIBUTING", "SECURITY")]
PAGES = sorted([*TOP, *(ROOT / "docs").glob("*.rst")])
OPTIONS = (ROOT / "docs" / "options.rst").read_text()

SEND_BLOB = """
const ws = new WebSocket("ws://127.0.0.1:8000/");
ws.onopen = () => send(ws, new Blob([new Uint8Array(200000)]));
ws.onmessage = (event) => { console.log(event.data); ws.close(); };
"""
"""Sends what a page's visitor chose, as Node has no page."""

RUNS: dict[str, dict[str, Callable[[Block], None]]] = {
    "README.rst": {
        "def echo(ws)": program(echoes),
        "pip install geventws": pip_install,
        "make run": make_targets,
        "def room(ws):\n": program(talks.broadcasts),
        "import Flask": flask_pages.serves(lambda place: talks.broadcasts(place, "/rooms/7")),
        "pip install 'geventws[gunicorn]'": pip_install,
        "gunicorn -k geventws.gunicorn.Worker --bind": serve_commands,
    },
    "docs/index.rst": {
        "def echo(": program(echoes),
        "pip install": pip_install,
    },
    "docs/tutorial.rst": {
        "pip install 'geventws[flask": pip_install,
        "ws.send(message)": tutorial.step("echo", echoes),
        "geventws connect": tutorial.echo_commands,
        'pubsub.publish("chat", message)': tutorial.step("room", talks.broadcasts),
        "def application(ws):\n    name": tutorial.step("names", tutorial.chats),
        "def page(": tutorial.app(tutorial.chats_in_flask),
        "<!doctype html>": tutorial.app(tutorial.chats_in_a_browser),
        "app:app --reload": tutorial.app(tutorial.chats_in_flask),
        "def test_two_people_talk": tutorial.test_of_app,
        "def announce(": tutorial.app(tutorial.chats_in_flask),
        "curl": tutorial.announces,
        "pip install 'geventws[redis": pip_install,
        "os.environ": tutorial.over_redis(tutorial.chats_over_four_workers),
        "REDIS_URL=redis": tutorial.over_redis(tutorial.chats_in_a_browser),
    },
    "docs/faq.rst": {
        "def everybody(": handler(talks.broadcasts),
        "curl": tutorial.announces,
        "def watched(": handler(guides.is_watched),
        "load_cert_chain": secure.renews,
    },
    "docs/install.rst": {
        "pip install geventws": pip_install,
        "--version": tells("geventws "),
        "pip install 'geventws[compression": pip_install,
        "make run": make_targets,
    },
    "docs/authentication.rst": {
        "def news(": handler(guides.welcomes_pages),
        "SimpleCookie": handler(guides.knows_cookies),
        "def robots(": handler(talks.authenticates),
        "def chat(": handler(guides.knows_bearers),
        "def greet(": handler(guides.waits_for_a_token, timeout="0.2"),
        "def feed(": handler(guides.expires, SECONDS="1"),
        "new WebSocket(": javascript("def chat(", "hello ann, you speak chat\n"),
        "def room(": handler(guides.knows_members),
    },
    "docs/files.rst": {
        "def download(": handler(talks.downloads),
        "def upload(": handler(talks.uploads),
        "def keep(": handler(guides.keeps),
        "def receive(": handler(guides.receives_slices),
        "file.slice(": javascript("def receive(", "200000 bytes\n", SEND_BLOB),
    },
    "docs/one-user.rst": {
        "/notify/": program(guides.notifies),
        "def single(": handler(guides.has_one_connection),
        "def squares(": handler(guides.squares),
        "the backup is done": redis_pages.job,
    },
    "docs/proxy.rst": {
        "proxy_pass": nginx,
        "timeout tunnel": haproxy,
        "ProxyFix(": program(guides.knows_addresses),
    },
    "docs/rate-limits.rst": {
        "RATE, BURST": handler(guides.is_slowed_down),
        "def limited(": handler(guides.has_three_connections),
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
        "def clock(": handler(talks.ticks, sleep="0.05"),
        "def think(": handler(talks.thinks),
        "def measure(": handler(talks.measures),
        "def feed(": handler(talks.compresses),
        "def choose_compression(": handler(talks.compresses_for_others),
        "patch_all()": script(),
    },
    "docs/callbacks.rst": {
        "def on_bytes(": program(echoes),
        "class Greeter(": handler(guides.greets),
        "class News(": handler(guides.tells_all),
        "class Adder(": handler(guides.adds),
        "def stop(": program(talks.is_drained),
    },
    "docs/migrating-from-eventlet.rst": {"eventlet.listen(": program(migrations.greets_the_world)},
    "docs/migrating-from-gevent-websocket.rst": {
        "import WebSocketHandler": program(migrations.echoes_text),
        "gunicorn -k": migrations.worker,
        "WebSocketMiddleware(application)": program(echoes),
    },
    "docs/migrating-from-flask-socketio.rst": {"def talk(": redis_pages.flask, "serve app:app": redis_pages.flask},
    "docs/migrating-from-channels.rst": {"def chat(": redis_pages.django, "serve mysite": redis_pages.django},
    "docs/migrating-from-redis.rst": {
        "def listen(": redis_pages.handler(talks.broadcasts, redis_pages.PATCHED),
        "pubsub.subscribe(": redis_pages.handler(talks.broadcasts),
    },
    "docs/migrating-from-flask-sockets.rst": {"echo_socket(": program(lambda place: echoes(place, "/echo"))},
    "docs/migrating-from-wsocket.rst": {"WSocketApp(": program(migrations.repeats)},
    "docs/migrating-from-pulsar.rst": {
        "wsgi.WSGIServer(": program(lambda place: migrations.echoes_text(place, "/bla")),
        "wsgi.createServer(": program(echoes),
    },
    "docs/migrating-from-cyclone.rst": {
        "class EchoWebSocket(": program(migrations.says_what_was_said),
        "class Careful(": script(),
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
    "docs/frameworks.rst": {
        "# Django: urls.py": framework_pages.urls,
        "# Bottle": framework_pages.application,
        "# Pyramid": framework_pages.application,
        "# Falcon": framework_pages.application,
        "geventws serve mysite": framework_pages.commands,
        "PermissionDenied": framework_pages.refusing_urls,
    },
    "docs/rooms.rst": {
        "def room(ws)": program(talks.broadcasts),
        "def room(name)": program(lambda place: talks.broadcasts(place, "/rooms/7")),
        "class Room(": program(talks.tells_others),
        "RULES =": handler(talks.prepares),
        "def prices(": handler(talks.quotes),
        "def lecture(": handler(talks.catches_up),
        "def lobby(": handler(talks.meets),
        "def report(": handler(echoes),
        "pubsub.endpoint": rooms_pages.page,
        "<!doctype html>": rooms_pages.page,
        "RoomsClient(": rooms_pages.client,
    },
    "docs/rooms-protocol.rst": {
        '"id": 7, "topic": "room:7", "data"': rooms_pages.messages,
        '"code": "forbidden"': rooms_pages.messages,
        '"position": "f3a1:41"': rooms_pages.messages,
    },
    "docs/scaling.rst": {
        "pip install 'geventws[redis]'": pip_install,
        "def room(ws)": over_redis(program(talks.broadcasts)),
        "The shop is open": over_redis(publishes),
        "proxy_pass": nginx_rooms,
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
        "certfile=": secure.tls_program,
        "def robots(": secure.tls_program_for_robots,
        "FROM python": docker_command,
        "server.init_socket()": program(echoes),
    },
    "docs/metrics.rst": {
        "pip install": pip_install,
        "def chat(": program(metrics_pages.is_measured),
        "def post_worker_init(": metrics_pages.workers,
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


def name_block(block: Block) -> Any:
    """Return a block as a parameter: its page, and its last line."""
    last = block.text.strip().splitlines()[-1].strip()[:40]
    return pytest.param(block, id=f"{block.page}: {last}")


@pytest.mark.parametrize("block", [name_block(block) for block in BLOCKS])
def test_a_block_runs(block: Block, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = [run for key, run in RUNS[block.page].items() if key in block.text]
    assert len(found) == 1, f"{len(found)} entries of RUNS are for\n{block.text}"
    found[0](block)


def test_no_run_is_without_its_block() -> None:
    for page, runs in RUNS.items():
        for key in runs:
            assert [block.page for block in BLOCKS if key in block.text].count(page) == 1, (page, key)


ELSEWHERE = {"databases.rst": "test_databases.py", "flask-socketio.rst": "test_socketio.py"}
"""Pages whose blocks are run by tests of their own."""


def test_the_blocks_of_every_page_are_run() -> None:
    shown = {page.name for page in PAGES if ".. code-block::" in page.read_text()}
    assert shown - {pathlib.Path(name).name for name in RUNS} == set(ELSEWHERE)


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


NO_MODULES = {"geventws.js", "geventws.d.ts", "geventws.rooms.v1", "geventws.rooms.v2"}
"""Files, and names of a protocol, that look like modules."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: pathlib.Path) -> None:
    for dotted in set(re.findall(r"``(geventws(?:\.\w+)+)", page.read_text())) - NO_MODULES:
        assert pkgutil.resolve_name(dotted) is not None


# What the pages say of options


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
    row = re.search(rf"^``{option}``( \*)? +(\S.*?)  ", OPTIONS, re.MULTILINE)
    assert row is not None and row[2] == told
    assert default(Endpoint, option) == value
    assert bool(row[1]) == (option in inspect.signature(connect).parameters)
    assert not row[1] or default(connect, option) == value


def test_every_option_of_an_endpoint_is_in_the_table() -> None:
    for option in [*inspect.signature(Endpoint).parameters, "kill_on_close"]:
        assert re.search(rf"^``{option}``", OPTIONS, re.MULTILINE), option


def test_the_defaults_of_the_server() -> None:
    page = (ROOT / "docs" / "deployment.rst").read_text()
    for option in ("head_timeout", "keepalive_timeout", "handshake_timeout", "body_timeout"):
        assert re.search(rf"^``{option}`` +{default(WebSocketServer, option):g} s ", page, re.MULTILINE), option
    assert re.search(rf"^``max_head_size`` +{default(WebSocketServer, 'max_head_size') >> 10} KiB ", page, re.MULTILINE)
    assert re.search(rf"^``min_body_rate`` +{default(WebSocketServer, 'min_body_rate'):g} B/s ", page, re.MULTILINE)
    assert re.search(rf"^``max_connections`` +``{default(WebSocketServer, 'max_connections')}`` ", page, re.MULTILINE)
    assert f"by default {WebSocketServer.stop_timeout:g} (``WebSocketServer.stop_timeout``)" in " ".join(page.split())


def test_the_defaults_of_the_client() -> None:
    page = (ROOT / "docs" / "client.rst").read_text()
    assert re.search(rf"^``open_timeout`` +{default(connect, 'open_timeout'):g} s ", page, re.MULTILINE)
    assert re.search(rf"^``max_redirects`` +{default(connect, 'max_redirects')} ", page, re.MULTILINE)
    for option in ("initial_delay", "max_delay", "reset_after"):
        assert re.search(rf"^``{option}`` +{default(reconnect, option):g} s ", page, re.MULTILINE), option
    assert re.search(rf"^``factor`` +{default(reconnect, 'factor'):g} ", page, re.MULTILINE)
