"""response.py: the answers of servers, literal bytes."""

from __future__ import annotations

import re

import pytest

from geventws.http import response as http_response
from geventws.http.headers import find_end
from geventws.http.response import MAX_BODY, MAX_CHUNKED, Body, Response

# ---- answers: RFC 9112

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX-A:\t b\xe9 \r\nEmpty:\r\n\r\n"


def test_parse_head() -> None:
    expected = Response("HTTP/1.1", 101, [("Upgrade", "websocket"), ("X-A", "b\xe9"), ("Empty", "")])
    assert http_response.parse(HEAD) == expected
    assert http_response.parse(b"HTTP/1.0 200\r\n\r\n") == Response("HTTP/1.0", 200, [])
    assert http_response.parse(b"HTTP/1.1 403 \r\n\r\n").status == 403
    assert [http_response.parse(b"HTTP/1.1 %d x\r\n\r\n" % status).status for status in (600, 999)] == [600, 999]


@pytest.mark.parametrize("following", [b"", b"\x81\x02hi", b"\r\n\r\n"])
def test_find_end_at_every_cut(following: bytes) -> None:
    data = HEAD + following
    for cut in range(len(data) + 1):
        found = find_end(data[:cut])
        assert found == (len(HEAD) if cut >= len(HEAD) else -1)
        assert find_end(data, min(cut, len(HEAD) - 1)) == len(HEAD)


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/2 101 x\r\n\r\n",
        b"HTTP/1.2 101 x\r\n\r\n",
        b"http/1.1 101 x\r\n\r\n",
        b"HTTP/1.1 1010 x\r\n\r\n",
        b"HTTP/1.1  101 x\r\n\r\n",
        b"HTTP/1.1 099 x\r\n\r\n",
        b"HTTP/1.1 101 x\x00\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 101 x\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade websocket\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade : websocket\r\n\r\n",
        b"HTTP/1.1 101 x\r\n: websocket\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: a\nB: c\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: a\rB: c\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: a\x00b\r\n\r\n",
    ],
)
def test_parse_head_refuses(head: bytes) -> None:
    with pytest.raises(ValueError):
        http_response.parse(head)


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\r\nX: a\tb\xe9\r\n\r\n"])
def test_a_beginning_is_let_pass_at_every_cut(end: bytes) -> None:
    data = b"HTTP/1.0 200 OK" + end
    for cut in range(len(data)):
        for start in range(cut + 1):
            http_response.check(data[:cut], start)


@pytest.mark.parametrize(
    ("beginning", "why"),
    [
        (b"\x15", "it is TLS, for which the URI must begin with wss://"),
        (b"\x16\x03\x03\x00", "it is TLS"),
        (b"h", "'h' is not the status line"),
        (b"\n", "'' is not the status line"),
        (b"HTTP/2", "'HTTP/2' is not the status line"),
        (b"SSH-2.0-OpenSSH_9.6\r\nmore", "'SSH-2.0-OpenSSH_9.6' is not the status line"),
        (b"HTTP/1.1 200 OK\n", "a line ends in something else than CR LF"),
        (b"HTTP/1.1 200 OK\r\nA: b\n\n", "a line ends"),
        (b"HTTP/1.1 200 OK\rA", "a line ends"),
        (b"HTTP/1.1 200 OK\r\r", "a line ends"),
        (b"HTTP/1.1 200 O\x00", "a control character"),
        (b"HTTP/1.1 200 O\x7f", "a control character"),
    ],
)
def test_what_can_be_no_head_is_refused_with_the_byte_that_says_so(beginning: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        http_response.check(beginning)
    with pytest.raises(ValueError, match=why):
        http_response.check(beginning, len(beginning) - 1)


def test_interim() -> None:
    assert [Response("HTTP/1.1", status, []).interim for status in (100, 101, 103, 200)] == [True, False, True, False]


def read(headers: list[tuple[str, str]], *parts: bytes, status: int = 403) -> tuple[bytes, bool]:
    """Return what a body comes to that arrives in parts, and whether no more of it is expected."""
    body = Body(Response("HTTP/1.1", status, headers))
    for part in parts:
        body.feed(part)
    return bytes(body.data), body.ended


CHUNKED = [("Content-Length", "1"), ("Transfer-Encoding", "Chunked")]


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ([("Content-Length", "0")], 0),
        ([("content-length", "12")], 12),
        ([("Content-Length", "9" * 5000)], MAX_BODY),
        ([], MAX_BODY),
        ([("Content-Length", "-1")], MAX_BODY),
        ([("Content-Length", "\xb2")], MAX_BODY),
        ([("Content-Length", "1"), ("Content-Length", "2")], MAX_BODY),
        ([("Content-Length", "1"), ("Transfer-Encoding", "gzip, chunked")], MAX_BODY),
    ],
)
def test_a_body_ends_at_its_size_or_the_limit(headers: list[tuple[str, str]], size: int) -> None:
    assert read(headers) == (b"", size == 0)
    if size:
        assert read(headers, bytes(size - 1)) == (bytes(size - 1), False)
    assert read(headers, bytes(size), b"more") == (bytes(size), True)
    assert read(headers, bytes(size + 5)) == (bytes(size), True)


