"""What is published to more connections than a turn reaches: the loop has its turns, and each gets all in order."""

from __future__ import annotations

import random
import socket
from typing import Any

import gevent
import pytest
from kit.core.deflates import inflate, inflater
from kit.sites.echoes import check
from kit.sites.rooms import SMALL, Room, message, number_of, read_messages

from geventws import PreparedMessage, PubSub, WebSocketWSGI, broadcast
from geventws.engine.loop import outbox, turns, waves
from geventws.engine.loop.poller import get_poller
from geventws.protocol.permessage_deflate import Deflate

DEFLATE = "permessage-deflate"
LARGE = "".join(random.Random(1).choices("abcdefgh ", k=500_000))


@pytest.fixture
def room(serve: Any) -> Room:
    return Room(serve)


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four units are too much for a flush, two are a piece of it, and a turn is over after one piece."""
    monkeypatch.setattr(turns, "TURN", 0.0)
    monkeypatch.setattr(outbox, "MOST_UNITS", 4)
    monkeypatch.setattr(waves, "UNITS", 2)


def turn() -> None:
    """Let the loop have one turn."""
    gevent.get_hub().wait(gevent.get_hub().loop.timer(0))


def test_work_is_counted_in_connections_and_bytes() -> None:
    assert turns.count_units(100, 200) == 100
    assert turns.count_units(100, turns.UNIT_SIZE) == 200


def test_few_get_it_at_once(room: Room, short_turns: None) -> None:
    room.open()
    clients = [room.connect() for _ in range(4)]
    room.pubsub.publish("room", "message")
    gevent.sleep(0)
    assert room.pubsub.stats.sent == 4
    assert [client.read_message() for client in clients] == ["message"] * 4


def test_many_get_it_in_several_turns(room: Room, short_turns: None) -> None:
    room.open()
    clients = [room.connect() for _ in range(20)]
    assert room.pubsub.publish("room", "message") == 20
    sent = [room.pubsub.stats.sent]
    while sent[-1] < 20:
        turn()
        sent.append(room.pubsub.stats.sent)
        assert room.pubsub.stats.queued == 20 - sent[-1]
    assert len(set(sent)) >= 10, "two at once"
    assert [client.read_message() for client in clients] == ["message"] * 20
    assert not get_poller().outbox.gathers


def test_others_are_served_meanwhile(room: Room, serve: Any, short_turns: None) -> None:
    room.open()
    for _ in range(40):
        room.connect()
    honest = serve(WebSocketWSGI(lambda ws: [ws.send(message) for message in ws])).connect()
    room.pubsub.publish("room", "message")
    gevent.sleep(0)
    check(honest)
    assert room.pubsub.stats.queued > 10, "its answer did not wait for all of them"
    room.wait_until(lambda: room.pubsub.stats.queued == 0)
    honest.leave()


def test_what_is_sent_meanwhile_comes_after_what_was_published(room: Room, short_turns: None) -> None:
    room.open()
    clients = [room.connect(topics=["room", str(number)]) for number in range(10)]
    publish, members = room.pubsub.publish, room.members
    publish("room", "1")
    assert room.pubsub.stats.queued == 10
    members[0].send("2")
    members[1].ping(b"2")
    members[2].send("2" * 20_000)
    members[3].send(iter(["2", "3"]))
    publish("4", "2")
    members[5].try_send("2")
    room.pubsub.unsubscribe(members[6], "room")
    closing = gevent.spawn(members[7].close, 4000)
    room.wait_until(lambda: members[7].closed)
    assert publish("room", "last") == 8 and publish("6", "last") == 1
    expected = [["1", "2", "last"] for _ in clients]
    expected[2][1] = "2" * 20_000
    expected[3][1:2] = ["2", "3", ""]
    expected[8] = expected[9] = expected[6] = ["1", "last"]
    expected[7] = ["1"]
    for client, payloads in zip(clients, expected, strict=True):
        assert [client.read_frame().payload.decode() for _ in payloads] == payloads
    clients[7].expect_close(4000)
    closing.join()


def test_all_that_waits_for_one_leaves_in_one_call(room: Room, short_turns: None, monkeypatch: Any) -> None:
    room.open()
    clients = [room.connect() for _ in range(10)]
    calls: list[int] = []
    fanout = get_poller().outbox._fanout
    send = fanout.send
    monkeypatch.setattr(fanout, "send", lambda sent, *arguments: calls.append(len(sent)) or send(sent, *arguments))
    for number in range(5):
        room.pubsub.publish("room", str(number), exclude=room.members[number])
        gevent.sleep(0)
        get_poller().outbox.flush()
    room.wait_until(lambda: room.pubsub.stats.queued == 0)
    assert max(calls) > 1, "a later wave goes with an earlier one"
    for number, client in enumerate(clients):
        assert read_messages(client, 5 - (number < 5)) == [str(other) for other in range(5) if other != number]


def test_whose_socket_somebody_closes_meanwhile_is_nobody(room: Room, short_turns: None) -> None:
    room.open()
    clients = [room.connect() for _ in range(8)]
    room.pubsub.publish("room", "message")
    get_poller().outbox.flush()
    room.sockets[0]._sock.close()
    clients[1].reset()
    room.wait_until(lambda: room.pubsub.stats.queued == 0)
    assert [client.read_message() for client in clients[2:]] == ["message"] * 6
    stats = room.pubsub.stats
    assert stats.abandoned >= 1 and stats.sent + stats.abandoned == 8
    clients[0].close()
    get_poller().channels[room.members[0]._connection.fd].receive_eof(0)


def test_nothing_follows_the_close_frame_of_one_that_is_too_slow(room: Room, short_turns: None) -> None:
    """Not even what comes to it in a later turn, when it takes bytes again."""
    room.pubsub = PubSub(max_queue=1)
    room.open()
    slow = room.connect(receive_buffer=SMALL)
    clients = [room.connect([]) for _ in range(100)]
    ws = room.members[0]
    room.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    reading = gevent.spawn(lambda: (number_of(slow.read_message()), slow.expect_close(1013, "too slow")))
    for number in range(2):
        room.pubsub.publish("room", message(number, 4 if number else 20_000))
    ws.send("hurry")
    assert broadcast(room.members, "last") == 101
    assert [client.read_message() for client in clients] == ["last"] * 100
    assert reading.get() == (0, "too slow")


@pytest.mark.parametrize("bound", ["MOST_WAITING", "MOST_BYTES"])
def test_what_waits_is_bounded(room: Room, short_turns: None, monkeypatch: Any, bound: str) -> None:
    """A publisher that never pauses."""
    monkeypatch.setattr(waves, bound, 10 if bound == "MOST_WAITING" else 5000)
    room.open()
    clients = [room.connect() for _ in range(6)]
    for number in range(20):
        room.pubsub.publish("room", f"{number:04}" * 250)
        get_poller().outbox.flush()
        assert room.pubsub.stats.queued <= (16 if bound == "MOST_WAITING" else 36)
    for client in clients:
        assert [str(message)[:4] for message in read_messages(client, 20)] == [f"{number:04}" for number in range(20)]


def test_each_gets_everything_in_order_whatever_happens(room: Room, short_turns: None) -> None:
    room.open()
    dice = random.Random(5)
    topics = ["room", "a", "b"]
    clients = [room.connect(topics=topics) for _ in range(9)]
    expected: list[list[str]] = [[] for _ in clients]
    for number in range(400):
        text, one = str(number), dice.randrange(9)
        kind = dice.choice(["publish"] * 4 + ["exclude", "send", "try", "turn"])
        if kind == "send":
            room.members[one].send(text)
        elif kind == "try":
            room.members[one].try_send(text)
        elif kind == "turn":
            dice.choice([turn, gevent.sleep])()
        else:
            room.pubsub.publish(dice.choice(topics), text, exclude=room.members[one] if kind == "exclude" else None)
        for place, got in enumerate(expected):
            if kind == "publish" or (kind == "exclude") != (place == one) and kind != "turn":
                got.append(text)
        stats = room.pubsub.stats
        assert stats.published == stats.sent + stats.queued
    for client, texts in zip(clients, expected, strict=True):
        assert read_messages(client, len(texts)) == texts


# Large messages


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What was compressed slowly, in parts."""
    parts: list[int] = []
    encode_slowly = Deflate.encode_slowly

    def counting(self: Deflate, payload: bytes) -> Any:
        for part in encode_slowly(self, payload):
            parts.append(len(part))
            yield part

    monkeypatch.setattr(Deflate, "encode_slowly", counting)
    return parts


