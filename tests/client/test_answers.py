"""opening.py, dial.py: what servers answer, and what comes of it, over real sockets."""

from __future__ import annotations

import re
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit.frames import CLOSE, PING, TEXT, close_payload, frame
from kit.servers.scripted import Peer, answering

from geventws import HandshakeError, InvalidStatus, connect
from geventws.client import dial


def test_messages_right_behind_the_101(scripted: Any) -> None:
    messages = frame(TEXT, "one", key=None) + frame(PING, "p", key=None) + frame(TEXT, "two", key=None)
    server = scripted(lambda peer: [peer.accept(messages), peer.rest()])
    with connect(server.uri, close_timeout=0) as ws:
        assert [ws.wait(), ws.wait()] == ["one", "two"]


def test_a_close_right_behind_the_101(scripted: Any) -> None:
    goodbye = frame(TEXT, "one", key=None) + frame(CLOSE, close_payload(4000, "full"), key=None)
    server = scripted(lambda peer: [peer.accept(goodbye), peer.rest()])
    ws = connect(server.uri)
    assert [ws.wait(), ws.wait()] == ["one", None]
    assert (ws.close_code, ws.close_reason) == (4000, "full")


def test_an_answer_byte_by_byte_after_interim_ones(scripted: Any) -> None:
    def script(peer: Peer) -> None:
        head = b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 100 \r\n\r\n" + peer.answer()
        data = head + frame(TEXT, "hi", key=None)
        answering(*(data[at : at + 1] for at in range(len(data))))(peer)
        peer.rest()

    with connect(scripted(script).uri, close_timeout=0) as ws:
        assert ws.wait() == "hi"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"Content-Length: 5\r\n\r\nhello more", b"hello"),
        (b"Content-Length: 50\r\n\r\nhello", b"hello"),
        (b"Content-Length: 0\r\n\r\n", b""),
        (b"\r\nup to the end", b"up to the end"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x\r\n world\r\n0\r\n\r\n", b"hello world"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", b"hel"),
        (b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 12_000 + b"0\r\n\r\n", b"x" * 12_000),
        (b"Transfer-Encoding: chunked\r\n\r\n186a0\r\n" + bytes(100_000), bytes(65536)),
        (b"\r\n" + bytes(100_000), bytes(65536)),
        (b"Content-Length: 100000\r\n\r\n" + bytes(100_000), bytes(65536)),
    ],
)
def test_a_refusal_carries_what_the_server_says(scripted: Any, answer: bytes, body: bytes) -> None:
    server = scripted(answering(b"HTTP/1.1 403 Forbidden\r\nX-Why: not you\r\n", answer))
    with pytest.raises(InvalidStatus, match="status 403") as caught:
        connect(server.uri)
    assert caught.value.status == 403
    assert caught.value.headers[0] == ("X-Why", "not you")
    assert caught.value.body == body


