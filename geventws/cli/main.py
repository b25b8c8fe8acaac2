"""The command line: `python -m geventws connect URI` and `python -m geventws serve MODULE:APPLICATION`."""

from __future__ import annotations

import argparse
import glob
import importlib
import os
import signal
import ssl
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
from gevent.baseserver import parse_address

from ..client.opening import connect
from ..exceptions import InvalidStatus, WebSocketError
from ..http.uri import parse_uri
from ..server.server import WebSocketServer
from ..text import one_line
from .terminal import printable, run_session
from .versions import describe
from .workers import become_gunicorn

LISTENER = "GEVENTWS_LISTENER"
"""The environment's name for the listening descriptor that a reload passes on."""

POLL = 0.5
"""Seconds between two looks at the source files."""

HURRY = 0.1
"""Seconds that a reload gives to what is under way."""

NOT_THERE = (0, 0)
"""The stamp of a file that there is not."""

INSTALLED = tuple(map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))
"""Where no application is being written."""

_STARTED = time.time_ns()

SHOWN_BODY = 500
"""Characters of a refusal's body that are shown."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0 for a good end, 1 for a bad one, 2 for a wrong command line."""
    _open_streams()
    options = _make_parser().parse_args(arguments)
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)  # which it would print, besides raising it here
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KeyboardInterrupt:
        return 130


def _open_streams() -> None:
    """Open the standard streams that the program was started without, on nothing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_name_program(), description="WebSockets on gevent.")
    parser.add_argument("--version", action="version", version=describe(), help="tell which parts are at work")
    commands = parser.add_subparsers(required=True, metavar="connect | serve")
    _add_connect(commands.add_parser("connect", help="talk to a server from a terminal or a pipe"))
    _add_serve(commands.add_parser("serve", help="serve a WSGI application"))
    return parser


def _name_program() -> str:
    """Return how this program was called: by its own name, or as a module."""
    name = os.path.basename(sys.argv[0])
    return "python -m geventws" if name == "__main__.py" else name


def _add_connect(parser: argparse.ArgumentParser) -> None:
    parser.description = "Send lines as text messages, and show what comes. The exit status is 0 for a clean close."
    parser.set_defaults(command=_connect)
    add = parser.add_argument
    add("uri", help="ws://host/path or wss://host/path")
    add("--header", "-H", action="append", default=[], metavar="'NAME: VALUE'", help="a further header; repeatable")
    add("--origin", help="the Origin header")
    add("--subprotocol", action="append", default=[], metavar="NAME", help="offer a subprotocol; repeatable")
    add("--insecure", action="store_true", help="take any certificate of the server's, for wss://")
    add("--no-proxy", action="store_true", help="go straight to the server, whatever the environment says")
    add("--unix", metavar="PATH", help="connect to a Unix socket")
    add("--pings", action="store_true", help="show the pings and pongs that come")
    add("--timeout", type=float, default=10.0, metavar="SECONDS", help="for connecting; 10")
    add(
        "--wait",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="without a message after the end of a pipe's input, before closing; 1",
    )


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Serve a WSGI application with geventws.WebSocketServer. SIGTERM and SIGINT drain it; a second SIGINT ends it."
    )
    parser.epilog = (
        "Blocking code cooperates when it is monkey-patched first: "
        "python -m gevent.monkey --module geventws serve MODULE:APPLICATION"
    )
    parser.set_defaults(command=_serve, refuse=parser.error)
    add = parser.add_argument
    add("application", type=_check_name, metavar="MODULE:APPLICATION", help="package.module:name of a WSGI callable")
    add("--bind", type=_check_address, default="127.0.0.1:8000", metavar="HOST:PORT", help="where; 127.0.0.1:8000")
    add("--certfile", help="the certificate, for TLS")
    add("--keyfile", help="its key; by default in the same file")
    add("--reload", action="store_true", help="start anew when a source file changes")
    add(
        "--workers",
        type=_check_count,
        metavar="N",
        help="start gunicorn with N processes (pip install 'geventws[gunicorn]'), whose signals are its own; --reload "
        "does not apply then, nor the name of an attribute's attribute",
    )


def _check_count(text: str) -> int:
    """Return how many workers there are to be."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes")
    return int(text)


