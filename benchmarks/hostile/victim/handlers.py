"""What the program under attack does with a connection: one function for servers, callbacks and clients alike.

A talk is called for each message; a monologue never takes any. `HANDLERS` has them by path, with their options.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import socket
import time
from collections.abc import Callable
from socket import SocketType
from typing import Any

import gevent

from geventws import PubSub, WebSocketApplication, WebSocketWSGI

from . import forking

FOR_EVER = 3600.0
HELD = 5.0
"""Seconds that a log handler's lock is held."""

SECOND = 1.0
"""The clocks of handlers whose end is waited for."""

PUBSUB = PubSub()

KEPT: list[Any] = []
"""Connections that the program asks later how they ended."""

Handler = Callable[[Any], None]
Talk = Callable[[Any, Any], None]


def tell(line: str) -> None:
    """Tell the attacker."""
    print(line, flush=True)


# Talks


def echo(ws: Any, message: Any) -> None:
    """Send it back."""
    ws.send(message)


def meet(ws: Any, message: Any) -> None:
    """Join a room with a policy, as far as that is allowed; publish to it; or send it back."""
    if message.startswith(b"join "):
        _, topic, policy = message.decode().split(" ")
        with contextlib.suppress(ValueError):
            PUBSUB.subscribe(ws, topic, policy)
    elif message.startswith(b"publish "):
        PUBSUB.publish("room", message[8:])
    else:
        ws.send(message)


def hold_up(ws: Any, message: Any) -> None:
    """Hold the loop up, for as many seconds as the message says, and send it back."""
    if message[:5] == b"hold ":
        time.sleep(float(message[5:]))
    ws.send(message)


def close_under(ws: Any, message: Any) -> None:
    """Close the socket under the connection while a child holds it, and give its number to a stranger for a second."""
    if not message.startswith(b"close "):
        return
    sock = find_socket(*map(int, message.split()[1:]))
    number = sock.fileno()
    child = os.fork()
    if not child:
        time.sleep(SECOND + 4)
        os._exit(0)
    sock.close()
    ours, theirs = socket.socketpair()
    os.dup2(ours.fileno(), number)
    theirs.send(b"x" * 24)
    tell("CLOSED")
    gevent.sleep(SECOND)
    tell(f"STOLEN {24 - waiting(ours)}")
    os.close(number)


def waiting(sock: socket.socket) -> int:
    """Return how many bytes can be read."""
    sock.settimeout(0.1)
    try:
        return len(sock.recv(100))
    except TimeoutError:
        return 0


def find_socket(peer: int, own: int) -> Any:
    """Return the C socket of the connection between two ports, wherever the program keeps it."""
    sockets = (one for thing in gc.get_objects() for one in gc.get_referents(thing) if isinstance(one, SocketType))
    for sock in sockets:
        with contextlib.suppress(OSError, IndexError, TypeError):
            if (sock.getpeername()[1], sock.getsockname()[1]) == (peer, own):
                return sock
    raise LookupError(f"no connection is between the ports {peer} and {own}")


# Monologues


def busy(ws: Any) -> None:
    """Take no message."""
    gevent.sleep(FOR_EVER)


def pour(ws: Any) -> None:
    """Send for ever."""
    message = b"x" * 100
    while True:
        ws.send(message)


def block(ws: Any) -> None:
    """Ten greenlets send 64 MB each to a peer that takes nothing."""
    KEPT.append(ws)
    try:
        gevent.joinall([gevent.spawn(send_until_end, ws) for _ in range(10)])
    finally:  # which may be a kill: the connection is over
        tell("ENDED")


def send_until_end(ws: Any) -> None:
    """Send 64 MB; the end of the connection is expected."""
    with contextlib.suppress(OSError):
        ws.send(b"x" * (64 << 20))


def send_large(ws: Any) -> None:
    """Send 64 MB to a peer that takes little of it."""
    try:
        ws.send(bytes(64 << 20))
    finally:
        tell("ENDED")


