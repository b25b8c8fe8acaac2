"""The deadline and the pace of bodies on WebSocketServer, read or not, however they are framed."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import contextlib
import time
from typing import Any

import gevent
import pytest
from kit.sites.http import DEADLINE, deadline, read_all, read_response, requested, run  # noqa: F401
from kit.sites.http_bodies import CHUNKED, FRAMED, LATE, ignores, reads, reads_a_part, reads_lines, receive, swallows  # noqa: F401

from geventws.server import http_body
from geventws.server.http_body import LateBody

SLOW = {
    "nothing comes": (FRAMED, b""),
    "dribbled": (FRAMED, b"0123456789"),
    "no chunk comes": (CHUNKED, b""),
    "chunk sizes dribbled": (CHUNKED, 20 * b"1\r\na\r\n"),
    "a size without an end": (CHUNKED, 40 * b"0"),
    "extensions dribbled": (CHUNKED, b"1;" + 90 * b"a"),
    "trailers dribbled": (CHUNKED + b"1\r\na\r\n0\r\n", 20 * b"A: b\r\n"),
    "half a chunk": (CHUNKED + b"a\r\n01234", b""),
}
READERS = [reads, reads_lines, swallows]


def dribble(client: Any, data: bytes) -> None:
    """Send a byte at a time, and then nothing."""
    with contextlib.suppress(OSError):
        for byte in data:
            client.sendall(bytes([byte]))
            gevent.sleep(0.02)


@pytest.mark.parametrize("application", READERS)
@pytest.mark.parametrize(("head", "body"), SLOW.values(), ids=SLOW)
def test_a_body_that_does_not_come_is_answered_with_408(
    run: Any, capfd: pytest.CaptureFixture[str], application: Any, head: bytes, body: bytes
) -> None:
    """Whatever the application makes of the error, and without a traceback."""
    running = run(application, body_timeout=0.1, min_body_rate=1_000_000)
    client = running.connect()
    client.sendall(head)
    with_body = gevent.spawn(dribble, client, body)
    received = read_all(client)
    assert received.startswith(LATE) and received.count(b"HTTP/1.1") == 1
    assert b"\r\nConnection: close\r\n" in received and received.endswith(b"\r\n\r\n")
    client.close()
    with_body.kill()
    running.server.stop(DEADLINE)
    assert [requested(line)[1] for line in running.access] == ["408"]
    assert running.errors == [] and capfd.readouterr().err == ""


@pytest.mark.parametrize("application", [ignores, reads_a_part])
@pytest.mark.parametrize(("head", "body"), SLOW.values(), ids=SLOW)
def test_a_body_that_nobody_reads_has_a_deadline_too(run: Any, application: Any, head: bytes, body: bytes) -> None:
    running = run(application, body_timeout=0.1, min_body_rate=1_000_000)
    client = running.connect()
    client.sendall(head)
    with_body = gevent.spawn(dribble, client, body)
    received = read_all(client)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n") and received.endswith(b"\r\n\r\ndone")
    client.close()
    with_body.kill()


@pytest.mark.parametrize("application", [reads, ignores])
def test_bodies_withheld_lock_nobody_out(run: Any, application: Any) -> None:
    running = run(application, max_connections=8, body_timeout=0.1)
    clients = [running.connect() for _ in range(8)]
    for client in clients:
        client.sendall(FRAMED)
    for client in clients:
        assert read_all(client).startswith(LATE if application is reads else b"HTTP/1.1 200 ")
        client.close()
    assert b"200 OK" in running.ask(b"GET / HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("parts", [(b"GET / HTTP/1.1\r\n", b"Host: a\r\n\r\n"), (FRAMED, b"0123456789")])
def test_what_came_while_the_loop_was_held_up_is_in_time(run: Any, parts: tuple[bytes, bytes]) -> None:
    """The wait and its end are both due then; what is there is read first."""
    running = run(reads, head_timeout=0.1, body_timeout=0.1)
    client = running.connect()
    client.sendall(parts[0])
    gevent.idle()
    client.sendall(parts[1])
    time.sleep(0.2)  # and not gevent's: the loop is held up
    assert read_response(client).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_at_the_least_pace_may_take_any_time(receive: Any) -> None:
    peer, body = receive(1000 * [(1.0, bytes(500))], 500_000)
    assert len(body.read()) == 500_000 and body.whole
    assert peer.now == 1000


def test_a_body_below_the_least_pace_runs_out_of_time(receive: Any) -> None:
    peer, body = receive(1000 * [(1.0, bytes(250))], 500_000)
    with pytest.raises(LateBody):
        body.read()
    assert peer.now == pytest.approx(60, abs=1)
    with pytest.raises(LateBody):
        body.read(1)


def test_a_fast_start_buys_no_more_than_the_timeout(receive: Any) -> None:
    peer, body = receive([(0, bytes(1 << 20)), (1000, b"x")], 2 << 20)
    with pytest.raises(LateBody):
        body.read()
    assert peer.now == 30


def test_framing_earns_no_time(receive: Any) -> None:
    peer, body = receive([(1.0, b"1;" + 600 * b"a" + b"\r\n."), *50 * [(1.0, b"\r\n1;" + 600 * b"a" + b"\r\n.")]], None)
    with pytest.raises(LateBody):
        body.read()
    assert peer.now == pytest.approx(30, abs=0.2)


def test_an_application_that_takes_its_time_is_not_charged(receive: Any) -> None:
    peer, body = receive(10 * [(1.0, b"a")], 10)
    for _ in range(10):
        peer.now += 1000
        assert body.read(1) == b"a"
    assert body.whole


def test_what_nobody_reads_has_the_timeout_and_no_more(receive: Any) -> None:
    """However fast it comes."""
    peer, body = receive(1000 * [(0.5, bytes(4096))], 1 << 30)
    body._discard()
    assert peer.now == 30 and not body.whole


def test_whoever_reads_from_a_fast_peer_leaves_turns_to_others(receive: Any) -> None:
    _peer, body = receive([(0, bytes(10 << 20))], 10 << 20)
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0)

    counting = gevent.spawn(count)
    body.read()
    counting.kill()
    assert turns >= (10 << 20) // http_body.LARGE


def test_options_are_checked(run: Any) -> None:
    for options in ({"body_timeout": 0}, {"min_body_rate": -1}):
        with pytest.raises(ValueError, match="above 0"):
            run(reads, **options)