def test_a_body_of_nothing_but_overhead_ends(scripted: Any) -> None:
    sent: list[int] = []

    def script(peer: Peer) -> None:
        peer.socket.sendall(b"HTTP/1.1 403 x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            peer.socket.sendall(b"1;" + bytes([97]) * 65_000 + b"\r\nx\r\n")
            sent.append(65_000)

    server = scripted(script)
    with pytest.raises(InvalidStatus) as caught:
        connect(server.uri)
    assert set(caught.value.body) == set(b"x") and len(caught.value.body) < 20
    gevent.sleep(0)
    assert sum(sent) < 20_000_000  # the kernel's buffers, and no more than them and a part of a megabyte


def test_a_body_that_does_not_come_delays_the_error_for_a_moment(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "BODY_TIMEOUT", 0.05)
    done = Event()
    server = scripted(lambda peer: [answering(b"HTTP/1.1 500 x\r\n\r\nhalf")(peer), done.wait()])
    with pytest.raises(InvalidStatus) as caught:
        connect(server.uri)
    assert caught.value.body == b"half"
    done.set()


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("framing", ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
def test_an_answer_that_can_have_no_body_is_told_at_once(scripted: Any, status: int, framing: str) -> None:
    done = Event()
    head = f"HTTP/1.1 {status} x\r\n{framing}\r\n".encode()
    server = scripted(lambda peer: [answering(head)(peer), done.wait()])
    with gevent.Timeout(dial.BODY_TIMEOUT / 2), pytest.raises(InvalidStatus) as caught:
        connect(server.uri)
    assert (caught.value.status, caught.value.body) == (status, b"")
    done.set()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ((b"HTTP/1.1 101", b"HTTP/1.0 101"), "answers in HTTP/1.0"),
        ((b"HTTP/1.1 101", b"HTTP/3 101"), "is not HTTP"),
        ((b"Upgrade: WebSocket", b"Upgrade: h2c"), "the Upgrade 'h2c'"),
        ((b"Upgrade: WebSocket\r\n", b""), "no Upgrade"),
        ((b"Connection: keep-alive, Upgrade", b"Connection: close"), "Connection"),
        ((b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x"), "Sec-WebSocket-Accept"),
        ((b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: other\r\n\r\n"), "Sec-WebSocket-Protocol"),
        ((b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: other\r\n\r\n"), "Sec-WebSocket-Extensions"),
        ((b"\r\n\r\n", b"\r\n folded\r\n\r\n"), "is not HTTP"),
        ((b"\r\n\r\n", b"\r\nX: " + bytes([65]) * 70_000), "longer than 65536 bytes"),
    ],
)
def test_an_answer_that_makes_no_websocket(scripted: Any, change: tuple[bytes, bytes], why: str) -> None:
    answer = "X-Why: busy\r\n"
    server = scripted(lambda peer: peer.socket.sendall(peer.answer(answer).replace(*change)))
    with pytest.raises(HandshakeError, match=re.escape(why)) as caught:
        connect(server.uri, subprotocols=["chat"])
    if "is not HTTP" in why or "longer than" in why:  # there is no answer to carry
        assert (caught.value.status, caught.value.headers, caught.value.body) == (0, [], b"")
    else:
        assert (caught.value.status, caught.value.body) == (101, b"")
        assert ("X-Why", "busy") in caught.value.headers


def test_parameters_of_an_extension_that_were_not_offered(scripted: Any) -> None:
    extension = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n"
    with pytest.raises(HandshakeError) as caught:
        connect(scripted(lambda peer: peer.accept(more=extension)).uri)
    assert (caught.value.status, caught.value.option) == (101, "compression")
    assert [name for name, _ in caught.value.headers][-1] == "Sec-WebSocket-Extensions"


@pytest.mark.parametrize("status", [200, 418, 599, 600, 777, 999])
def test_any_status_is_an_answer(scripted: Any, status: int) -> None:
    server = scripted(answering(b"HTTP/1.1 %d x\r\nX-Why: odd\r\nContent-Length: 2\r\n\r\nno" % status))
    with pytest.raises(InvalidStatus) as caught:
        connect(server.uri)
    assert (caught.value.status, caught.value.headers[0], caught.value.body) == (status, ("X-Why", "odd"), b"no")


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 101 Switching Protocols\n",
        b"HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\n\n\x81\x02hi",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: web\rsocket",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: web\x00socket",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/2",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x81\x02hi",
    ],
)
@pytest.mark.parametrize("dribbled", [False, True])
def test_what_is_no_answer_is_refused_at_once(scripted: Any, said: bytes, dribbled: bool) -> None:
    """The server neither says more nor hangs up, and there is no deadline."""
    parts = [said[at : at + 1] for at in range(len(said))] if dribbled else [said]
    server = scripted(lambda peer: [answering(*parts)(peer), peer.rest()])
    for options in ({}, {"proxy": server.address}):
        with pytest.raises(HandshakeError, match="is not HTTP") as caught:
            connect(server.uri, open_timeout=None, **options)
        assert (caught.value.status, caught.value.headers, caught.value.body) == (0, [], b"")


def test_a_head_that_never_ends(scripted: Any) -> None:
    """Whether it is one answer or many, no more is read of it than 64 KiB, and once each byte."""
    for part in (b"X: y\r\n", b"\r\nHTTP/1.1 100 x\r\n", b"\r\nHTTP/1.1 103 x\r\nLink: <a>\r\n"):
        head = b"HTTP/1.1 100 x\r\n" + part * (70_000 // len(part))
        server = scripted(lambda peer, head=head: [answering(head)(peer), peer.rest()])
        with pytest.raises(HandshakeError, match="longer than 65536 bytes"):
            connect(server.uri, open_timeout=None)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 101 Swi"])
def test_a_server_that_hangs_up(scripted: Any, sent: bytes) -> None:
    with pytest.raises(ConnectionResetError, match="hung up"):
        connect(scripted(answering(sent)).uri)


def test_nobody_listens() -> None:
    with pytest.raises(ConnectionRefusedError):
        connect("ws://127.0.0.1:1/")
