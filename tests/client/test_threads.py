"""The client in native threads: what is left of it once a thread's hub is destroyed, and who may use a connection."""

from __future__ import annotations

import os
import threading
import warnings
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult, Event
from gevent.monkey import get_original
from kit import frames

import geventws
from geventws import WebSocketApplication, WebSocketWSGI
from geventws.engine.loop.poller import Poller, get_poller

START = 10.0


@WebSocketWSGI
def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def run_in_thread(function: Any) -> Any:
    """Run a function in a new native thread, whose hub is destroyed, and return its result; the loop goes on here."""
    results: list[Any] = []

    def run() -> None:
        try:
            with gevent.Timeout(START):
                results.append(function())
        except BaseException as error:
            results.append(error)
        finally:
            gevent.get_hub().destroy(destroy_loop=True)

    thread = get_original("threading", "Thread")(target=run)
    thread.start()
    with gevent.Timeout(2 * START):
        while thread.is_alive():
            gevent.sleep(0.001)
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


@pytest.mark.parametrize("closes", [True, False])
def test_a_thread_leaves_nothing_behind(serve: Any, closes: bool) -> None:
    site = serve(echo)
    kept: list[Any] = []

    def talk() -> Poller:
        ws = geventws.connect(f"ws://127.0.0.1:{site.port}/", proxy=None)
        kept.append(ws)
        ws.send("hello")
        assert ws.wait() == "hello"
        if closes:
            ws.close()
        return get_poller()

    before = set(os.listdir("/proc/self/fd"))
    pollers = [run_in_thread(talk) for _ in range(3)]
    site.settle()
    assert set(os.listdir("/proc/self/fd")) == before
    assert all(poller.closed and not poller.receiver.scratch for poller in pollers)
    assert [(ws.closed, ws.close_code) for ws in kept] == [(True, 1000 if closes else 1006)] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept.clear()
    assert get_poller() not in pollers and not get_poller().closed


def test_a_thread_that_never_used_a_connection_has_nothing_to_leave() -> None:
    assert run_in_thread(threading.get_ident)


# Another thread's connection

CALLS = {
    "send": lambda ws: ws.send("x"),
    "send, large": lambda ws: ws.send(b"x" * 100_000),
    "send, in parts": lambda ws: ws.send(iter(["x", "y"])),
    "send, compressed or not": lambda ws: ws.send("x" * 5000, compress=False),
    "wait": lambda ws: ws.wait(),
    "wait for a time": lambda ws: ws.wait(timeout=5),
    "ping": lambda ws: ws.ping(),
    "close": lambda ws: ws.close(),
}


def call_in_thread(call: Any, ws: Any) -> BaseException | None:
    """Return what a call raises in a native thread."""

    def run() -> list[BaseException]:
        try:
            call(ws)
        except Exception as error:
            return [error]
        return []

    raised: list[BaseException] = run_in_thread(run)
    return raised[0] if raised else None


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("side", ["server", "TLS server", "deflating server", "callbacks", "client"])
def test_a_connection_of_another_thread(serve: Any, secure: Any, call: str, side: str) -> None:
    """One error that says how to do it, and nothing is sent; the connection goes on."""
    given = AsyncResult()

    def handler(ws: Any) -> None:
        given.set(ws)
        go.wait()
        ws.send("last")

    class Callbacks(WebSocketApplication):
        def on_open(self, ws: Any) -> None:
            given.set(ws)

        def on_message(self, ws: Any, message: str) -> str:
            return "last"

    go = Event()
    application = Callbacks() if side == "callbacks" else echo if side == "client" else WebSocketWSGI(handler)
    options = secure if side == "TLS server" else {}
    site = serve(application, **options)
    if side == "client":
        with geventws.connect(f"ws://127.0.0.1:{site.port}/", proxy=None) as ws:
            error = call_in_thread(CALLS[call], ws)
            ws.send("last")
            assert ws.wait() == "last"
    else:
        changed = {"sec_websocket_extensions": "permessage-deflate"} if side == "deflating server" else {}
        client = site.connect("/", **changed)
        error = call_in_thread(CALLS[call], given.get())
        go.set()
        if side == "callbacks":
            client.send(frames.text("go"))
        assert client.read_message() == "last"
        client.leave() if side == "callbacks" else client.expect_close()
    if side == "callbacks" and call.startswith("wait"):
        assert isinstance(error, AttributeError)
    else:
        assert isinstance(error, geventws.ConcurrencyError) and "run_callback_threadsafe" in str(error)


def test_how_another_thread_has_something_sent(serve: Any) -> None:
    @WebSocketWSGI
    def handler(ws: Any) -> None:
        loop = gevent.get_hub().loop
        run_in_thread(lambda: loop.run_callback_threadsafe(gevent.spawn, ws.send, "from a thread"))
        ws.wait()

    client = serve(handler).connect()
    assert client.read_message() == "from a thread"
    client.leave()