def read_text(client: Any) -> str:
    frame = client.read_frame()
    payload = inflate(inflater(), frame.payload, True, 1 << 20) if frame.rsv else frame.payload
    return str(payload, "utf-8")


def read_texts(client: Any, count: int) -> list[str]:
    return [read_text(client) for _ in range(count)]


def test_a_large_message_is_compressed_in_slices(room: Room, serve: Any, short_turns: None, slices: list[int]) -> None:
    room.open()
    clients = [room.connect(sec_websocket_extensions=DEFLATE) for _ in range(3)]
    clients.append(room.connect())
    honest = serve(WebSocketWSGI(lambda ws: [ws.send(message) for message in ws])).connect()
    reading = [gevent.spawn(read_texts, client, 2) for client in clients[1:]]
    reading.insert(0, gevent.spawn(read_messages, clients[0], 2))  # who has more to be told gets it uncompressed
    room.pubsub.publish("room", LARGE)
    check(honest)
    assert 0 < len(slices) < 8 and room.pubsub.stats.queued >= 3
    room.members[0].send("hurry")
    assert reading[0].get() == [LARGE, "hurry"]
    room.wait_until(lambda: room.pubsub.stats.queued == 0)
    room.pubsub.publish("room", "small")
    assert [one.get() for one in reading[1:]] == [[LARGE, "small"]] * 3
    assert len(slices) == 9 and room.pubsub.stats.sent == 8
    honest.leave()