@pytest.mark.parametrize("status", [101, 204, 304])
def test_statuses_without_a_body(status: int) -> None:
    for headers in ([], [("Content-Length", "5")], CHUNKED):
        assert read(headers, b"1\r\nx\r\n", status=status) == (b"", True)


def test_chunks_at_every_cut() -> None:
    data = b"5\r\nhello\r\n6 ; a=b\r\n world\r\n0\r\n\r\n"
    for cut in range(len(data)):
        joined, ended = read(CHUNKED, data[:cut])
        assert b"hello world".startswith(joined)
        assert ended == (cut > data.index(b"\r\n0\r\n") + 4)
        assert read(CHUNKED, data[:cut], data[cut:]) == (b"hello world", True)
    assert read(CHUNKED, *(data[at : at + 1] for at in range(len(data)))) == (b"hello world", True)


@pytest.mark.parametrize("wrong", [b"xyz\r\n", b"1\n", b"\r\n\n", b"\n", b"-1\r\n", b"1 x\r\n", b"123456789\r\n"])
def test_a_chunk_that_is_none_is_the_end(wrong: bytes) -> None:
    assert read(CHUNKED, wrong, b"1\r\nx\r\n") == (b"", True)
    assert read(CHUNKED, b"1\r\na\r\n" + wrong) == (b"a", True)
    assert read(CHUNKED, *(wrong[at : at + 1] for at in range(len(wrong)))) == (b"", True)


def test_a_line_that_is_dribbled_is_looked_at_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []

    class Looking:
        def match(self, data: bytes, at: int) -> re.Match[bytes] | None:
            looked_at.append(len(data))
            return really.match(data, at)

    really = http_response._CHUNK_SIZE
    monkeypatch.setattr(http_response, "_CHUNK_SIZE", Looking())
    line = b"1;" + b"a" * 60_000 + b"\r\n"
    assert read(CHUNKED, *(line[at : at + 1] for at in range(len(line))), b"x") == (b"x", False)
    assert looked_at == [len(line)]


def test_the_limit_is_for_what_is_in_the_chunks() -> None:
    assert read(CHUNKED, b"1\r\nx\r\n" * MAX_BODY) == (b"x" * MAX_BODY, True)
    assert read(CHUNKED, b"1\r\nx\r\n" * (MAX_BODY - 1)) == (b"x" * (MAX_BODY - 1), False)
    assert read(CHUNKED, b"ffffffff\r\n", bytes(MAX_BODY - 1), b"xy") == (bytes(MAX_BODY - 1) + b"x", True)


def test_there_is_a_limit_for_what_is_around_the_chunks() -> None:
    part = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
    count = MAX_CHUNKED // len(part)
    assert read(CHUNKED, *[part] * count) == (b"x" * count, False)
    assert read(CHUNKED, *[part] * count, part) == (b"x" * (count + 1), True)
    assert read(CHUNKED, bytes(MAX_CHUNKED)) == (b"", True)
