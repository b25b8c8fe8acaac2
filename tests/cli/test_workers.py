"""python -m geventws serve --workers: gunicorn takes over, with our worker, and what is asked of `serve`."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
from kit import frames
from kit.clients import RawClient
from kit.programs.command import APPLICATION, DEADLINE, Output, environment, running

from geventws.cli.workers import _translate_address
from geventws.client.opening import connect

WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from geventws.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


class Gunicorn:
    """`serve --workers` at work."""

    def __init__(self, process: subprocess.Popen[bytes], scheme: str) -> None:
        assert process.stdout is not None
        self.process = process
        self.output = Output(process.stdout.fileno())
        self.command = self.output.until(rb"serving site_app with gunicorn: (.*)\n")[1].decode()
        self.port = int(self.output.until(rb"Listening at: https?://127\.0\.0\.1:(\d+) ")[1])
        self.uri = f"{scheme}://127.0.0.1:{self.port}/"

    def end(self) -> None:
        """End it as a supervisor does."""
        self.process.terminate()
        assert self.process.wait(DEADLINE) == 0


@pytest.fixture(params=["ws", "wss"])
def gunicorn(request: pytest.FixtureRequest, tmp_path: pathlib.Path, certificate: dict[str, str]) -> Iterator[Gunicorn]:
    """Two workers, over TCP and TLS."""
    (tmp_path / "site_app.py").write_text(APPLICATION)
    files = ["--certfile", certificate["certfile"], "--keyfile", certificate["keyfile"]]
    tls = files if request.param == "wss" else []
    arguments = ["serve", "site_app", "--workers", "2", "--bind", "127.0.0.1:0", *tls]
    with running(arguments, cwd=tmp_path, stdout=PIPE, stderr=STDOUT, start_new_session=True) as process:
        yield Gunicorn(process, request.param)


def test_gunicorn_serves_with_our_worker(gunicorn: Gunicorn, tls: Any) -> None:
    assert gunicorn.command.startswith("python -m gunicorn --worker-class geventws.gunicorn.Worker --workers 2 ")
    for _ in range(2):
        gunicorn.output.until(rb"Booting worker")
    with connect(gunicorn.uri, proxy=None, ssl=tls if "wss" in gunicorn.uri else None) as ws:
        ws.send("which")
        assert ws.wait(timeout=DEADLINE) == "first"
        os.kill(gunicorn.process.pid, signal.SIGTERM)
        assert ws.wait(timeout=DEADLINE) is None
        assert ws.close_code == 1012
    gunicorn.output.until(rb'"GET / HTTP/1.1" 101 ')
    gunicorn.end()


@pytest.mark.parametrize("gunicorn", ["ws"], indirect=True)
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_control_c_waits_for_nobody(gunicorn: Gunicorn, first: signal.Signals) -> None:
    """A terminal sends its signal to all processes. The client is told, and does not answer."""
    for _ in range(2):
        gunicorn.output.until(rb"Booting worker")
    with contextlib.closing(RawClient(gunicorn.port)) as client:
        client.open()
        os.killpg(gunicorn.process.pid, first)
        assert client.read_frame() == frames.Frame(frames.CLOSE, b"\x03\xf4")
        os.killpg(gunicorn.process.pid, signal.SIGINT)
        assert gunicorn.process.wait(DEADLINE) == 0
        assert b"aborted 1" not in gunicorn.output.rest()  # as at the end of a drain


@pytest.mark.parametrize("missing", ["gunicorn", "packaging.version"])
def test_without_gunicorn_it_says_what_to_install(missing: str) -> None:
    command = [sys.executable, "-c", WITHOUT, missing, "serve", "json:dumps", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, env=environment())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("--workers needs gunicorn: pip install 'geventws[gunicorn]' (")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["json:dumps", "--workers", "2", "--reload"], "--reload cannot be used with --workers"),
        (["json:dumps", "--workers", "2", "--patch"], "gunicorn's workers are monkey-patched anyway"),
        (["json:decoder.scanner", "--workers", "2"], "the name may not have a dot: 'decoder.scanner'"),
        (["json:dumps", "--workers", "0"], "'0' is not a number of processes"),
        (["json:dumps", "--workers", "many"], "'many' is not a number of processes"),
    ],
)
def test_what_does_not_go_with_workers(arguments: list[str], why: str) -> None:
    with running(["serve", *arguments], stdout=PIPE, stderr=STDOUT) as process:
        said, _ = process.communicate(timeout=DEADLINE)
        assert process.returncode == 2 and why in said.decode()


def test_the_help_says_what_does_not_apply() -> None:
    with running(["serve", "--help"], stdout=PIPE, stderr=STDOUT) as process:
        said = process.communicate(timeout=DEADLINE)[0].decode()
    found = re.search(r"--workers N +(.*?)\n\n", said, re.S)
    assert found and "not with --reload or --patch" in re.sub(r"\s+", " ", found[1])


@pytest.mark.parametrize(
    ("address", "translated"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        (":8000", "0.0.0.0:8000"),
        ("8000", "[::]:8000"),
        ("[::1]:8000", "[::1]:8000"),
        ("localhost:0", "localhost:0"),
    ],
)
def test_an_address_means_the_same(address: str, translated: str) -> None:
    assert _translate_address(address) == translated
