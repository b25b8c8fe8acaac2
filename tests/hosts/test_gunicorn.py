"""How gunicorn's workers end: each client of callbacks gets a close frame, with the hook of docs/deployment.rst."""

from __future__ import annotations

import os
import pathlib
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from kit.clients import RawClient
from kit.programs.hosts import GUNICORN, ROOT, Host

PAGE = (ROOT / "docs" / "deployment.rst").read_text()
HOOK = re.search(r"\n( {4}import os\n.*?def worker_exit\(.*?)\n\n\n", PAGE, re.S)


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Any]:
    """Start gunicorn with the hook, and with options."""
    assert HOOK is not None
    hook = re.sub("^ {4}", "", HOOK[1], flags=re.M)
    hook = hook.replace("from package.module import application", "from kit.apps.callbacks import echo as application")
    (tmp_path / "gunicorn.conf.py").write_text(hook)
    started: list[Host] = []

    def start(*options: str) -> Host:
        command = [word.replace("apps.hosted", "apps.callbacks") for word in GUNICORN]
        command += ["--graceful-timeout", "10"]  # a worker looks only once a second whether it has to end
        started.append(Host([*command, "--config", str(tmp_path / "gunicorn.conf.py"), *options]).listening())
        return started[-1]

    yield start
    for host in started:
        host.terminate()
        host.wait()


@pytest.mark.parametrize(
    ("worker", "end"),
    [
        ("gevent", "SIGTERM"),
        ("gevent", "SIGHUP"),
        ("gevent", "--max-requests=3"),  # the other worker does not count
        ("gevent_pywsgi", "SIGTERM"),
        ("gevent_pywsgi", "SIGHUP"),
    ],
)
def test_a_worker_that_ends_says_so_to_each_client(start: Any, worker: str, end: str) -> None:
    host = start("-k", worker, *([end] if end.startswith("-") else []))
    clients = []
    for number in range(3):
        clients.append(RawClient(host.port))
        clients[-1].open(b"", f"/{number}")
        assert clients[-1].read_message() == "open"
    if end.startswith("SIG"):
        os.kill(host._process.pid, signal.Signals[end])
    for number, client in enumerate(clients):
        client.expect_close(1001)
        client.close()
        host.wait_for(f"^closed /{number} 1001", 10)
