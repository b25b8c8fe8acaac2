"""The client in native threads: what is left of it once a thread's hub is destroyed, and who may use a connection."""

from __future__ import annotations

import os
import threading
import warnings
from typing import Any

import gevent
import pytest
from gevent.monkey import get_original

import geventws
from geventws import WebSocketWSGI
from geventws.engine.poller import Poller, get_poller

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
    assert all(poller.closed and not poller.spare for poller in pollers)
    assert [ws.close_code for ws in kept] == [1000 if closes else 1006] * 3
    for ws in kept:
        with pytest.raises(geventws.ConnectionClosed):
            ws.send("more")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept.clear()
    assert get_poller() not in pollers and not get_poller().closed


def test_a_thread_that_never_used_a_connection_has_nothing_to_leave() -> None:
    assert run_in_thread(threading.get_ident)
