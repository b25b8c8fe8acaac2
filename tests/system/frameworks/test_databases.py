"""docs/databases.rst, literally: sessions are given back while sockets live, of a pool of one connection."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Iterator

import gevent
import pytest
from kit import frames
from kit.clients import RawClient
from kit.programs.hosts import Host

RECIPES = ["votes", "flask_application", "django_application"]
SOCKETS = 4


@pytest.fixture(scope="module", params=RECIPES)
def process(request, tmp_path_factory) -> Iterator[Host]:
    """A process that serves one of the page's applications, with a database of its own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(pathlib.Path(__file__).parent)
        patch.setenv("PYTHONPATH", os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]))
        patch.chdir(tmp_path_factory.mktemp("database"))
        host = Host([sys.executable, "-m", "database_site", request.param])
    try:
        yield host.listening()
    finally:
        host.terminate()
        assert host.wait() in (0, -signal.SIGTERM)


@pytest.fixture
def host(process) -> Iterator[Host]:
    """That process; everything has to be done within a few seconds."""
    with gevent.Timeout(20):
        yield process


def count_held(host: Host) -> int:
    with RawClient(host.port) as client:
        client.send(b"GET /held HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        size = int(client.read_head().get("content-length"))
        return int(client.read(size))


@pytest.fixture
def connect(host) -> Iterator[Callable[..., RawClient]]:
    """Return a client that has shaken hands; at the end, all of them hang up."""
    with contextlib.ExitStack() as clients:

        def connect(path: str = "/votes") -> RawClient:
            client = clients.enter_context(RawClient(host.port))
            client.open(path=path)
            return client

        yield connect


def vote(client: RawClient, name: str) -> str | bytes:
    client.send(frames.text(name))
    return client.read_message()


def test_nothing_is_held_between_messages(host, connect):
    clients = [connect() for _ in range(SOCKETS)]
    for turn in range(3):
        for number, client in enumerate(clients):
            assert vote(client, "a") == f"a: {turn * SOCKETS + number + 1}"
            assert count_held(host) == 0
    for client in clients:
        client.leave()
    assert count_held(host) == 0


def test_sockets_that_ask_at_once(connect):
    clients = [connect() for _ in range(SOCKETS)]
    for client in clients:
        client.send(frames.text("b"))
    assert sorted(client.read_message() for client in clients) == [f"b: {n + 1}" for n in range(SOCKETS)]
    for client in clients:
        client.leave()


def test_it_is_the_recipe_that_does_it(host, connect):
    """A test of these tests: whoever keeps a session while waiting keeps the others out."""
    keeper, other = connect("/hold"), connect("/hold")
    assert vote(keeper, "c") == "c: 1" and count_held(host) == 1
    other.send(frames.text("c"))
    other.expect_close(1011)
    keeper.leave()
    assert count_held(host) == 0