def _check_name(name: str) -> str:
    """Return what may name an application."""
    if name.startswith((":", ".")) or not name:
        raise argparse.ArgumentTypeError(f"{name!r} is not MODULE:APPLICATION")
    return name


def _check_address(address: str) -> str:
    """Return what a server may listen on."""
    try:
        _, (host, port) = parse_address(address)
        host.encode("idna")
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{address!r} is not HOST:PORT")
    return address


# ---- connect


def _connect(options: argparse.Namespace) -> int:
    try:
        ws = connect(
            options.uri,
            headers=[_read_header(header) for header in options.header],
            origin=options.origin,
            subprotocols=options.subprotocol,
            ssl=_make_insecure_context() if options.insecure and parse_uri(options.uri).secure else None,
            proxy=not options.no_proxy,
            unix_path=options.unix,
            open_timeout=options.timeout,
            max_message_size=1 << 30,
        )
    except (WebSocketError, OSError, ValueError) as error:
        print(f"cannot connect: {one_line(str(error))}", file=sys.stderr)
        if isinstance(error, InvalidStatus):
            _show_answer(error)
        return 1
    return run_session(ws, options.wait, options.pings)


def _read_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r} is no header; write 'Name: value'")
    return name.strip(), value.strip()


def _make_insecure_context() -> ssl.SSLContext:
    context = gevent.ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context  # type: ignore[no-any-return]


def _show_answer(error: InvalidStatus) -> None:
    for name, value in error.headers:
        print(one_line(f"{name}: {value}"), file=sys.stderr)
    body = error.body.decode(errors="replace").strip()
    if body:
        print(f"\n{printable(body[:SHOWN_BODY])}", file=sys.stderr)


# ---- serve


def _serve(options: argparse.Namespace) -> int:
    _check_together(options)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        tls = _make_tls(options)
    except OSError as error:
        files = f"the certificate from {options.certfile} and its key from {options.keyfile or 'the same file'}"
        print(one_line(f"cannot take {files}: {error}"), file=sys.stderr)
        return 1
    if options.workers is not None:
        return become_gunicorn(options)
    try:
        application = _load(options.application)
    except (Exception, SystemExit) as error:
        if not options.reload:
            raise
        _wait_for_repair(error)
        _restart()
    return _run(options, WebSocketServer(_make_listener(options.bind), application, **tls))


def _check_together(options: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if options.keyfile is not None and options.certfile is None:
        options.refuse("--keyfile is the key of a --certfile, and there is none")
    if options.workers is not None and options.reload:
        options.refuse("--reload is for one process, and goes without --workers")
    if options.workers is not None and "." in options.application.partition(":")[2]:
        options.refuse(f"with --workers the name may have no dot: {options.application.partition(':')[2]!r}")


def _make_tls(options: argparse.Namespace) -> dict[str, Any]:
    """Return what makes the server speak TLS; OSError where the files do not hold what they should."""
    if options.certfile is None:
        return {}
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certfile, options.keyfile)
    return {"ssl_context": context}


def _run(options: argparse.Namespace, server: WebSocketServer) -> int:
    """Serve until a signal or, with --reload, a change ends it. Blocks."""
    try:
        server.start()
    except OSError as error:
        print(one_line(f"cannot listen on {options.bind}: {error}"), file=sys.stderr)
        return 1
    _announce(options, server)
    reloader = gevent.spawn(_reload, server) if options.reload else None
    _heed_signals()
    server.serve_forever()
    if reloader is not None and reloader.value is not None:
        os.environ[LISTENER] = str(reloader.value)
        _restart()
    return 0


