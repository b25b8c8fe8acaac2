"""closing.py on the wire: which close frames are taken, and what is sent for them (RFC 6455 5.5.1, 7.1, 7.4)."""

from __future__ import annotations

from typing import Any

import pytest
from kit.frames import BINARY, CLOSE, CONTINUATION, MASK_KEY, PING, PONG, TEXT, WAYS, feed, frame, lengths, sent

from geventws.protocol.connection import WebSocketProtocol

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def close(code: int, reason: bytes = b"") -> bytes:
    """Return the payload of a close frame."""
    return code.to_bytes(2, "big") + reason


# The peer closes (RFC 6455 5.5.1, 7.1.5): what the table of codes makes of each payload

GOOD_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
GOOD_CLOSES = {
    "empty": b"",
    **{str(code): close(code) for code in GOOD_CODES},
    "a reason": close(1000, b"so long"),
    "a reason in Greek": close(3000, "αντίο".encode()),
    "125 bytes": close(4999, b"x" * 123),
}
BAD_CLOSES = {
    "one byte": (b"\x03", 1002),
    **{str(code): (close(code), 1002) for code in BAD_CODES},
    **{f"{code} with a reason": (close(code, b"why"), 1002) for code in (999, 1005, 1006, 5000)},
    "a reason of one bad byte": (close(1000, b"\xff"), 1007),
    "a reason that ends in a character": (close(1000, b"ok\xe2\x82"), 1007),
    "a surrogate": (close(1001, b"\xed\xa0\x80"), 1007),
    "125 bytes, the last one bad": (close(1000, b"x" * 122 + b"\xc0"), 1007),
}


@every_way
@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("payload", GOOD_CLOSES.values(), ids=GOOD_CLOSES)
def test_a_close_is_answered_with_the_same(payload: bytes, client: bool, way: Any) -> None:
    protocol = WebSocketProtocol(client=client)
    key = None if client else MASK_KEY
    last, late = frame(TEXT, b"last", key=key), frame(TEXT, b"late", key=key)
    way(protocol, last + frame(CLOSE, payload, key=key) + late + b"\xff\xff")
    assert protocol.close_received and protocol.close_reply_pending
    assert not protocol.output and list(protocol.inbox) == ["last"]  # the last message comes first
    protocol.reply_to_close()
    assert sent(protocol) == [(CLOSE, payload)]
    assert protocol.close_sent and not protocol.close_reply_pending and protocol.failure is None
    assert protocol.close_code == (int.from_bytes(payload[:2], "big") or 1005)
    assert protocol.close_reason == payload[2:].decode()


@every_way
def test_a_close_with_no_message_in_front_is_answered_at_once(way: Any) -> None:
    protocol = WebSocketProtocol()
    way(protocol, frame(CLOSE, close(1000, b"bye")) + frame(TEXT, b"late"))
    assert sent(protocol) == [(CLOSE, close(1000, b"bye"))]
    assert not protocol.close_reply_pending and not protocol.inbox


@every_way
@pytest.mark.parametrize(("payload", "code"), BAD_CLOSES.values(), ids=BAD_CLOSES)
def test_a_close_that_breaks_a_rule(payload: bytes, code: int, way: Any) -> None:
    protocol = WebSocketProtocol()
    way(protocol, frame(TEXT, b"last") + frame(CLOSE, payload) + frame(TEXT, b"late"))
    assert protocol.failure is not None and protocol.failure.close_code == code
    assert not protocol.close_received and not protocol.output
    protocol.reply_to_close()
    assert [(opcode, body[:2]) for opcode, body in sent(protocol)] == [(CLOSE, code.to_bytes(2, "big"))]
    assert protocol.close_code == code and list(protocol.inbox) == ["last"]


FOLLOWING = {
    "a message": frame(TEXT, b"late"),
    "a ping": frame(PING, b"late"),
    "another close": frame(CLOSE, close(1001)),
    "a violation": b"\xff" * 50,
    "too long a frame": b"\x82" + lengths(2**63 - 1, True),
    "an HTTP request": b"GET / HTTP/1.1\r\n\r\n",
    "600 messages": frame(TEXT, b"late") * 600,
}


@every_way
@pytest.mark.parametrize("following", FOLLOWING.values(), ids=FOLLOWING)
def test_what_follows_a_close_is_dropped(following: bytes, way: Any) -> None:
    protocol = WebSocketProtocol()
    way(protocol, frame(CLOSE, close(1000)) + following)
    feed(protocol, following)
    assert sent(protocol) == [(CLOSE, close(1000))]
    assert not protocol.inbox and not protocol.controls and protocol.failure is None
    assert protocol.close_code == 1000 and protocol.fast_path == 0 and protocol.receive_buffer() is None


