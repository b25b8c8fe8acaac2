"""python -m geventws: connect at a terminal and between pipes, serve with signals and reload; real processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from geventws import cli
from geventws.client import connect
from geventws.terminal import describe, printable

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "geventws"]
DEADLINE = 20.0
UP, LEFT, HOME, END_OF_INPUT, INTERRUPT = b"\x1b[A", b"\x1b[D", b"\x01", b"\x04", b"\x03"
APPLICATION = """\
from geventws import WebSocketWSGI

ANSWER = "first"
DOORS = []

def serve(ws):
    if ws.path == "/leave":
        return ws.close(4001, "as you wish")
    if ws.path == "/headers":
        return ws.send("%(HTTP_X_TEST)s %(HTTP_ORIGIN)s " % ws.environ + str(ws.protocol))
    if ws.path == "/ping" and ws.wait():
        ws.ping(b"are you\\x07 there?")
    if ws.path == "/bytes":
        ws.send(b"\\x00\\xffa")
        ws.send("\\x1b[31mred\\nnext")
    if ws.path == "/door":
        DOORS.append(ws)
    if ws.path == "/ring":
        DOORS[-1].send("knock knock")
    for message in ws:
        ws.send(ANSWER if message == "which" else message)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/no":
        start_response("403 Forbidden", [("X-Why", "closed \\x85 today")])
        return [b"come back\\x07 later"]
    return WebSocketWSGI(serve, subprotocols=["chat"], origins=None)(environ, start_response)
"""


def environment() -> dict[str, str]:
    unset = {name for name in os.environ if name.lower().endswith("_proxy")}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", "INPUTRC": os.devnull, "COLUMNS": "80"}


class Output:
    """What a process says on a descriptor, read as it comes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = b""

    def until(self, pattern: bytes) -> re.Match[bytes]:
        """Return the first match, and forget what is before its end."""
        deadline = time.monotonic() + DEADLINE
        while (match := re.search(pattern, self._data)) is None:
            ready = select.select([self._fd], [], [], max(deadline - time.monotonic(), 0))[0]
            assert ready, f"no {pattern!r} in {self._data!r}"
            data = self._read()
            assert data, f"the end, and no {pattern!r} in {self._data!r}"
            self._data += data
        self._data = self._data[match.end() :]
        return match

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, 65536)
        except OSError:  # how a pseudo-terminal ends
            return b""


