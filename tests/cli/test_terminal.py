"""A connection at a terminal, and between two pipes; real processes."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Any

import pytest
from kit.programs.command import (
    DEADLINE,
    END_OF_INPUT,
    HOME,
    INTERRUPT,
    LEFT,
    UP,
    Output,
    Served,
    Terminal,
    environment,
    run,
    running,
    serving,
)

from geventws.cli.terminal import Pipe, describe, fold, printable
from geventws.client.opening import connect


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all clients of this module."""
    with serving(tmp_path_factory.mktemp("site")) as served:
        yield served


# ---- between pipes


def test_lines_go_out_and_messages_come_back(site: Served) -> None:
    status, output, said = run(site.uri(), "--wait", "0.3", lines="one\r\n\ntwo\n/ping\nlast")
    assert (status, output) == (0, "one\n\ntwo\n/ping\nlast\n")
    assert said == f"connected to {site.uri()}\nclosed: 1000\n"


def test_what_is_not_utf8_is_sent_as_binary(site: Served) -> None:
    assert run(site.uri(), "--wait", "0.3", lines=b"\xff\x00\n")[:2] == (0, "binary[2] ff 00\n")


def test_long_lines_are_read_in_linear_time(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "input").write_bytes(b"x" * (32 << 20) + b"\n\nlast")
    with (tmp_path / "input").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        began = time.process_time()
        assert [len(line) for line in Pipe(sys.stdout).lines()] == [32 << 20, 0, 4]
    assert time.process_time() - began < 4.0  # quadratic, it took 14


def test_output_does_nothing_to_a_terminal(site: Served) -> None:
    assert run(site.uri("/bytes"), "--wait", "0.3")[:2] == (0, "binary[3] 00 ff 61\n\\x1b[31mred\nnext\n")


def test_pings_are_shown_when_asked_for(site: Served) -> None:
    status, output, said = run(site.uri("/ping"), "--pings", "--wait", "0.3", lines="now")
    assert (status, output) == (0, "")
    assert "ping 'are you\\x07 there?'\n" in said


def test_exit_status_tells_an_unclean_close(site: Served) -> None:
    status, output, said = run(site.uri("/leave"), "--wait", "10")
    assert (status, output) == (1, "")
    assert said.endswith("closed: 4001 as you wish\n")


@pytest.mark.parametrize("closed", [[0], [0, 1, 2]])
def test_streams_that_are_closed_are_empty(site: Served, closed: list[int]) -> None:
    arguments = ["connect", site.uri("/bytes"), "--wait", "0.3"]
    options: dict[str, Any] = {"preexec_fn": lambda: [os.close(number) for number in closed]}
    with running(arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, **options) as process:
        output, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    if closed == [0]:
        assert output.startswith(b"binary[3] 00 ff 61\n")
        assert said.decode() == f"connected to {site.uri('/bytes')}\nclosed: 1000\n"
    else:
        assert (output, said) == (b"", b"")


def test_input_that_cannot_be_read_is_empty(site: Served) -> None:
    arguments = ["connect", site.uri(), "--wait", "0.3"]
    with open(os.devnull, "w") as stdin, running(arguments, stdin=stdin, stdout=PIPE, stderr=STDOUT) as process:
        said = process.communicate(timeout=DEADLINE)[0].decode()
    assert (process.returncode, said) == (0, f"connected to {site.uri()}\nclosed: 1000\n")


def test_output_that_cannot_be_written_is_one_line(site: Served) -> None:
    arguments = ["connect", site.uri("/bytes"), "--wait", "10"]
    with open("/dev/full", "w") as full, running(arguments, stdin=DEVNULL, stdout=full, stderr=PIPE) as process:
        said = process.communicate(timeout=DEADLINE)[1].decode()
    assert process.returncode == 1
    why = f"cannot write: [Errno 28] {os.strerror(28)}"
    assert said == f"connected to {site.uri('/bytes')}\n{why}\nclosed: 1000\n"


def test_what_the_output_cannot_encode_is_spelled_out(site: Served) -> None:
    arguments = ["connect", site.uri("/wide"), "--wait", "0.3"]
    options: dict[str, Any] = {"env": environment(PYTHONIOENCODING="latin-1")}
    with running(arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, **options) as process:
        output = process.communicate("\xe9".encode(), timeout=DEADLINE)[0]
    assert (process.returncode, output) == (0, b"\\u6f22" * 50 + b"\te\\u0301|\n\xe9\n")


def test_control_c_closes(site: Served) -> None:
    with running(["connect", site.uri()], stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        said = Output(process.stderr.fileno())
        said.until(rb"connected to \S+\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
        assert (process.stdout.read(), said.rest()) == (b"", b"closed: 1000\n")


def test_printable_and_describe() -> None:
    assert printable("a\tb\nc\x1b\r\x7f\x9b\u202ed\xe9") == "a\tb\nc\\x1b\\r\\x7f\\x9b\\u202ed\xe9"
    assert describe(b"") == "binary[0]"
    assert describe("") == ""


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("", [""]),
        ("0123456789ab", ["0123456789", "ab"]),
        ("a\tb\tc", ["a       b ", "      c"]),
        ("\u6771\u30a2\u30b8\u30a2", ["\u6771\u30a2\u30b8\u30a2"]),
        ("a\u6771\u30a2\u30b8\u30a2\u6771", ["a\u6771\u30a2\u30b8\u30a2", "\u6771"]),
        ("e\u0301" * 12, ["e\u0301" * 10, "e\u0301" * 2]),
        ("\u6771\tb", ["\u6771      b"]),
    ],
)
def test_lines_are_folded_by_columns(line: str, parts: list[str]) -> None:
    assert list(fold(line, 10)) == parts