def _heed_signals() -> None:
    """Have SIGINT drain the server as SIGTERM does, which `serve_forever` sees to; and let SIGHUP kill nothing.

    A second SIGINT is a KeyboardInterrupt, which ends the drain, whatever holds it up.
    SIGHUP drains it as well where the standard input is a terminal, which has gone then. To a server without a
    terminal it says nothing. Whoever has it ignored, as nohup does, has it ignored here, too.
    """

    def drain(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGINT, drain)  # a KeyboardInterrupt could strike any handler
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, drain if os.isatty(0) else lambda _number, _frame: None)


def _load(name: str) -> Callable[..., Any]:
    """Return the WSGI application that `name` stands for; SystemExit says what is wrong with the name."""
    module_name, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise SystemExit(f"there is no module {error.name!r} here") from None
    for attribute in (path or "application").split("."):
        if not hasattr(found, attribute):
            raise SystemExit(f"{module_name} has no {path or 'application'!r}")
        found = getattr(found, attribute)
    if not callable(found):
        raise SystemExit(f"{name} is {type(found).__name__}, not a WSGI application")
    return found  # type: ignore[no-any-return]


def _make_listener(address: str) -> Any:
    """Return where to listen: the socket that a reload passes on, or the address."""
    inherited = os.environ.pop(LISTENER, None)
    if inherited is not None:
        os.set_inheritable(int(inherited), False)
        return gevent.socket.socket(fileno=int(inherited))
    return address


def _announce(options: argparse.Namespace, server: WebSocketServer) -> None:
    scheme = "http" if options.certfile is None else "https"
    host, port = server.address[:2]
    host = f"[{host}]" if ":" in host else host
    print(f"serving {options.application} on {scheme}://{host}:{port}", flush=True)


# ---- reload


def _reload(server: WebSocketServer) -> int:
    """Stop the server when a source file changes; return a descriptor that goes on listening meanwhile."""
    _wait_for_change(_list_sources())
    listener = os.dup(server.socket.fileno())
    os.set_inheritable(listener, True)
    server.stop(HURRY)
    return listener


def _restart() -> None:
    """Put the same command in the place of this process."""
    os.execv(sys.executable, sys.orig_argv)


def _wait_for_repair(error: BaseException) -> None:
    """Show why the application cannot be served, and wait until it may be otherwise. Blocks."""
    if isinstance(error, SystemExit) and isinstance(error.code, str):
        print(error.code, file=sys.stderr)
    else:
        traceback.print_exception(error)
    paths = _list_sources(error)
    ours = (path for path in paths if os.path.isabs(path) and not path.startswith(INSTALLED))
    _wait_for_change(paths, {os.getcwd(), *map(os.path.dirname, ours)})


def _wait_for_change(paths: set[str], folders: Collection[str] = ()) -> None:
    """Wait until one of the files changes, or a Python file in the folders, which may be a new one. Blocks."""
    before = {path: _stamp(path) for path in paths.union(_list_files(folders))}
    while not any(_has_changed(path, stamp) for path, stamp in before.items()):
        gevent.sleep(POLL)
        before.update((path, NOT_THERE) for path in _list_files(folders) if path not in before)


def _has_changed(path: str, stamp: tuple[int, int]) -> bool:
    """Tell whether a file is another one than when we looked, or was written between our start and then."""
    return _stamp(path) != stamp or _STARTED < stamp[0] < time.time_ns()


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return NOT_THERE
    return status.st_mtime_ns, status.st_size


def _list_files(folders: Iterable[str]) -> Iterator[str]:
    """Yield the Python files in folders, and the packages."""
    for folder in folders:
        for pattern in ("*.py", "*/__init__.py"):
            yield from glob.iglob(os.path.join(glob.escape(folder), pattern))


def _list_sources(error: BaseException | None = None) -> set[str]:
    """Return the files of all modules there are, and of those in which an import failed."""
    modules = list(sys.modules.values())
    paths = {getattr(module, "__file__", None) for module in modules}
    if error is not None:
        paths.update(_list_failed(error))
    return {path for path in paths if path is not None}


def _list_failed(error: BaseException) -> Iterator[str]:
    if isinstance(error, SyntaxError) and error.filename is not None:
        yield error.filename
    for frame in traceback.extract_tb(error.__traceback__):
        yield frame.filename
