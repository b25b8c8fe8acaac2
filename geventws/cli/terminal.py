"""A connection at a terminal, or between two pipes: what `python -m geventws connect` does once it is connected.

There are two greenlets: one shows received messages, one sends what is typed. Reading a terminal blocks a thread, so a
thread of the pool does it, with all that readline offers; anything else is read by `os.read` in such a thread. The
loop, and with it the connection, never waits for the user.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import gevent

from ..client.websocket import ClientWebSocket
from ..exceptions import ConnectionClosed, describe_close
from ..frames import Opcode
from ..text import one_line
from ..websocket import get_connection

PROMPT = "> "
GRACEFUL = (1000, 1001, 1005)
"""Close codes for an exit status of 0: done, going away, and no code."""

TAB = 8
"""Columns between two tab stops."""

SETTLE = 1.0
"""Seconds for a thread to begin to read a line, before the terminal is restored all the same."""

HELP = """\
a line is sent as a text message; one that begins with / is a command:
/ping [text]           send a ping, and show how long its pong takes
/binary [hex]          send a binary message
/close [code [reason]] close the connection; so does the end of the input
/help                  show this
//text                 send a text that begins with a slash"""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Return a text with its control characters escaped, so that a terminal only shows it."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def describe(message: str | bytes) -> str:
    """Return a message as it is shown: text as it is, binary in hex, with its size."""
    if isinstance(message, str):
        return printable(message)
    return f"binary[{len(message)}] {message.hex(' ')}".rstrip()


def fold(line: str, width: int) -> Iterator[str]:
    """Yield a line in parts of at most `width` columns; tabs become spaces."""
    if line.isascii():  # all characters have the same width
        line = line.expandtabs(TAB)
        yield from (line[start : start + width] for start in range(0, len(line) or 1, width))
        return
    part, used = "", 0
    for char in line:
        if char == "\t":
            char = " " * (TAB - used % TAB)
        columns = sum(map(_count_columns, char))
        if used + columns > width:
            yield part
            part, used = "", 0
        part += char
        used += columns
    yield part


def _count_columns(char: str) -> int:
    if char < "\u0300":
        return 1
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


class Screen:
    """A terminal whose last line is being edited. Text is shown above that line.

    Args:
        output: a terminal.
    """

    def __init__(self, output: TextIO) -> None:
        stdin: Any = sys.stdin
        stdin.reconfigure(errors="surrogateescape")  # `send` reports bytes that are not text, not the thread
        self._output = output
        self._editing = False  # whether a line is being typed, which has to be moved out of the way
        self._settled = threading.Event()  # set when the reading thread has set the terminal up
        self._settled.set()
        # whether lines are edited, and what puts the terminal back
        self._has_readline, self._restore = _prepare_terminal(self._settled.set)

    def lines(self) -> Iterator[str]:
        """Yield the lines typed, to the end of the input. Each blocks this greenlet only."""
        while True:
            self._editing = True
            if self._has_readline:
                self._settled.clear()
            line = gevent.get_hub().threadpool.apply(_read_line)
            if line is None:
                return  # the prompt stays until `close`
            self._editing = False
            yield line

    def show(self, text: str, mark: str = "") -> None:
        """Show text, and leave the line that is being edited as it is."""
        width = max(shutil.get_terminal_size().columns - 1, 10)
        for line in (mark + text).split("\n"):
            for part in fold(line, width):
                self._show_line(part)
        self._output.flush()

    def _show_line(self, line: str) -> None:
        # Save the cursor, make room below, go back up, push the edited line down, write, restore, follow it down.
        above = f"\x1b7\n\x1b[A\r\x1b[L{line}\x1b8\x1b[B"
        self._output.write(above if self._editing else f"{line}\n")

    def close(self) -> None:
        """Leave the terminal as it was found; a thread may still be reading a line in its own way."""
        if self._editing:
            self._editing = False
            self._output.write("\n")
            self._output.flush()
        self._settled.wait(SETTLE)
        self._restore()


def _read_line() -> str | None:
    """Return the line typed, None at the end of the input: the pool prints what is raised. Blocks its thread."""
    try:
        return input(PROMPT)
    except (EOFError, OSError):
        return None


class Pipe:
    """Input and output that are not a terminal: lines in, messages out."""

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def lines(self) -> Iterator[str | bytes]:
        """Yield the lines of the standard input, without their ends; what is not UTF-8 stays bytes."""
        begun: list[bytes] = []  # a line whose end has not come yet
        while data := gevent.get_hub().threadpool.apply(_read):
            first, *others = data.split(b"\n")
            begun.append(first)
            for part in others:
                yield _decode(b"".join(begun))
                begun = [part]
        if rest := b"".join(begun):
            yield _decode(rest)

    def show(self, text: str, mark: str = "") -> None:
        """Write text and an end of line; marks are for people."""
        self._output.write(f"{text}\n")
        self._output.flush()

    def close(self) -> None:
        """Do nothing: there is nothing to restore."""


def _read() -> bytes:
    """Return the next bytes; b"" at the end of the input, or if it cannot be read. Blocks its thread."""
    try:
        # Not sys.stdin.read: a thread that is still in it could not be stopped at the exit.
        return os.read(sys.stdin.fileno(), 65536)
    except OSError:
        return b""


def _decode(line: bytes) -> str | bytes:
    line = line.removesuffix(b"\r")
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line


