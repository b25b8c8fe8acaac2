"""memory.py, in protocols that bound what waits (`pending` is a list): they decode the same, however bytes are cut."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest
from kit.core import deflates
from kit.frames import BINARY, CLOSE, CONTINUATION, MASK_KEY, PING, RSV1, TEXT, frame

from geventws._core import scan
from geventws.protocol import connection
from geventws.protocol.connection import WebSocketProtocol
from geventws.protocol.hixie76 import HixieProtocol
from geventws.protocol.memory import LEAST_AHEAD, SLACK, measure, read_ahead

LIMIT = 40_000
NOTHING = memoryview(bytearray())

LETTERS = ["a", "a", "\xe9", "\u20ac", "\U0001f600"]


def a_text(random: random.Random, most: int) -> bytes:
    size = random.choice([0, 1, 10, most // 8, most // 4])
    return "".join(random.choices([random.choice(LETTERS), "b"], k=size)).encode()


def a_message(random: random.Random, deflate: bool) -> list[bytes]:
    """Return the frames of one."""
    text = random.random() < 0.6
    opcode, payload = (TEXT, a_text(random, LIMIT)) if text else (BINARY, bytes(random.randrange(LIMIT)))
    rsv = 0
    if deflate and random.random() < 0.5:
        rsv, payload = RSV1, deflates.raw(payload)
    if random.random() < 0.6 or len(payload) < 2:
        return [frame(opcode, payload, rsv=rsv)]
    at = random.randrange(1, len(payload))
    middle = [frame(PING, b"between")] * random.randrange(3)
    return [frame(opcode, payload[:at], fin=False, rsv=rsv), *middle, frame(CONTINUATION, payload[at:])]


def a_stream(seed: int, deflate: bool) -> bytes:
    rng = random.Random(seed)
    frames = [part for _ in range(25) for part in a_message(rng, deflate)]
    return b"".join(frames) + frame(CLOSE, b"\x03\xe8bye")


class Bounded:
    """A protocol in the hands of a handler that takes what waits now and then, as a connection has it."""

    def __init__(self, protocol: Any, rng: random.Random) -> None:
        self.protocol, self.rng = protocol, rng
        protocol.pending = self.taken = []
        self.done: list[Any] = []
        self.output: list[bytes] = []
        self.most = 0

    def receive(self, data: bytes) -> None:
        """Receive once, or go on with what was kept, until all is decoded."""
        target = self.protocol.receive_buffer()
        if data and target is not None:
            count = min(len(data), len(target))
            target[:count] = data[:count]
            del target
            waits = self.protocol.buffer_received(count)
            self.look()
            if waits:
                self.go_on()
            if data[count:]:
                self.receive(data[count:])
        else:
            waits = self.protocol.receive_data(memoryview(bytearray(data)))
            self.look()
            if waits:
                self.go_on()

    def go_on(self) -> None:
        while True:
            self.take()
            waits = self.protocol.receive_data(NOTHING)
            self.look()
            if not waits:
                return

    def look(self) -> None:
        protocol = self.protocol
        self.output += protocol.output
        protocol.output, protocol.controls = (), ()
        self.most = max(self.most, measure(protocol.inbox) + measure(self.taken) + protocol.measure())

    def take(self) -> None:
        """The handler moves what arrived, where it has taken all of before, and takes some of it."""
        if not self.taken:
            self.taken += self.protocol.inbox[::-1]
            self.protocol.inbox.clear()
        for _ in range(self.rng.choice([1, 2, len(self.taken), len(self.taken)])):
            if self.taken:
                self.done.append(self.taken.pop())


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_what_is_bounded_is_decoded_the_same(seed: int, deflate: bool) -> None:
    stream, rng = a_stream(seed, deflate), random.Random(seed)
    options: dict[str, Any] = {"max_message_size": LIMIT, "streaming": False}
    expected = WebSocketProtocol(extension=deflates.inflater() if deflate else None, **options)
    expected.receive_data(memoryview(bytearray(stream)))
    protocol = WebSocketProtocol(extension=deflates.inflater() if deflate else None, **options)
    bounded = Bounded(protocol, rng)
    most = rng.choice([150, 1000, 16 * 1024])
    at = 0
    while at < len(stream) and not protocol.close_received:
        part = stream[at : at + rng.randrange(1, most)]
        at += len(part)
        bounded.receive(part)
    assert bounded.done + bounded.taken[::-1] + protocol.inbox == expected.inbox
    assert (protocol.close_received, protocol.close_code, protocol.failure) == (True, 1000, None)
    pongs = b"".join(expected.output).count(b"between")
    assert b"".join(bounded.output).count(b"between") == pongs
    assert bounded.most < 5 * LIMIT + SLACK


@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("message", ["\U0001f600" * 3, b"x" * 10, "x" * 3000, b"x" * 3000])
def test_what_stops_is_kept_as_it_came_and_no_more_than_may_wait(client: bool, message: str | bytes) -> None:
    opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
    one = frame(opcode, payload, key=None if client else MASK_KEY)
    count = 200_000 // len(one)
    protocol = WebSocketProtocol(client=client, max_message_size=LIMIT)
    protocol.pending = []
    data = memoryview(bytearray(one * count))
    found: list[Any] = []
    while protocol.receive_data(data):
        data = NOTHING
        waiting = measure(protocol.inbox)
        assert waiting <= read_ahead(LIMIT) + 5 * sys.getsizeof(message) + 100
        assert protocol.fast_path == 0  # what comes next is behind what is kept
        assert waiting + protocol.measure() < 210_000 + 2 * LIMIT
        found += protocol.inbox
        protocol.inbox.clear()
    assert found + protocol.inbox == [message] * count


FLOODS = {
    "pings": ([(PING, True)], 64),
    "messages": ([(BINARY, True)], 256),
    "fragments": ([(BINARY, False), (CONTINUATION, False), (CONTINUATION, True)], 256),
}
"""The frames that come over and over, with their FIN bits; and how many frames are decoded at once."""


@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("flood", FLOODS)
def test_each_frame_of_a_flood_is_scanned_once(monkeypatch: pytest.MonkeyPatch, flood: str, client: bool) -> None:
    """Decoding stops when it is others' turn, and what was scanned before that is not scanned again."""
    scanned: list[int] = []

    def counting(*arguments: Any) -> Any:
        result = scan(*arguments)
        scanned.append(len(result[2]))
        return result

    monkeypatch.setattr(connection, "scan", counting)
    kinds, most = FLOODS[flood]
    key = None if client else MASK_KEY
    data = b"".join(frame(opcode, b"x", fin=fin, key=key) for opcode, fin in kinds) * 600
    protocol = WebSocketProtocol(client=client)
    protocol.pending = []
    waits, done = protocol.receive_data(memoryview(bytearray(data))), 0
    while waits:
        decoded = sum(scanned)
        assert 0 < decoded - done <= most
        done, protocol.output, protocol.controls = decoded, (), ()
        waits = protocol.receive_data(NOTHING)
    assert sum(scanned) == 600 * len(kinds)
    assert protocol.failure is None


