"""The command line: `python -m geventws connect URI` and `python -m geventws serve MODULE:APPLICATION`."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import ssl
import sys
from collections.abc import Callable
from typing import Any

import gevent
import gevent.ssl
from gevent import monkey
from gevent.baseserver import parse_address

from ..client.opening import connect
from ..exceptions import InvalidStatus, WebSocketError
from ..http.uri import parse_uri
from ..server.server import WebSocketServer
from ..text import one_line
from .reload import make_listener, restart, wait_and_stop, wait_for_repair
from .terminal import printable, run_session
from .versions import describe
from .watchdog import Watchdog
from .workers import become_gunicorn

SHOWN_BODY = 500
"""How many characters of a refusal's body are shown."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0 for success, 1 for failure, 2 for a wrong command line."""
    _open_streams()
    options = _make_parser().parse_args(arguments)
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)  # or the hub would print it, besides raising it here
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KeyboardInterrupt:
        return 130


def _open_streams() -> None:
    """Open standard streams that are missing, on /dev/null."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_name_program(), description="WebSockets on gevent.")
    parser.add_argument("--version", action="version", version=describe(), help="show which parts are in use")
    commands = parser.add_subparsers(required=True, metavar="connect | serve")
    _add_connect(commands.add_parser("connect", help="talk to a server from a terminal or a pipe"))
    _add_serve(commands.add_parser("serve", help="serve a WSGI application"))
    return parser


def _name_program() -> str:
    """Return how this program was called: by its own name, or as a module."""
    name = os.path.basename(sys.argv[0])
    return "python -m geventws" if name == "__main__.py" else name


def _add_connect(parser: argparse.ArgumentParser) -> None:
    parser.description = "Send lines as text messages, and show received ones. The exit status is 0 for a clean close."
    parser.set_defaults(command=_connect)
    add = parser.add_argument
    add("uri", help="ws://host/path or wss://host/path")
    add("--header", "-H", action="append", default=[], metavar="'NAME: VALUE'", help="a further header; repeatable")
    add("--origin", help="the Origin header")
    add("--subprotocol", action="append", default=[], metavar="NAME", help="offer a subprotocol; repeatable")
    add("--insecure", action="store_true", help="accept any certificate of the server, for wss://")
    add("--no-proxy", action="store_true", help="connect directly, whatever proxy the environment names")
    add("--unix", metavar="PATH", help="connect to a Unix socket")
    add("--pings", action="store_true", help="show received pings and pongs")
    add("--timeout", type=float, default=10.0, metavar="SECONDS", help="how long connecting may take; 10 by default")
    add(
        "--wait",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="after the end of a pipe's input, close once no message has come for this time; 1 by default",
    )


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Serve a WSGI application with geventws.WebSocketServer. SIGTERM and SIGINT drain it; a second SIGINT ends it."
    )
    parser.epilog = (
        "Code that blocks the thread, such as many database clients, holds up every connection; --patch makes most of "
        "it cooperate. Whatever holds up the loop for a second is logged, with its stack."
    )
    parser.set_defaults(command=_serve, refuse=parser.error)
    add = parser.add_argument
    add("application", type=_check_name, metavar="MODULE:APPLICATION", help="package.module:name of a WSGI callable")
    add("--bind", type=_check_address, default="127.0.0.1:8000", metavar="HOST:PORT", help="127.0.0.1:8000 by default")
    add("--certfile", help="the file with the certificate, for TLS")
    add("--keyfile", help="the file with its key; by default the same file")
    add("--reload", action="store_true", help="restart when a source file changes")
    add("--patch", action="store_true", help="monkey-patch the standard library first, as gunicorn's workers do")
    add(
        "--workers",
        type=_check_count,
        metavar="N",
        help="start gunicorn with N processes (pip install 'geventws[gunicorn]'), which handles signals its own way; "
        "not with --reload or --patch, and the application's name may not have a dot after the colon",
    )


def _check_count(text: str) -> int:
    """Return the number of workers."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes")
    return int(text)


