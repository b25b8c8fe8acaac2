"""client/websocket.py: a connection closes its socket, however it ends and whoever forgets it."""

from __future__ import annotations

import gc
import re
import time
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent.event import Event
from kit.frames import CLOSE, PING, PONG, TEXT, frame
from kit.servers.scripted import Peer, echo, is_open, run_program

from geventws import WebSocket
from geventws.client.opening import connect
from geventws.websocket import get_connection

# ---- the end


def test_the_socket_is_closed_with_the_connection(serve: Any) -> None:
    site = serve(echo)
    ws = connect(f"ws://127.0.0.1:{site.port}/")
    assert is_open(get_connection(ws).fd)
    ws.close(4001, "bye")
    assert not is_open(get_connection(ws).fd)
    ws.close()
    assert (ws.close_code, ws.close_reason) == (4001, "bye")


def test_the_socket_is_closed_when_the_server_ends_it(serve: Any) -> None:
    site = serve(echo)
    ws = connect(f"ws://127.0.0.1:{site.port}/close")
    assert ws.wait() is None
    get_connection(ws).closing.wait_closed()
    assert not is_open(get_connection(ws).fd)
    assert (ws.close_code, ws.close_reason) == (4000, "enough")


@pytest.mark.parametrize("reset", [False, True])
def test_the_socket_is_closed_when_the_connection_is_lost(scripted: Any, reset: bool) -> None:
    go = Event()

    def script(peer: Peer) -> None:
        peer.accept()
        go.wait()
        if reset:
            peer.socket.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    ws = connect(scripted(script).uri)
    go.set()
    assert ws.wait() is None
    gevent.idle()
    assert not is_open(get_connection(ws).fd)
    assert ws.close_code == 1006


def test_a_server_that_does_not_hang_up(scripted: Any) -> None:
    done = Event()

    def script(peer: Peer) -> None:
        peer.accept()
        _, payload, _ = peer.read_frame()
        peer.socket.sendall(frame(CLOSE, payload, key=None))
        done.wait()

    ws = connect(scripted(script).uri)
    started = time.monotonic()
    ws.close()
    assert 0.5 < time.monotonic() - started < 3
    assert not is_open(get_connection(ws).fd)
    assert ws.close_code == 1000
    done.set()


def test_a_breach_is_answered(scripted: Any) -> None:
    answers = []
    masked = frame(TEXT, "hi", key=b"abcd")
    server = scripted(lambda peer: [peer.accept(masked), answers.append(peer.read_frame()[:2])])
    ws = connect(server.uri)
    assert ws.wait() is None
    assert ws.close_code == 1002
    ws.close()
    assert answers[0][0] == CLOSE and answers[0][1][:2] == b"\x03\xea"


def test_keepalive(scripted: Any) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        for _ in range(3):
            opcode, payload, _ = peer.read_frame()
            assert opcode == PING
            peer.socket.sendall(frame(PONG, payload, key=None))
        peer.socket.sendall(frame(TEXT, "alive", key=None))
        peer.rest()

    with connect(scripted(script).uri, ping_interval=0.02, ping_timeout=None, close_timeout=0) as ws:
        assert ws.wait() == "alive"
        assert ws.latency > 0


def test_a_dead_server_is_noticed(scripted: Any) -> None:
    done = Event()
    server = scripted(lambda peer: [peer.accept(), done.wait()])
    ws = connect(server.uri, ping_interval=0.02, ping_timeout=0.05)
    assert ws.wait() is None
    assert ws.close_code == 1011
    done.set()


# ---- nobody has a hold of it


def check_dropped(site: Any, drop: Callable[[list[WebSocket]], object], **options: Any) -> None:
    """Drop a connection in some way: there is a warning, and the socket is closed."""
    held = [connect(f"ws://127.0.0.1:{site.port}/", **options)]
    fd, name = get_connection(held[0]).fd, re.escape(repr(held[0]))
    with pytest.warns(ResourceWarning, match=f"{name} was not closed"):
        drop(held)
        gc.collect()
    site.settle()
    assert not is_open(fd)


def test_a_connection_that_was_dropped_is_closed(serve: Any) -> None:
    check_dropped(serve(echo), list.clear)


def test_keepalive_keeps_nobody(serve: Any) -> None:
    check_dropped(serve(echo), list.clear, ping_interval=0.01, ping_timeout=None)


def test_a_connection_dropped_in_a_cycle(serve: Any) -> None:
    def drop(held: list[Any]) -> None:
        held.append(held)
        held[0].environ["me"] = held
        del held[:]

    check_dropped(serve(echo), drop)


def test_a_connection_dropped_in_another_thread(serve: Any, in_thread: Any) -> None:
    check_dropped(serve(echo), lambda held: in_thread(held.clear))


def test_a_closed_connection_that_is_dropped_says_nothing(serve: Any) -> None:
    site = serve(echo)
    connect(f"ws://127.0.0.1:{site.port}/").close()
    ws = connect(f"ws://127.0.0.1:{site.port}/close")
    assert ws.wait() is None
    del ws
    gc.collect()


def test_a_greenlet_that_waits_keeps_its_connection(serve: Any) -> None:
    site = serve(echo)
    received: list[Any] = []
    ws = connect(f"ws://127.0.0.1:{site.port}/")
    remote = weakref.ref(ws)

    def read(ws: WebSocket) -> None:
        received.extend(ws)

    reader = weakref.ref(gevent.spawn(read, ws))
    gevent.sleep(0)
    del ws
    gc.collect()
    remote().send("still there")
    while not received:
        gevent.sleep(0.001)
    assert received == ["still there"]
    remote().close()
    gevent.idle()
    gc.collect()
    assert reader() is remote() is None


def test_a_forked_child_leaves_the_connection_to_its_parent(serve: Any) -> None:
    site = serve(echo)
    program = f"""
        import os, gc, warnings
        warnings.simplefilter("ignore")
        from geventws.client import connect
        from geventws.websocket import get_connection
        ws = connect("ws://127.0.0.1:{site.port}/", proxy=None)
        child = os.fork()
        if child == 0:
            fd = get_connection(ws).fd
            del ws
            gc.collect()
            try: os.fstat(fd)
            except OSError: os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        ws.send("parent"); print(ws.wait()); ws.close()
    """
    assert run_program(program) == b"parent\n"


def test_a_connection_dropped_when_its_loop_is_gone(serve: Any) -> None:
    site = serve(echo)
    program = f"""
        import gc, gevent, os, threading
        from geventws.websocket import get_connection
        from geventws.client import connect
        held = []
        def run():
            held.append(connect("ws://127.0.0.1:{site.port}/", proxy=None))
            gevent.get_hub().destroy(destroy_loop=True)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        fd = get_connection(held[0]).fd
        held.clear()
        gc.collect()
        try: os.fstat(fd)
        except OSError: print("closed")
    """
    assert run_program(program) == b"closed\n"
