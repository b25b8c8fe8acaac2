"""The contract of the peers, shown with ours: what a client says of good and of bad echoes, and that none is forgotten.

The whole matrix, with what it installs, is `make interop`.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import gevent
import pytest
from interop.messages import MESSAGES, write_messages
from interop.table import KNOWN, OURS, PEERS

from geventws import WebSocketApplication
from geventws.server.server import WebSocketServer

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "interoperability.rst"
TIMEOUT = 30


@pytest.fixture
def env(tmp_path: pathlib.Path) -> dict[str, str]:
    write_messages(tmp_path / "messages.json")
    return os.environ | {"INTEROP_MESSAGES": str(tmp_path / "messages.json")}


def start(env: dict[str, str], role: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "peers" / f"geventws_{role}.py"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)


def verdict(env: dict[str, str], url: str, ours: str) -> str:
    with start(env, "client", url, ours) as client:
        return client.communicate(timeout=TIMEOUT)[0].splitlines()[-1]


@pytest.mark.parametrize("ours", OURS)
def test_our_client_and_our_server_get_on(env: dict[str, str], ours: str) -> None:
    with start(env, "server", ours) as server:
        try:
            assert server.stdout is not None
            assert verdict(env, f"ws://127.0.0.1:{int(server.stdout.readline())}/", ours) == "ok"
        finally:
            server.kill()


class Cuts(WebSocketApplication):
    def on_message(self, ws, message):
        return message[:99]

    def on_bytes(self, ws, data):
        return data


class Confuses(Cuts):
    def on_bytes(self, ws, data):
        return data.decode("latin-1")


class Leaves(Cuts):
    def on_bytes(self, ws, data):
        ws.close(4000, "enough")


@pytest.mark.parametrize(
    ("application", "difference"),
    [
        (Cuts, f"message 5: {len(MESSAGES[4])} came back as 99 that differ"),
        (Confuses, "message 2: bytes came back as ''"),
        (Leaves, "message 2: bytes came back as None"),
    ],
)
def test_a_client_tells_the_first_difference(
    env: dict[str, str], application: type[WebSocketApplication], difference: str
) -> None:
    server = WebSocketServer(("127.0.0.1", 0), application(max_message_size=4 << 20), log=None)
    server.start()
    try:
        url = f"ws://127.0.0.1:{server.server_port}/"
        assert gevent.get_hub().threadpool.apply(verdict, (env, url, "default")) == difference
    finally:
        server.stop()


def test_there_are_17_messages_from_nothing_to_700_kb_of_both_kinds() -> None:
    sizes = [len(message.encode() if isinstance(message, str) else message) for message in MESSAGES]
    assert (len(sizes), min(sizes), max(sizes)) == (17, 0, 700_000)
    assert {type(message) for message in MESSAGES} == {str, bytes}


def test_each_peer_has_its_scripts_and_each_script_its_peer() -> None:
    named = {peer.script("client") for peer in PEERS} | {peer.script("server") for peer in PEERS if peer.server}
    there = {path.name for path in (HERE / "peers").iterdir() if path.stem.endswith(("_client", "_server"))}
    assert there - {"geventws_client.py", "geventws_server.py"} == named


def test_the_page_has_each_peer_and_the_reason_of_each_failure() -> None:
    page = " ".join(PAGE.read_text().split())
    assert [peer.name for peer in PEERS if f" {peer.name} " not in page] == []
    assert page.count("**fails**") == len(KNOWN)
    assert all(known.reason in page for known in KNOWN)
