"""python -m geventws: the options of connect, serve with signals and reload; real processes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pty
import re
import signal
import socket
import time
from collections.abc import Iterator
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
from kit import frames
from kit.clients import RawClient
from kit.programs.command import DEADLINE, Output, Served, ask, run, running, serving

from geventws.cli import main as cli
from geventws.client.opening import connect


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all clients of this module."""
    with serving(tmp_path_factory.mktemp("site")) as served:
        yield served


# ---- connect


def test_headers_origin_and_subprotocol(site: Served) -> None:
    options = ["--header", "X-Test: it", "--origin", "https://a.example", "--subprotocol", "chat"]
    status, output, said = run(site.uri("/headers"), *options, "--wait", "10")
    assert (status, output) == (0, "it https://a.example chat\n")
    assert "subprotocol chat" in said


def test_a_refusal_is_shown_with_its_headers_and_body(site: Served) -> None:
    status, output, said = run(site.uri("/no"))
    assert (status, output) == (1, "")
    assert "HTTP status 403" in said and "X-Why: closed \\x85 today" in said and "come back\\x07 later" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["http://127.0.0.1/"], "not ws or wss"),
        (["ws://127.0.0.1:1/"], "refused"),
        (["ws://127.0.0.1:1/", "--header", "nothing"], "is not a header"),
        (["ws://127.0.0.1:1/", "--unix", "/nonexistent/socket"], "No such file"),
    ],
)
def test_errors_are_one_line(arguments: list[str], why: str) -> None:
    status, output, said = run(*arguments)
    assert (status, output, said.count("\n")) == (1, "", 1)
    assert said.startswith("cannot connect: ") and why in said


def test_insecure_is_without_effect_where_there_is_no_tls(site: Served) -> None:
    assert run(site.uri(), "--insecure", "--wait", "0.3", lines="plain")[:2] == (0, "plain\n")


def test_control_c_while_connecting_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE)
        arguments = ["connect", f"ws://127.0.0.1:{silent.getsockname()[1]}/"]
        with running(arguments, stdout=PIPE, stderr=STDOUT) as process, silent.accept()[0] as accepted:
            assert accepted.recv(65536)
            time.sleep(0.3)  # it waits for the answer now
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 130
            assert process.stdout is not None and process.stdout.read() == b""


def test_a_wrong_command_line_is_status_2() -> None:
    assert run()[0] == 2


# ---- serve


def fail(*options: str, application: str = "json:dumps", cwd: pathlib.Path | None = None) -> tuple[int, str]:
    """Run `geventws serve`, which is to end by itself; return its exit status and all that it says."""
    with running(["serve", application, *options], cwd=cwd, stdout=PIPE, stderr=STDOUT) as process:
        assert process.stdout is not None
        said = Output(process.stdout.fileno())
        assert process.wait(DEADLINE), said.rest()
        return process.returncode, said.rest().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(tmp_path: pathlib.Path, number: signal.Signals) -> None:
    with serving(tmp_path) as served, connect(served.uri(), proxy=None) as ws:
        ws.send("there")
        assert ws.wait(timeout=DEADLINE) == "there"
        served.process.send_signal(number)
        assert ws.wait(timeout=DEADLINE) is None
        assert ws.close_code == 1001
        assert served.process.wait(DEADLINE) == 0


def test_a_second_control_c_waits_for_nobody(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path) as served, contextlib.closing(RawClient(served.port)) as client:
        client.open()
        served.process.send_signal(signal.SIGINT)
        assert client.read_frame() == frames.Frame(frames.CLOSE, b"\x03\xe9")  # and does not answer
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(DEADLINE) == 130
        assert b"Traceback" not in served.output.rest()


def test_a_second_control_c_ends_what_holds_the_loop_up(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path) as served, contextlib.closing(RawClient(served.port)) as client:
        client.open(path="/compute")
        served.output.until(b"computing\n")
        served.process.send_signal(signal.SIGINT)
        served.output.until(b"heard\n")
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(DEADLINE) == 130