@contextlib.contextmanager
def running(arguments: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m geventws`, and see that it has ended."""
    process = subprocess.Popen([*COMMAND, *arguments], env=environment(), **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


class Served:
    """`geventws serve` at work on an application in a folder of its own."""

    def __init__(self, process: subprocess.Popen[bytes], folder: pathlib.Path, scheme: str) -> None:
        self.process = process
        self.folder = folder
        assert process.stdout is not None
        self.output = Output(process.stdout.fileno())
        self._scheme = scheme
        self.port = 0
        self.wait()

    def wait(self) -> None:
        """Block until it serves, for the first time or again."""
        port = int(self.output.until(rb"serving \S+ on https?://127\.0\.0\.1:(\d+)\n")[1])
        assert self.port in (0, port)
        self.port = port

    def uri(self, path: str = "/") -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def serving(folder: pathlib.Path, *options: str, scheme: str = "ws") -> Iterator[Served]:
    (folder / "site_app.py").write_text(APPLICATION)
    arguments = ["serve", "site_app", "--bind", "127.0.0.1:0", *options]
    with running(arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        yield Served(process, folder, scheme)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all clients of this module."""
    with serving(tmp_path_factory.mktemp("site")) as served:
        yield served


def run(*arguments: str, lines: str | bytes = "") -> tuple[int, str, str]:
    """Run `geventws connect` between pipes; return its exit status, its output, and what it says besides."""
    data = lines.encode() if isinstance(lines, str) else lines
    done = subprocess.run(
        [*COMMAND, "connect", *arguments], input=data, capture_output=True, timeout=DEADLINE, env=environment()
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


# ---- connect, between pipes


def test_lines_go_out_and_messages_come_back(site: Served) -> None:
    status, output, said = run(site.uri(), "--wait", "0.3", lines="one\r\n\ntwo\n/ping\nlast")
    assert (status, output) == (0, "one\n\ntwo\n/ping\nlast\n")
    assert said == f"connected to {site.uri()}\nclosed: 1000\n"


def test_what_is_not_utf8_is_sent_as_binary(site: Served) -> None:
    assert run(site.uri(), "--wait", "0.3", lines=b"\xff\x00\n")[:2] == (0, "binary[2] ff 00\n")


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
        (["ws://127.0.0.1:1/", "--header", "nothing"], "is no header"),
        (["ws://127.0.0.1:1/", "--unix", "/nonexistent/socket"], "No such file"),
    ],
)
def test_errors_are_one_line(arguments: list[str], why: str) -> None:
    status, output, said = run(*arguments)
    assert (status, output, said.count("\n")) == (1, "", 1)
    assert said.startswith("cannot connect: ") and why in said


def test_a_wrong_command_line_is_status_2() -> None:
    assert run()[0] == 2


def test_printable_and_describe() -> None:
    assert printable("a\tb\nc\x1b\r\x7f\x9b\u202ed\xe9") == "a\tb\nc\\x1b\\r\\x7f\\x9b\\u202ed\xe9"
    assert describe(b"") == "binary[0]"
    assert describe("") == ""


# ---- connect, at a terminal


class Terminal(Output):
    """A pseudo-terminal with `geventws connect` on it."""

    def __init__(self, uri: str) -> None:
        self.master, slave = pty.openpty()
        super().__init__(self.master)
        self.settings = termios.tcgetattr(slave)
        self._context = running(
            ["connect", uri], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=_take_terminal
        )
        self.process = self._context.__enter__()
        self.slave = slave

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def expect_exit(self, status: int) -> None:
        """It ends, and the terminal is as it was."""
        assert self.process.wait(DEADLINE) == status
        assert termios.tcgetattr(self.slave) == self.settings

    def close(self) -> None:
        self._context.__exit__(None, None, None)
        os.close(self.master)
        os.close(self.slave)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches the process


@pytest.fixture
def terminal(site: Served) -> Iterator[Callable[..., Terminal]]:
    """Open a pseudo-terminal on a path of the site, with a prompt on it."""
    opened: list[Terminal] = []

    def open_terminal(path: str = "/") -> Terminal:
        opened.append(Terminal(site.uri(path)))
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


def test_text_and_binary_are_told_apart_and_harmless(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("/bytes")
    screen.until(rb"< binary\[3\] 00 ff 61")
    screen.until(rb"< \\x1b\[31mred")
    screen.until(rb"next")


def test_the_server_closes_while_a_line_is_edited(terminal: Callable[..., Terminal], site: Served) -> None:
    screen = terminal("/leave")
    screen.until(rb"closed: 4001 as you wish")
    screen.expect_exit(1)


def test_control_c_closes(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    screen.until(rb"> ")
    screen.type(b"unfinished" + INTERRUPT)
    screen.until(rb"closed: 1000")
    screen.expect_exit(0)


# ---- serve


def ask(uri: str, question: str, **options: Any) -> str | bytes | None:
    with connect(uri, proxy=None, **options) as ws:
        ws.send(question)
        return ws.wait(timeout=DEADLINE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(tmp_path: pathlib.Path, number: signal.Signals) -> None:
    with serving(tmp_path) as served, connect(served.uri(), proxy=None) as ws:
        ws.send("there")
        assert ws.wait(timeout=DEADLINE) == "there"
        served.process.send_signal(number)
        assert ws.wait(timeout=DEADLINE) is None
        assert ws.close_code == 1001
        assert served.process.wait(DEADLINE) == 0


def test_tls(tmp_path: pathlib.Path, certificate: dict[str, str], tls: Any) -> None:
    files = ["--certfile", certificate["certfile"], "--keyfile", certificate["keyfile"]]
    with serving(tmp_path, *files, scheme="wss") as served:
        assert ask(served.uri(), "safe", ssl=tls) == "safe"
        status, output, said = run(served.uri(), lines="who")
        assert (status, output) == (1, "") and "certificate verify failed" in said
        assert run(served.uri(), "--insecure", "--wait", "0.3", lines="who")[:2] == (0, "who\n")


def test_reload_takes_up_changes_and_survives_mistakes(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "site_app.py"
    with serving(tmp_path, "--reload") as served:
        assert ask(served.uri(), "which") == "first"
        source.write_text(APPLICATION.replace('"first"', '"the second"'))
        served.wait()
        assert ask(served.uri(), "which") == "the second"
        source.write_text(APPLICATION + "def unfinished(")
        served.output.until(rb"SyntaxError")
        source.write_text(APPLICATION.replace('"first"', '"the third one"'))
        served.wait()
        assert ask(served.uri(), "which") == "the third one"
        served.process.terminate()
        assert served.process.wait(DEADLINE) == 0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_module", "there is no module 'no_such_module'"),
        ("json.nowhere:application", "there is no module 'json.nowhere'"),
        ("json", "json has no 'application'"),
        ("json:decoder.nothing", "json has no 'decoder.nothing'"),
        ("json:__name__", "is str, not a WSGI application"),
    ],
)
def test_what_cannot_be_served(name: str, why: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(why)):
        cli.main(["serve", name])


def test_an_address_in_use_is_one_line(site: Served) -> None:
    address = f"127.0.0.1:{site.port}"
    with running(["serve", "json:dumps", "--bind", address], stderr=subprocess.PIPE) as process:
        assert process.wait(DEADLINE) == 1
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert said.startswith(f"cannot listen on {address}: ") and said.count("\n") == 1