def test_a_wide_text_is_delivered_where_nothing_else_waits() -> None:
    """Until then it stays as it came, and nothing behind it is decoded."""
    text = "a" * (LIMIT - 4) + "\U0001f600"
    protocol = WebSocketProtocol(max_message_size=LIMIT)
    protocol.pending = []
    assert protocol.receive_data(memoryview(bytearray(frame(BINARY, b"first") + frame(TEXT, text.encode()))))
    assert protocol.inbox == [b"first"]
    assert protocol.receive_data(NOTHING)  # it does not help to ask again
    assert protocol.inbox == [b"first"]
    protocol.inbox.clear()
    assert not protocol.receive_data(memoryview(bytearray(frame(BINARY, b"last")))) or protocol.inbox == [text]
    protocol.inbox.clear()
    protocol.receive_data(NOTHING)
    assert protocol.inbox == [b"last"]


@pytest.mark.parametrize("message", ["\U0001f600" * 3, "x" * 3000, "\xff" * 100])
def test_old_drafts_are_bounded(message: str) -> None:
    one = b"\x00" + message.encode() + b"\xff"
    count = 200_000 // len(one)
    protocol = HixieProtocol(max_message_size=LIMIT)
    protocol.pending = []
    data = memoryview(bytearray(one * count))
    found: list[Any] = []
    while protocol.receive_data(data):
        data = NOTHING
        assert measure(protocol.inbox) <= max(read_ahead(LIMIT), LEAST_AHEAD) + sys.getsizeof(message) * 5
        found += protocol.inbox
        protocol.inbox.clear()
    assert found + protocol.inbox == [message] * count