def _check_name(name: str) -> str:
    """Return the name of an application, if it looks like one."""
    if name.startswith((":", ".")) or not name:
        raise argparse.ArgumentTypeError(f"{name!r} is not MODULE:APPLICATION")
    return name


def _check_address(address: str) -> str:
    """Return an address to listen on, if it looks like one."""
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
        raise ValueError(f"{text!r} is not a header; write 'Name: value'")
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
    if options.patch:
        _patch()
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        tls = _make_tls(options)
    except OSError as error:
        files = f"the certificate from {options.certfile} and its key from {options.keyfile or 'the same file'}"
        print(one_line(f"cannot load {files}: {error}"), file=sys.stderr)
        return 1
    if options.workers is not None:
        return become_gunicorn(options)
    try:
        application = _load(options.application)
    except (Exception, SystemExit) as error:
        if not options.reload:
            raise
        wait_for_repair(error)
        restart()
    return _run(options, WebSocketServer(make_listener(options.bind), application, **tls))


def _patch() -> None:
    """Start this program again, monkey-patched before anything is imported, unless it is already."""
    if not monkey.is_module_patched("socket"):
        command = [word for word in sys.argv[1:] if word != "--patch"]
        own = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv)]  # the interpreter, with its own options
        own = own[:-1] if own[-1] == "-m" else own
        os.execv(sys.executable, [*own, "-m", "gevent.monkey", "--module", "geventws", *command])


def _check_together(options: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if options.keyfile is not None and options.certfile is None:
        options.refuse("--keyfile needs --certfile")
    if options.workers is not None and options.patch:
        options.refuse("--patch cannot be used with --workers: gunicorn's workers are monkey-patched anyway")
    if options.workers is not None and options.reload:
        options.refuse("--reload cannot be used with --workers: it is for one process")
    if options.workers is not None and "." in options.application.partition(":")[2]:
        options.refuse(f"with --workers, the name may not have a dot: {options.application.partition(':')[2]!r}")


def _make_tls(options: argparse.Namespace) -> dict[str, Any]:
    """Return the server's options for TLS; OSError if the files do not have what they should."""
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
    reloader = gevent.spawn(wait_and_stop, server) if options.reload else None
    _heed_signals()
    with Watchdog():
        server.serve_forever()
    if reloader is not None and reloader.value is not None:
        restart(reloader.value)
    return 0


def _heed_signals() -> None:
    """Have SIGINT drain the server, as `serve_forever` does for SIGTERM, and do not let SIGHUP kill the process.

    A second SIGINT is a KeyboardInterrupt: it ends the drain, whatever holds it up. SIGHUP drains the server if the
    standard input is a terminal, as that has gone then; otherwise it is ignored. If it was ignored before, as under
    nohup, it stays ignored.
    """

    def drain(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGINT, drain)  # a KeyboardInterrupt could be raised in any handler
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, drain if os.isatty(0) else lambda _number, _frame: None)


def _load(name: str) -> Callable[..., Any]:
    """Return the WSGI application with this name; SystemExit says what is wrong with the name."""
    module_name, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        hint = f"; a module is named without .py: {module_name[:-3]}" if module_name.endswith(".py") else ""
        raise SystemExit(f"there is no module {error.name!r} here{hint}") from None
    for attribute in (path or "application").split("."):
        if not hasattr(found, attribute):
            hint = "" if path else f"; if it has another name, add that: {module_name}:NAME"
            raise SystemExit(f"{module_name} has no {path or 'application'!r}{hint}")
        found = getattr(found, attribute)
    if not callable(found):
        raise SystemExit(f"{name} is {type(found).__name__}, not a WSGI application")
    return found  # type: ignore[no-any-return]


def _announce(options: argparse.Namespace, server: WebSocketServer) -> None:
    scheme = "http" if options.certfile is None else "https"
    host, port = server.address[:2]
    host = f"[{host}]" if ":" in host else host
    print(f"serving {options.application} on {scheme}://{host}:{port}", flush=True)
