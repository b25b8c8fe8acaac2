"""RESP2: hiredis's reader and its twin read the same, whole and byte by byte."""

from __future__ import annotations

from typing import Any

import pytest

from geventws.pubsub.bus.wire import resp
from geventws.pubsub.bus.wire.resp import NOTHING, BadReply, Reader, Refusal, make_reader, pack

BYTES = (
    b"+OK\r\n:42\r\n:-1\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n"
    b"*3\r\n$7\r\nmessage\r\n*2\r\n:1\r\n$-1\r\n+x\r\n"
)
REPLIES = [b"OK", 42, -1, b"a\r\nbc", b"", None, None, [], [b"message", [1, None], b"x"]]

readers = pytest.mark.parametrize("make", [Reader, make_reader], ids=["twin", "hiredis"])


def read(reader: Any, *parts: bytes) -> list[Any]:
    replies = []
    for part in parts:
        reader.feed(part)
        while (reply := reader.gets()) is not NOTHING:
            replies.append(reply)
    return replies


@readers
def test_replies_are_read(make: Any) -> None:
    assert read(make(), BYTES) == REPLIES
    assert read(make(), *[BYTES[at : at + 1] for at in range(len(BYTES))]) == REPLIES


@readers
def test_an_error_is_a_refusal(make: Any) -> None:
    (refusal,) = read(make(), b"-NOSCRIPT No matching script\r\n")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, str(refusal)) == ("NOSCRIPT", "NOSCRIPT No matching script")
    ((inner,),) = read(make(), b"*1\r\n-ERR no\r\n")
    assert isinstance(inner, Refusal)


@readers
@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b":1x\r\n", b"$a\r\n"])
def test_what_is_none_is_told(make: Any, data: bytes) -> None:
    with pytest.raises(BadReply):
        read(make(), data)


@pytest.mark.parametrize("data", [
    b"$600000000\r\n", b"$1\r\nab\r\n", b"x" * 70_000, b"*1\r\n" * 9 + b":1\r\n",
])  # fmt: skip
def test_the_twin_has_bounds(data: bytes) -> None:
    with pytest.raises(BadReply):
        read(Reader(), data)


def test_there_is_a_reader_without_hiredis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resp, "hiredis", None)
    assert isinstance(make_reader(), Reader)


def test_commands_are_packed() -> None:
    assert pack(b"PUBLISH", b"a b", b"\r\n") == b"*3\r\n$7\r\nPUBLISH\r\n$3\r\na b\r\n$2\r\n\r\n\r\n"
