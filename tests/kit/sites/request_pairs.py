"""Requests in a row on one connection, made to be cut at the wrong places: the first one's body is as long as the
second one's head, and looks like a request; the second one's body is one. For test_pywsgi_bodies.py.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import gevent
from gevent import socket

METHODS = ["GET", "POST", "PUT"]
FRAMINGS = ["length", "chunked", "none"]
OFFERS = {
    "none": [],
    "websocket": ["Upgrade: websocket", "Connection: Upgrade"],
    "websocket, kept": ["Upgrade: websocket", "Connection: keep-alive"],
    "h2c": ["Upgrade: h2c", "Connection: Upgrade"],
    "h2c, kept": ["Upgrade: h2c", "Connection: keep-alive, Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk"],
    "garbage": ["Upgrade: \"'/,;", "Connection: upgrade"],
    "list": ["Upgrade: h2c, WebSocket", "Connection: UPGRADE"],
    "no upgrade": ["Connection: upgrade"],
}
READS = ["all", "exact", "part", "none"]
BODIES = ["a request", "text"]
EXTRAS = ["nothing", "nothing", "expects 100", "HTTP/1.0", "HTTP/1.0, kept"]
SPLITS = ["at once", "after the head", "in the body", "after the body", "in the second head", "bytes"]
DEADLINE = 10.0


class Case(NamedTuple):
    """What the first request is like, and how all of them are sent."""

    number: int
    method: str
    framing: str
    offer: str
    reads: str
    body: str
    extra: str
    split: str


class Message(NamedTuple):
    """A request, and what an application has to see of it."""

    head: bytes
    body: bytes
    seen: list[str]


def make_cases(count: int, seed: int, **fixed: list[str]) -> Iterator[Case]:
    """Yield a sample of all combinations, the same for the same seed."""
    axes = {"method": METHODS, "framing": FRAMINGS, "offer": list(OFFERS), "reads": READS, "body": BODIES}
    axes |= {"extra": EXTRAS, "split": SPLITS} | fixed
    combinations = list(itertools.product(*axes.values()))
    for number, values in enumerate(random.Random(seed).sample(combinations, min(count, len(combinations)))):
        yield Case(number, *values)


def make_message(method: str, path: str, framing: str, more: list[str], content: bytes, reads: str = "all") -> Message:
    """Return a request; one without framing has no content."""
    content = content if framing != "none" else b""
    body, fields = content, ["Host: a", f"X-Read: {reads}", *more]
    if framing == "length":
        fields.append(f"Content-Length: {len(content)}")
    elif framing == "chunked":
        fields.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (content[:5], content[5:])) + b"0\r\n\r\n"
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *fields, "", ""]).encode()
    read = {"part": content[:3], "none": b""}.get(reads, content)
    return Message(head, body, [method, path, read.decode("latin-1")])


def make_messages(case: Case) -> list[Message]:
    """Return the first, the second, and one that ends the connection."""
    hidden = f"GET /hidden/{case.number} HTTP/1.1\r\nHost: a\r\nX-Pad: ".encode()
    second = make_message("POST", f"/second/{case.number}", "length", [], hidden.replace(b"\r\nX-Pad: ", b"\r\n\r\n"))
    size = len(second.head)
    content = b"x" * size if case.body == "text" else hidden.ljust(size - 4, b"x") + b"\r\n\r\n"
    path, offer = f"/first/{case.number}", OFFERS[case.offer]
    if case.extra == "expects 100":
        offer = [*offer, "Expect: 100-continue"]
    elif case.extra == "HTTP/1.0, kept" and case.offer == "none":
        offer = ["Connection: keep-alive"]
    first = make_message(case.method, path, case.framing, offer, content, case.reads)
    if "1.0" in case.extra:
        first = first._replace(head=first.head.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"))
    last = make_message("GET", f"/last/{case.number}", "none", ["Connection: close"], b"")
    return [first, second, last]


def cut(case: Case, messages: list[Message]) -> list[bytes]:
    """Return what is sent, in the pieces in which it is."""
    data = b"".join(message.head + message.body for message in messages)
    head, body = len(messages[0].head), len(messages[0].body)
    if case.split == "bytes":
        return [data[i : i + 1] for i in range(len(data))]
    places = {"at once": 0, "after the head": head, "in the body": head + body // 2, "after the body": head + body}
    place = places.get(case.split, head + body + len(messages[1].head) // 2)
    return [data[:place], data[place:]]


def converse(port: int, pieces: list[bytes], whole: bool = True) -> bytes:
    """Send the pieces, and return what comes: all until the end, or one answer."""
    client = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    try:
        for piece in pieces:
            client.sendall(piece)
            gevent.sleep(0)
        while (whole or not _is_answer(received)) and (data := client.recv(65536)):
            received += data
    except (ConnectionResetError, BrokenPipeError):
        pass  # it ended before it had all
    finally:
        client.close()
    return received


def _is_answer(received: bytes) -> bool:
    """Whether an answer is whole."""
    head, end, content = received.partition(b"\r\n\r\n")
    return bool(end) and len(content) >= _read_length(head)


def _read_length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)


def read_answers(received: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the status and the content of each answer."""
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        length = _read_length(head)
        content, received = received[:length], received[length:]
        assert len(content) == length, "an answer that is cut off"
        status = int(head.split(b" ")[1])
        if status == 100:
            continue
        yield status, json.loads(content) if status == 200 else content


def check(port: int, case: Case) -> int:
    """Send a case to a server; return how many of its requests were answered by the application."""
    return check_answers(case, converse(port, cut(case, make_messages(case))))


def check_answers(case: Case, received: bytes) -> int:
    """Compare what was answered with what was sent; return how many requests the application answered."""
    messages = make_messages(case)
    answers = list(read_answers(received))
    for (status, content), message in zip(answers, messages, strict=False):
        if status != 200:
            assert answers[-1] == (status, content), f"{case}: the connection went on after a refusal: {answers}"
        else:
            assert content == message.seen, f"{case}: {content} is not {message.seen}"
    return sum(status == 200 for status, _ in answers)


def fetch_seen(port: int) -> list[list[str]]:
    """Return what the application has seen since the last time."""
    received = converse(port, [b"GET /seen HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"])
    ((_, seen),) = read_answers(received)
    return seen  # type: ignore[no-any-return]