def test_sighup_says_nothing_to_a_server_without_a_terminal(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path) as served, connect(served.uri(), proxy=None) as ws:
        served.process.send_signal(signal.SIGHUP)
        for question in ("still", "there"):
            ws.send(question)
            assert ws.wait(timeout=DEADLINE) == question
        assert ask(served.uri(), "and for others") == "and for others"
        served.process.send_signal(signal.SIGTERM)
        assert ws.wait(timeout=DEADLINE) is None and ws.close_code == 1001
        assert served.process.wait(DEADLINE) == 0


def test_a_terminal_that_closes_drains(tmp_path: pathlib.Path) -> None:
    master, slave = pty.openpty()
    try:
        with serving(tmp_path, stdin=slave) as served, connect(served.uri(), proxy=None) as ws:
            served.process.send_signal(signal.SIGHUP)  # as the kernel does
            assert ws.wait(timeout=DEADLINE) is None and ws.close_code == 1001
            assert served.process.wait(DEADLINE) == 0
    finally:
        os.close(master)
        os.close(slave)


def test_tls(tmp_path: pathlib.Path, certificate: dict[str, str], tls: Any) -> None:
    files = ["--certfile", certificate["certfile"], "--keyfile", certificate["keyfile"]]
    with serving(tmp_path, *files, scheme="wss") as served:
        assert ask(served.uri(), "safe", ssl=tls) == "safe"
        status, output, said = run(served.uri(), lines="who")
        assert (status, output) == (1, "") and "certificate verify failed" in said
        assert run(served.uri(), "--insecure", "--wait", "0.3", lines="who")[:2] == (0, "who\n")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (["--certfile", "nope.pem"], "nope.pem and its key from the same file: [Errno 2] No such file"),
        (["--certfile", "cert"], "cert and its key from the same file: [SSL"),
        (["--certfile", "cert", "--keyfile", "nope.pem"], "cert and its key from nope.pem: [Errno 2] No such file"),
        (["--certfile", "cert", "--keyfile", "cert"], "cert and its key from cert: [SSL"),
    ],
)
def test_files_that_make_no_tls_are_one_line(
    tmp_path: pathlib.Path, certificate: dict[str, str], files: list[str], why: str
) -> None:
    (tmp_path / "cert").symlink_to(certificate["certfile"])
    status, said = fail("--bind", "127.0.0.1:0", *files, cwd=tmp_path)
    assert (status, said.count("\n")) == (1, 1)
    assert said.startswith("cannot load the certificate from ") and why in said


def test_a_key_without_its_certificate_is_a_wrong_command_line(certificate: dict[str, str]) -> None:
    status, said = fail("--keyfile", certificate["keyfile"])
    assert status == 2 and "--keyfile needs --certfile" in said


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_module", "there is no module 'no_such_module'"),
        ("json.nowhere:application", "there is no module 'json.nowhere'"),
        ("json.py:application", "there is no module 'json.py' here; a module is named without .py: json"),
        ("json", "json has no 'application'; if it has another name, add that: json:NAME"),
        ("json:decoder.nothing", "json has no 'decoder.nothing'"),
        ("json:__name__", "is str, not a WSGI application"),
    ],
)
def test_what_cannot_be_served(name: str, why: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(why)):
        cli.main(["serve", name])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", "\xe9..:0", "", "unix:/run/it"])
def test_what_is_no_address_is_a_wrong_command_line(address: str) -> None:
    status, said = fail("--bind", address)
    assert status == 2 and said.endswith(f": error: argument --bind: {address!r} is not HOST:PORT\n")


@pytest.mark.parametrize("name", [":application", ".app", ""])
def test_what_is_no_name_is_a_wrong_command_line(name: str) -> None:
    status, said = fail(application=name)
    assert status == 2 and said.endswith(f"error: argument MODULE:APPLICATION: {name!r} is not MODULE:APPLICATION\n")


def test_an_address_in_use_is_one_line(site: Served) -> None:
    address = f"127.0.0.1:{site.port}"
    status, said = fail("--bind", address)
    assert (status, said.count("\n")) == (1, 1)
    assert said.startswith(f"cannot listen on {address}: ")
