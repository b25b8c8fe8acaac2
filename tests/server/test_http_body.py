"""The bodies of requests on WebSocketServer: where they end, how long they may take, and what follows them."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import flask
import gevent
import pytest
from gevent.event import Event
from kit.sites.http import DEADLINE, deadline, read_all, read_response, run  # noqa: F401
from kit.sites.http_bodies import (  # noqa: F401
    CHUNKED,
    FRAMED,
    LATE,
    SECOND,
    answer,
    ignores,
    reads,
    reads_a_part,
    receive,
    swallows,
)

from geventws.server.http_body import BodyError, LateBody

# Expect: 100-continue (RFC 9110 10.1.1)

EXPECTS = FRAMED[:-2] + b"Expect: 100-Continue\r\n\r\n"


def test_a_body_that_is_asked_for_is_read(run: Any) -> None:
    client = run(reads).connect()
    client.sendall(EXPECTS)
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"0123456789")
    assert read_response(client).endswith(b"<0123456789>")
    client.sendall(SECOND)
    assert b"200 OK" in read_all(client)


@pytest.mark.parametrize("application", [ignores, reads_a_part])
@pytest.mark.parametrize("head", [EXPECTS, CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\n"])
def test_a_body_that_is_not_asked_for_ends_the_connection(run: Any, application: Any, head: bytes) -> None:
    """Answered at once, and what comes then is no request, sent or not."""
    running = run(application)
    for behind in (b"", b"0123456789", SECOND):
        client = running.connect()
        client.sendall(head)
        head_of_answer = client.recv(1000)
        assert head_of_answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\nConnection: close\r\n" in head_of_answer
        client.sendall(behind)
        assert b"HTTP/1.1" not in read_all(client)
    assert len(running.access) == 3


@pytest.mark.parametrize(
    "request_", [EXPECTS + b"0123456789", EXPECTS.replace(b"/1.1", b"/1.0") + b"0123456789"], ids=["there", "1.0"]
)
def test_a_body_that_is_there_is_not_asked_for(run: Any, request_: bytes) -> None:
    assert run(reads).ask(request_ + SECOND).startswith(b"HTTP/1.1 200 OK\r\n")


def test_nothing_is_asked_for_in_the_middle_of_an_answer(run: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first"
        yield environ["wsgi.input"].read()

    client = run(application).connect()
    client.sendall(EXPECTS)
    received = b""
    while not received.endswith(b"first\r\n"):
        received += client.recv(100)
    client.sendall(b"0123456789" + SECOND)
    assert read_all(client) == b"a\r\n0123456789\r\n0\r\n\r\n"


# Where a body ends

BREACHES = {
    "no size": b"\r\n",
    "not hexadecimal": b"g\r\n",
    "a sign": b"+1\r\na\r\n0\r\n\r\n",
    "below 0": b"-1\r\na\r\n0\r\n\r\n",
    "0x": b"0x1\r\na\r\n0\r\n\r\n",
    "an underscore": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "a space before": b" 1\r\na\r\n0\r\n\r\n",
    "17 digits": b"10000000000000001\r\na\r\n0\r\n\r\n",
    "bare lf": b"1\na\r\n0\r\n\r\n",
    "bare lf in an extension": b"1;a\nb\r\na\r\n0\r\n\r\n",
    "bare cr in an extension": b"1;a\rb\r\na\r\n0\r\n\r\n",
    "longer than it says": b"1\r\nab\r\n0\r\n\r\n",
    "no end of a chunk": b"1\r\na0\r\n\r\n",
    "an endless size": 9000 * b"0",
    "an endless extension": b"1;" + 9000 * b"a",
    "no trailer": b"0\r\nabc\r\n\r\n",
    "a space before the colon": b"0\r\nA : b\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "too many trailers": b"0\r\n" + 200 * b"A: b\r\n" + b"\r\n",
    "an endless trailer": b"0\r\nA: " + 9000 * b"a",
}


@pytest.mark.parametrize("application", [reads, swallows])
@pytest.mark.parametrize("body", BREACHES.values(), ids=BREACHES)
def test_chunks_that_are_none_are_answered_with_400(
    run: Any, capfd: pytest.CaptureFixture[str], application: Any, body: bytes
) -> None:
    """RFC 9112 7.1: and what comes then is no request."""
    running = run(application)
    received = running.ask(CHUNKED + body + SECOND)
    assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n") and received.count(b"HTTP/1.1") == 1
    assert len(running.access) == 1 and "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("body", BREACHES.values(), ids=BREACHES)
def test_chunks_that_are_none_end_the_connection_when_nobody_reads_them(run: Any, body: bytes) -> None:
    running = run(ignores)
    received = running.ask(CHUNKED + body + SECOND)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n") and received.count(b"HTTP/1.1") == 1
    assert len(running.access) == 1


@pytest.mark.parametrize("length", [b"1" * 18, b"9" * 30])
def test_an_enormous_length_takes_no_memory(run: Any, length: bytes) -> None:
    running = run(reads, body_timeout=0.1)
    client = running.connect()
    client.sendall(b"POST / HTTP/1.1\r\nContent-Length: " + length + b"\r\n\r\nabc")
    assert read_all(client).startswith(LATE)
    client = running.connect()
    client.sendall(CHUNKED + b"ffffffffffffffff\r\nabc")
    assert read_all(client).startswith(LATE)


TEXT = b"one\ntwo two\n\nthree, without an end"
CHUNKS = b"2;a=b\r\non\r\n3 \t;c\r\ne\nt\r\n0007\r\nwo two\n\r\n16\r\n\nthree, without an end\r\n"
CHUNKS += b"000;d\r\nX: y\r\nZ:\r\n\r\n"
CALLS = {
    "read": lambda body: [body.read()],
    "read, sizes": lambda body: list(iter(lambda: body.read(5), b"")),
    "read, none": lambda body: [body.read(None), body.read(), body.readline()],
    "lines": list,
    "readlines": lambda body: body.readlines(),
    "readlines, hint": lambda body: [*body.readlines(4), *body.readlines(1), *body.readlines(0)],
    "readline, sizes": lambda body: [body.readline(2), body.readline(20), body.readline(-1), body.read()],
    "nothing, then all": lambda body: [body.read(0), body.readline(0), body.read(100), body.read(1)],
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("data", "length"), [(TEXT, len(TEXT)), (CHUNKS, None)], ids=["length", "chunks"])
def test_it_is_a_file_wherever_it_is_cut(receive: Any, call: Any, data: bytes, length: int | None) -> None:
    for cut in range(len(data) + 1):
        peer, body = receive([(0, data[:cut] or data), (0, data[cut:] + b"GET")], length)
        if cut == 0:
            peer, body = receive([*((0, bytes([byte])) for byte in data), (0, b"GET")], length)
        assert call(body) == call(io.BytesIO(TEXT))
        assert body.whole
        rest = peer._held + b"".join(data for _, data in peer.script)
        assert rest == b"GET"


@pytest.mark.parametrize("cut", range(1, len(CHUNKS), 7))
def test_an_interrupted_read_loses_the_body_and_not_the_next_request(run: Any, cut: int) -> None:
    """An application's own gevent.Timeout, in the middle of anything."""
    interrupted, go_on = Event(), Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with gevent.Timeout(0.01, False):
            environ["wsgi.input"].read()
        interrupted.set()
        go_on.wait(DEADLINE)
        return answer(start_response, environ["PATH_INFO"].encode())

    client = run(application).connect()
    client.sendall(CHUNKED + CHUNKS[:cut])
    assert interrupted.wait(DEADLINE)
    go_on.set()
    client.sendall(CHUNKS[cut:] + SECOND)
    received = read_all(client)
    assert [part.rpartition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 ")] == [b"", b"/", b"/second"]


def test_a_reader_left_behind_gets_nothing_of_the_next_request(run: Any) -> None:
    """Nor does it take from it: the connection ends."""
    found: list[Any] = []

    def read(body: Any) -> None:
        try:
            found.append(body.read())
        except OSError as error:
            found.append(type(error))

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/":
            readers.append(gevent.spawn(read, environ["wsgi.input"]))
            gevent.sleep(0)
            with pytest.raises(OSError, match="another greenlet"):
                environ["wsgi.input"].read(1)
        return answer(start_response)

    readers: list[Any] = []
    client = run(application, body_timeout=0.1).connect()
    client.sendall(FRAMED)
    assert read_response(client).startswith(b"HTTP/1.1 200 OK\r\n")
    client.sendall(SECOND)
    assert read_all(client) in (b"", b"<reset>")
    gevent.joinall(readers)
    assert SECOND not in found and len(found) == 1


def test_a_body_cut_off_is_no_body(run: Any) -> None:
    running = run(swallows)
    for request in (FRAMED + b"012", CHUNKED + b"5\r\nab", CHUNKED + b"1\r\na\r\n0\r\n"):
        assert running.ask(request).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_errors_are_told_apart() -> None:
    assert issubclass(LateBody, TimeoutError) and issubclass(BodyError, OSError)


# Upgrade offers

OFFERS = [
    "Upgrade: h2c\r\nConnection: Upgrade",
    "Upgrade: websocket\r\nConnection: keep-alive",
    "Upgrade: a, b\r\nConnection: Upgrade, c",
]


@pytest.mark.parametrize("offer", OFFERS)
def test_a_request_that_offers_an_upgrade_has_its_body_and_no_more(run: Any, offer: str) -> None:
    """Through Flask, which trusts the server where it says anything of the input's end."""
    app = flask.Flask("bodies")
    bodies = []

    @app.route("/", methods=["GET", "POST"], websocket=None)  # type: ignore[call-arg]
    def view() -> str:
        bodies.append(flask.request.get_data())
        return "done"

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        assert environ["wsgi.input_terminated"] is True
        return app(environ, start_response)

    client = run(application).connect()
    for length, body in ((4, b"body"), (0, b"")):
        head = f"POST / HTTP/1.1\r\nHost: a\r\n{offer}\r\nContent-Length: {length}\r\n\r\n"
        client.sendall(head.encode() + body)
        read_response(client)
    client.sendall(f"GET / HTTP/1.1\r\nHost: a\r\n{offer}\r\n\r\n".encode() + SECOND)
    read_response(client)
    assert b"404" in read_all(client)


LENGTHS = [
    ("4", b"page", b"page", True),
    ("4", b"pages", b"page", True),
    ("4", b"pag", b"pag", False),
    ("4", b"", b"", False),
]


@pytest.mark.parametrize(("length", "written", "sent", "goes_on"), LENGTHS)
@pytest.mark.parametrize("parts", [1, 2])
def test_an_answer_has_the_length_that_it_says(
    run: Any, parts: int, length: str, written: bytes, sent: bytes, goes_on: bool
) -> None:
    """What is too much would be taken for the next answer, and the next answer for what is missing."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Length", length)])
        if parts == 2:
            write(written[:2])
        return [written[2 * (parts - 1) :]]

    running = run(application)
    client = running.connect()
    client.sendall(b"GET /first HTTP/1.1\r\n\r\n" + SECOND)
    answers = read_all(client).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [sent] * (1 + goes_on)
    assert len(running.errors) == (len(written) > len(sent)) * 2


def test_head_has_no_body_in_its_answer(run: Any) -> None:
    """RFC 9110 9.3.2: what followed the head would be taken for the next answer."""

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "4")] if environ["PATH_INFO"] == "/a" else [])
        return iter([b"page"])

    for path in (b"/a", b"/b"):
        client = run(application).connect()
        client.sendall(b"HEAD " + path + b" HTTP/1.1\r\n\r\n" + SECOND.replace(b"GET", b"HEAD"))
        received = read_all(client)
        assert received.count(b"HTTP/1.1 200 OK\r\n") == 2 and b"page" not in received
        assert received.endswith(b"\r\n\r\n") and b"0\r\n\r\n" not in received.replace(b"-0\r\n\r\n", b"")
