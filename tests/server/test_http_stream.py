"""The heads that a connection receives: how long they may take, how large they may be, and what begins none."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

from typing import Any

import gevent
import pytest
from kit.sites.http import deadline, read_all, read_response, run, show  # noqa: F401


def test_a_slow_head_is_answered_with_408(run: Any) -> None:
    running = run(show, head_timeout=0.2)
    client = running.connect()
    client.sendall(b"GET / HTTP/1.1\r\nX-")
    assert read_all(client) == b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-length: 0\r\n\r\n"
    assert '"GET / HTTP/1.1" 408 ' in running.access[0]


def test_the_deadline_is_for_the_whole_head(run: Any) -> None:
    running = run(show, head_timeout=0.3)
    client = running.connect()

    def dribble() -> None:
        try:
            while True:
                client.sendall(b"X: a\r\n")
                gevent.sleep(0.02)
        except OSError:
            pass

    client.sendall(b"GET / HTTP/1.1\r\n")
    dribbler = gevent.spawn(dribble)
    assert read_all(client).startswith(b"HTTP/1.1 408 ")
    client.close()
    dribbler.join()


def test_a_silent_client_is_dropped(run: Any) -> None:
    running = run(show, head_timeout=0.1)
    assert read_all(running.connect()) == b""
    assert running.access == []


def test_an_idle_connection_is_dropped_at_its_own_time(run: Any) -> None:
    running = run(show, head_timeout=5, keepalive_timeout=0.1)
    client = running.connect()
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert read_response(client)
    assert read_all(client) == b""
    assert len(running.access) == 1


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\n" + 40 * (b"X-A: " + 100 * b"a" + b"\r\n"), b"GET / HTTP/1.1\r\nA: "]
)
def test_a_fat_head_is_answered_with_431(run: Any, head: bytes) -> None:
    running = run(show, max_head_size=2000)
    assert running.ask(head + 20000 * b"a").startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert '"GET / HTTP/1.1" 431 ' in running.access[0]


@pytest.mark.parametrize("head", [b"\x16\x03\x01\x02\x00\x01", b"\x00", b"\xff\xfe", b" ", b"\r\n\x16\x03"])
def test_what_begins_no_request_is_refused_at_once(run: Any, head: bytes) -> None:
    """The hello of TLS to a port without it has no line end for which to wait (head_timeout is 30 s)."""
    running = run(show)
    client = running.connect()
    client.sendall(head)
    assert read_all(client).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_an_endless_line_is_answered_with_414(run: Any) -> None:
    running = run(show)
    client = running.connect()
    client.sendall(b"GET /" + 1_000_000 * b"a")
    assert read_all(client).startswith(b"HTTP/1.1 414 ")