# ---- at a terminal


@pytest.fixture
def terminal(site: Served) -> Iterator[Callable[..., Terminal]]:
    """Open a pseudo-terminal on a path of the site, with a prompt on it."""
    opened: list[Terminal] = []

    def open_terminal(path: str = "/", **variables: str) -> Terminal:
        opened.append(Terminal(site.uri(path), **variables))
        opened[-1].until(rb"connected to ws://\S+ \(/help tells the commands\)\r\n")
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


def test_lines_are_edited_and_repeated(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    screen.until(rb"> ")
    screen.type(b"ello" + LEFT * 2 + HOME + b"h\r")
    screen.until(rb"(?s)< hello.*?> |>[ \x1b].*?< hello")  # the echo and the next prompt, in any order
    screen.type(UP + b"!\r")
    screen.until(rb"(?s)< hello!.*?> |>[ \x1b].*?< hello!")
    screen.type(END_OF_INPUT)
    screen.until(rb"closed: 1000")
    screen.expect_exit(0)


def test_a_message_leaves_the_line_being_edited_alone(terminal: Callable[..., Terminal], site: Served) -> None:
    screen = terminal("/door")
    screen.until(rb"> ")
    screen.type(b"half a")
    screen.until(rb"half a")
    connect(site.uri("/ring"), proxy=None).close()
    screen.until(rb"\x1b7\r?\n\x1b\[A\r\x1b\[L< knock knock\x1b8\x1b\[B")
    screen.type(b" line\r")
    screen.until(rb"< half a line")


def test_commands(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    screen.type(b"/ping\r")
    screen.until(rb"pong after \d+\.\d ms")
    screen.type(b"/binary 00 ff\r")
    screen.until(rb"< binary\[2\] 00 ff")
    screen.type(b"/binary xyz\r")
    screen.until(rb"not sent: ")
    screen.type(b"//slash of mine\r")
    screen.until(rb"< /slash of mine")
    screen.type(b"/close 99\r")
    screen.until(rb"not sent: ")
    screen.type(b"/help\r")
    screen.until(rb"/ping \[text\]")
    screen.type(b"/close 4000 enough\r")
    screen.until(rb"closed: 4000 enough")
    screen.expect_exit(1)


@pytest.mark.parametrize("encoding", ["", "utf-8:strict"])
def test_what_is_not_utf8_is_not_sent(terminal: Callable[..., Terminal], encoding: str) -> None:
    screen = terminal(LC_ALL="C", PYTHONIOENCODING=encoding)
    for typed in (b"caf\xe9\r", b"/ping \xe9\r", b"//\xe9\r"):
        screen.type(typed)
        screen.until(rb"not sent: the line is not valid utf-8\r\n")
    screen.type("caf\xe9\r".encode())
    screen.until("< caf\xe9".encode())


def test_text_and_binary_are_told_apart_and_harmless(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("/bytes")
    screen.until(rb"< binary\[3\] 00 ff 61")
    screen.until(rb"< \\x1b\[31mred")
    screen.until(rb"next")


def test_wide_characters_stay_on_their_lines(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("/wide")
    first = screen.until(rb"< ((?:\xe6\xbc\xa2)+)([^\xe6]+)(?=\xe6)")
    assert first[1].decode() == "\u6f22" * 38  # 78 columns of 80, with the mark
    assert b"\n" in first[2]
    screen.until(("\u6f22" * 12 + " " * 8 + "e\u0301\\|").encode())


def test_the_server_closes_while_a_line_is_edited(terminal: Callable[..., Terminal], site: Served) -> None:
    screen = terminal("/leave")
    screen.until(rb"closed: 4001 as you wish")
    screen.expect_exit(1)


@pytest.mark.parametrize("typed", [END_OF_INPUT, b"unfinished" + INTERRUPT])
def test_the_end_is_told_on_a_line_of_its_own(terminal: Callable[..., Terminal], typed: bytes) -> None:
    screen = terminal()
    screen.until(rb"> ")
    screen.type(typed)
    assert screen.until(rb"(?s).*closed: 1000")[0].removeprefix(typed[:-1]) == b"\r\nclosed: 1000"
    screen.expect_exit(0)
    assert screen.rest() == b"\r\n"


def test_control_c_twice_does_not_wait_for_the_server(terminal: Callable[..., Terminal], site: Served) -> None:
    screen = terminal()
    screen.until(rb"> ")
    site.process.send_signal(signal.SIGSTOP)
    try:
        screen.type(INTERRUPT)
        time.sleep(0.5)  # it waits for the server's close frame now
        screen.type(INTERRUPT)
        screen.expect_exit(130)
    finally:
        site.process.send_signal(signal.SIGCONT)
    assert screen.rest() == b"\r\n"