def _prepare_terminal(begun: Callable[[], None]) -> tuple[bool, Callable[[], None]]:
    """Turn readline on if there is one, which then calls `begun` for each line; return what restores the terminal."""
    try:
        readline = importlib.import_module("readline")  # input() uses it from here on
        termios = importlib.import_module("termios")
        settings = termios.tcgetattr(0)
    except (ImportError, OSError):
        return False, lambda: None
    readline.parse_and_bind("set horizontal-scroll-mode on")  # the edited line is one line of the screen
    readline.parse_and_bind("set enable-bracketed-paste off")
    getattr(readline, "set_pre_input_hook", readline.set_startup_hook)(begun)
    return True, lambda: termios.tcsetattr(0, termios.TCSADRAIN, settings)


class Session:
    """A connection and the standard streams, with what goes on between the two.

    Args:
        ws: the connection.
        quiet: seconds without a message, after the end of a pipe's input, until the connection is closed.
        pings: whether the pings and pongs that come are shown.
    """

    def __init__(self, ws: ClientWebSocket, quiet: float, pings: bool) -> None:
        stdout: Any = sys.stdout
        stdout.reconfigure(errors="backslashreplace")
        self._ws = ws
        ws.on_control = self._show_control if pings else None
        self._quiet = quiet
        self._interactive = sys.stdin.isatty() and sys.stdout.isatty()  # whether somebody types
        self._face: Any = Screen(sys.stdout) if self._interactive else Pipe(sys.stdout)  # shows messages
        self._heard_at = time.monotonic()  # when the last message came
        self._interrupted = False  # by a Ctrl-C

    def run(self) -> int:
        """Send and show until the connection is over; return the exit status. Blocks."""
        feeder = gevent.Greenlet(self._feed)
        written, ignore_interrupts = True, self._watch_interrupts()
        try:
            self._tell(f"connected to {get_connection(self._ws).peer}" + self._details())
            feeder.start()
            for message in self._ws:
                self._heard_at = time.monotonic()
                self._face.show(describe(message), "< ")
        except (KeyboardInterrupt, BrokenPipeError):  # a broken standard output
            pass
        except OSError as error:
            written = False
            print(one_line(f"cannot write: {error}"), file=sys.stderr)
        finally:
            feeder.kill(block=False)
            try:
                self._end()
            finally:
                ignore_interrupts()
        self._tell(f"closed: {describe_close(self._ws.close_code or 1006, self._ws.close_reason or '')}")
        return 0 if written and self._ws.close_code in GRACEFUL else 1

    def _watch_interrupts(self) -> Callable[[], None]:
        """Have the loop watch for Ctrl-C, unless readline does; return what ends that.

        A handler of Python's would wait until the loop has something else to do, and what it raises may be lost in a
        callback.
        """
        if self._interactive:
            return lambda: None
        watcher = gevent.signal_handler(signal.SIGINT, self._interrupt, gevent.getcurrent())

        def end() -> None:
            watcher.cancel()
            signal.signal(signal.SIGINT, signal.default_int_handler)

        return end

    def _interrupt(self, runner: Any) -> None:
        """Close, at a Ctrl-C; at a second one, raise KeyboardInterrupt in the greenlet of `run`."""
        if self._interrupted:
            runner.throw(KeyboardInterrupt)
        self._interrupted = True
        self._ws.close()

    def _end(self) -> None:
        """Close the connection, and put the terminal in order even if a second Ctrl-C cuts that short. Blocks."""
        try:
            self._ws.close()
        finally:
            self._face.close()

    def _details(self) -> str:
        protocol = f", subprotocol {self._ws.protocol}" if self._ws.protocol else ""
        return protocol + (" (/help tells the commands)" if self._interactive else "")

    def _tell(self, text: str) -> None:
        """Show something that is not a message."""
        if self._interactive:
            self._face.show(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def _feed(self) -> None:
        """Send what is typed, then close."""
        try:
            for line in self._face.lines():
                self._take(line)
            while not self._interactive and (left := self._heard_at + self._quiet - time.monotonic()) > 0:
                gevent.sleep(left)
            self._ws.close()
        except ConnectionClosed:
            pass  # the other greenlet shows it

    def _take(self, line: Any) -> None:
        """Send a line, or carry out the command in it."""
        try:
            if self._interactive and line.startswith("/"):
                self._command(*line[1:].partition(" ")[::2])
            else:
                self._ws.send(line)
        except UnicodeEncodeError:
            self._tell(f"not sent: the line is not valid {sys.stdin.encoding}")
        except ValueError as error:
            self._tell(f"not sent: {one_line(str(error))}")

    def _command(self, name: str, argument: str) -> None:
        """Carry out a command; ValueError if something cannot be sent."""
        if name.startswith("/"):
            self._ws.send(" ".join(filter(None, (name, argument))))
        elif name == "ping":
            self._ws.ping(argument.encode() or None).rawlink(self._show_pong)
        elif name == "binary":
            self._ws.send(bytes.fromhex(argument))
        elif name == "close":
            code, _, reason = argument.partition(" ")
            self._ws.close(int(code or 1000), reason)
        else:
            self._tell(HELP)

    def _show_control(self, opcode: int, payload: bytes) -> None:
        name = "ping" if opcode == Opcode.PING else "pong"
        self._tell(f"{name} {repr(payload)[1:]}")

    def _show_pong(self, result: Any) -> None:
        if result.successful():
            self._tell(f"pong after {result.value * 1000:.1f} ms")


def run_session(ws: ClientWebSocket, quiet: float, pings: bool) -> int:
    """Run a connection on the standard streams to its end, and return the exit status."""
    status = Session(ws, quiet, pings).run()
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains at the exit
    return status