def ping(ws: Any) -> None:
    """Send 20,000 pings, a thousand in each turn."""
    for number in range(20_000):
        ws.ping()
        if number % 1000 == 0:
            gevent.sleep(0.01)
    tell("PINGED")
    gevent.sleep(FOR_EVER)


def interrupt_close(ws: Any) -> None:
    """Begin to close, and give up waiting."""
    with gevent.Timeout(0.1, False):
        ws.close()
    tell("INTERRUPTED")
    gevent.sleep(FOR_EVER)


def wait_once(ws: Any) -> None:
    """Take the first message, which never ends."""
    ws.wait()


def control(ws: Any) -> None:
    """A client whose `on_control` raises."""

    def fail(_opcode: int, _payload: bytes) -> None:
        raise LookupError("the program's own")

    ws.on_control = fail
    for message in ws:
        ws.send(message)


def talk(function: Talk) -> Handler:
    """Return a handler that calls a function for each message."""

    def handle(ws: Any) -> None:
        for message in ws:
            function(ws, message)

    return handle


TALKS: dict[str, tuple[Talk, dict[str, Any]]] = {
    "/echo": (echo, {}),
    "/room": (meet, {}),
    "/large": (echo, {"max_message_size": 1 << 30}),
    "/held": (hold_up, {"ping_interval": 0.3, "ping_timeout": 0.5}),
    "/under": (close_under, {}),
    "/fork": (forking.fork, {"ping_interval": 0.4, "ping_timeout": 0.6}),
}
MONOLOGUES: dict[str, tuple[Handler, dict[str, Any]]] = {
    "/busy": (busy, {}),
    "/pour": (pour, {}),
    "/block": (block, {"send_timeout": SECOND}),
    "/slow": (send_large, {"send_timeout": SECOND, "ping_timeout": None}),
    "/ping": (ping, {}),
    "/interrupt": (interrupt_close, {"close_timeout": SECOND}),
    "/pieces": (wait_once, {"streaming": True}),
    "/control": (control, {}),
}
HANDLERS = {path: (talk(function), options) for path, (function, options) in TALKS.items()} | MONOLOGUES


class Callbacks(WebSocketApplication):
    """The same in callbacks."""

    def __init__(self, on_open: Handler | None, on_message: Talk | None, options: dict[str, Any]) -> None:
        super().__init__(**options)
        self._open, self._message = on_open, on_message

    def on_open(self, ws: Any) -> None:
        """Run a monologue."""
        ws.data = ws.environ
        if self._open:
            self._open(ws)

    def on_message(self, ws: Any, message: Any) -> None:
        """Run a talk's turn."""
        if self._message:
            self._message(ws, message)

    on_bytes = on_message


def make_rooms() -> Any:
    """Return an endpoint for clients of rooms, with 4 MB of history in a topic. All but one topic is allowed."""
    pubsub = PubSub(history={"history": (100, 3600)})
    for _ in range(80):
        pubsub.publish("history", "x" * 50_000)
    return pubsub.endpoint(lambda environ, action, topic: topic != "secret", member=lambda environ: "somebody")


def routes(*, callbacks: bool) -> dict[str, Any]:
    """Return the WSGI applications by their paths."""
    if not callbacks:
        endpoints = {path: WebSocketWSGI(handler, **options) for path, (handler, options) in HANDLERS.items()}
        return {**endpoints, "/rooms": make_rooms()}
    talks = {path: Callbacks(None, function, options) for path, (function, options) in TALKS.items()}
    rest = {path: pair for path, pair in MONOLOGUES.items() if not pair[1].get("streaming")}
    return talks | {path: Callbacks(handler, None, options) for path, (handler, options) in rest.items()}


# The program around them


def hold(handler: logging.Handler) -> None:
    """Hold a log handler's lock, as a greenlet does that writes to a slow disk."""
    handler.acquire()
    gevent.sleep(HELD)
    handler.release()


def prepare(about: dict[str, Any]) -> None:
    """Make the program what the row is about: its log, and its memory."""
    if about["held_log"]:
        handler = logging.StreamHandler()
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        gevent.spawn(hold, handler)
    elif about["log"]:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    if about["memory"]:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + about["memory"], resource.RLIM_INFINITY))