@every_way
def test_a_close_in_the_middle_of_a_message_ends_it_too(way: Any) -> None:
    protocol = WebSocketProtocol()
    way(protocol, frame(TEXT, b"half\xc3", fin=False) + frame(CLOSE, close(1001, b"\xc3\xa9")) + frame(CONTINUATION))
    assert (protocol.close_code, protocol.close_reason) == (1001, "é")
    assert not protocol.inbox and protocol.failure is None


# We close (RFC 6455 7.1.2)


@every_way
def test_an_answer_is_not_answered(way: Any) -> None:
    protocol = WebSocketProtocol()
    protocol.send_close(1001, "bye")
    assert protocol.close_sent and not protocol.close_received and protocol.close_code == 1006
    way(protocol, frame(TEXT, b"crossing") + frame(PING, b"no more") + frame(CLOSE, close(1001, b"bye")))
    assert sent(protocol) == [(CLOSE, close(1001, b"bye"))]
    assert protocol.close_received and (protocol.close_code, protocol.close_reason) == (1001, "bye")
    assert list(protocol.inbox) == ["crossing"]


def test_two_closes_that_cross() -> None:
    """Each side keeps what it received, and neither answers."""
    server, client = WebSocketProtocol(), WebSocketProtocol(client=True)
    server.send_close(1001, "server")
    client.send_close(4000, "client")
    to_client, to_server = b"".join(server.output), b"".join(client.output)
    feed(client, to_client)
    feed(server, to_server)
    assert (server.close_code, server.close_reason) == (4000, "client")
    assert (client.close_code, client.close_reason) == (1001, "server")
    assert len(server.output) == len(client.output) == 1


def test_one_close_frame_is_sent() -> None:
    protocol = WebSocketProtocol()
    for code in (1000, 1001, None, 1000):
        protocol.send_close(code, "first" if code == 1000 else "")
    assert sent(protocol) == [(CLOSE, close(1000, b"first"))]


@pytest.mark.parametrize(("code", "payload"), [(1000, b"\x03\xe8"), (4999, b"\x13\x87"), (None, b""), (1005, b"")])
def test_the_close_frame(code: int | None, payload: bytes) -> None:
    protocol = WebSocketProtocol()
    protocol.send_close(code)
    assert protocol.output == [frame(CLOSE, payload, key=None)]


@pytest.mark.parametrize(
    ("code", "reason"),
    [*((code, "") for code in BAD_CODES if code != 1005), (70000, ""), (-1, ""), (1000, "x" * 124), (1000, "€" * 42)],
)
def test_a_close_that_may_not_be_sent_is_not(code: int, reason: str) -> None:
    protocol = WebSocketProtocol()
    with pytest.raises(ValueError):
        protocol.send_close(code, reason)
    assert not protocol.close_sent and not protocol.output
    protocol.send_close(1000)
    assert sent(protocol) == [(CLOSE, close(1000))]


@pytest.mark.parametrize("reason", [b"bytes", memoryview(b"view"), bytearray(b"array"), 7])
def test_a_reason_is_text(reason: Any) -> None:
    protocol = WebSocketProtocol()
    with pytest.raises((TypeError, AttributeError)):
        protocol.send_close(1000, reason)
    assert not protocol.close_sent and not protocol.output


# Failing (RFC 6455 7.1.7)

FAILURES = {"1002": (b"\xff", 1002), "1007": (frame(TEXT, b"\xff"), 1007), "1009": (frame(BINARY, bytes(101)), 1009)}


@every_way
@pytest.mark.parametrize(("data", "code"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_answered_after_the_replies_that_are_due(data: bytes, code: int, way: Any) -> None:
    protocol = WebSocketProtocol(max_message_size=100)
    way(protocol, frame(PING, b"1") + data + frame(PING, b"2") + frame(CLOSE))
    assert sent(protocol) == [(PONG, b"1")] and not protocol.close_sent
    assert protocol.fast_path == 0 and protocol.receive_buffer() is None
    protocol.reply_to_close()
    pong, (opcode, payload) = sent(protocol)
    assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, "big"))
    assert protocol.close_sent and not protocol.close_received and protocol.close_code == code
    assert payload[2:].decode() == protocol.close_reason == str(protocol.failure) != ""


def test_a_failure_after_our_close_is_not_answered() -> None:
    protocol = WebSocketProtocol()
    protocol.send_close(1000)
    feed(protocol, b"\xff")
    protocol.reply_to_close()
    assert sent(protocol) == [(CLOSE, close(1000))]
    assert protocol.close_code == 1002


@pytest.mark.parametrize("data", [b"\xff", frame(CLOSE, close(999)), frame(TEXT, b"a", fin=False) + frame(TEXT, b"b")])
def test_a_failure_stays_the_first(data: bytes) -> None:
    protocol = WebSocketProtocol()
    feed(protocol, data)
    first = protocol.failure
    feed(protocol, frame(TEXT, b"\xff") + frame(TEXT, b"fine"))
    assert protocol.failure is first and not protocol.inbox