def test_one_that_cannot_be_compressed_goes_as_it_is(room: Room, short_turns: None, log: Any, monkeypatch: Any) -> None:
    def fail(self: Deflate, payload: bytes) -> Any:
        yield b"begun"
        raise MemoryError

    monkeypatch.setattr(Deflate, "encode_slowly", fail)
    room.open()
    clients = [room.connect(sec_websocket_extensions=DEFLATE) for _ in range(3)]
    reading = [gevent.spawn(read_messages, client, 2) for client in clients]
    room.pubsub.publish("room", LARGE)
    room.wait_until(lambda: room.pubsub.stats.queued == 0)
    room.pubsub.publish("room", "next")
    assert [one.get() for one in reading] == [[LARGE, "next"]] * 3
    assert ["internal error" in record.getMessage() for record in log()] == [True]


def test_a_prepared_one_is_compressed_once_in_slices(room: Room, serve: Any, short_turns: None, slices: Any) -> None:
    room.open()
    clients = [room.connect(sec_websocket_extensions=DEFLATE) for _ in range(2)]
    honest = serve(WebSocketWSGI(lambda ws: [ws.send(message) for message in ws])).connect()
    prepared = PreparedMessage(LARGE)
    reading = [gevent.spawn(read_texts, client, 2) for client in clients]
    sending = gevent.spawn(room.members[0].send, prepared)
    check(honest)
    assert 0 < len(slices) < 8
    sending.get()
    room.members[1].send(prepared)
    assert room.pubsub.publish("room", prepared) == 2
    assert [one.get() for one in reading] == [[LARGE] * 2] * 2
    assert len(slices) == 9
    assert room.members[0].try_send(PreparedMessage(LARGE[1:])).value != "dropped"
    assert clients[0].read_frame().rsv == 0 and len(slices) == 9
    honest.leave()


def test_a_message_in_parts_leaves_no_trace_in_that_of_others(room: Room) -> None:
    """Of the connection that a message is compressed with for all."""
    room.open()
    clients = [room.connect(sec_websocket_extensions=DEFLATE) for _ in range(2)]

    def parts() -> Any:
        yield LARGE[:5000]
        room.pubsub.publish("room", LARGE[:100_000])
        yield LARGE[5000:9000]

    room.members[0].send(parts(), compress=True)
    assert read_text(clients[1]) == LARGE[:100_000]
    while not clients[0].read_frame().fin:
        pass
    assert read_text(clients[0]) == LARGE[:100_000]
