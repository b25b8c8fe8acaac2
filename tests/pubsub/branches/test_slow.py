"""Subscribers that are slow: what waits for them is bounded, nobody else waits, and the counts are exact."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.clients import RawClient
from kit.core.deflates import inflate, inflater
from kit.sites.rooms import SMALL, Room, message, number_of

from geventws import ConnectionClosed, PerMessageDeflate, PubSub
from geventws.engine.loop.poller import get_poller
from geventws.engine.published.deliveries import POLICIES
from geventws.websocket import get_connection

SIZE = 1000
"""Bytes of a message."""


@pytest.fixture
def room(serve: Any) -> Room:
    return Room(serve)


def reconciles(pubsub: PubSub) -> bool:
    stats = pubsub.stats
    return stats.published == stats.sent + stats.queued + stats.dropped + stats.abandoned


def stall(room: Room, most: int = 3000, key: Any = None) -> int:
    """Publish until something is dropped or abandoned, and a bit more; return how many messages that were."""
    number = 0
    while not (room.pubsub.stats.dropped or room.pubsub.stats.abandoned) and number < most:
        room.pubsub.publish("room", message(number), key=key and key(number))
        number += 1
        assert reconciles(room.pubsub)
        gevent.sleep(0)
    return number


def read_all(room: Room, client: RawClient, last: int) -> list[int]:
    """Return the numbers of all messages up to the last."""
    found = []
    while not found or found[-1] != last:
        found.append(number_of(client.read_message()))
        assert reconciles(room.pubsub)
    return found


@pytest.mark.parametrize("host", ["blocking", "callbacks", "tls"])
@pytest.mark.parametrize("policy", POLICIES[1:])
def test_what_finds_no_room_is_dropped_and_counted(room: Room, host: str, policy: str, secure: Any) -> None:
    room.policy = policy
    room.open(host, secure)
    slow = room.connect(receive_buffer=SMALL)
    count = stall(room) + 50
    for number in range(count - 50, count):
        room.pubsub.publish("room", message(number))
    gevent.sleep(0)
    waiting = get_connection(room.members[0]).outlet.queue
    assert 0 < waiting.size <= 64 * 1024 + SIZE and len(waiting) == room.pubsub.stats.queued
    fast = room.connect()
    received: list[int] = []
    reading = gevent.spawn(lambda: received.extend(read_all(room, slow, count)))
    room.wait_until(lambda: room.pubsub.stats.queued == 0)
    room.pubsub.publish("room", message(count))
    reading.join()
    reading.get()
    assert received == sorted(set(received)) and number_of(fast.read_message()) == count
    stats = room.pubsub.stats
    assert len(received) + stats.dropped == count + 1 and stats.sent == len(received) + 1
    if policy == "drop_newest":
        assert received[:50] == list(range(50)) and received[-2] < count - 50
    elif policy == "drop_oldest":
        assert received[-50:] == list(range(count - 49, count + 1))
    else:
        assert received[-2:] == [count - 1, count], "without a key, only the newest of a topic waits"


def test_the_latest_of_each_key_arrives(room: Room) -> None:
    room.policy = "latest"
    room.open()
    slow = room.connect(receive_buffer=SMALL)
    count = stall(room, key=lambda number: number % 5 + 1)
    queue = get_connection(room.members[0]).outlet.queue
    assert sum(not delivery.begun for delivery in queue) == 5
    received = read_all(room, slow, count - 1)
    assert {number % 5 for number in received[-5:]} == set(range(5)) and received[-5:] == list(range(count - 5, count))


def test_by_default_a_slow_subscriber_is_closed(room: Room, log: Any) -> None:
    room.open()
    slow, fast = room.connect(receive_buffer=SMALL), room.connect()
    read: list[int] = []
    reading = gevent.spawn(lambda: [read.append(number_of(fast.read_message())) for _ in range(5000)])
    count = stall(room)
    assert room.pubsub.count("room") == 1 and room.members[0].closed
    stats = room.pubsub.stats
    assert 60 <= stats.abandoned <= 66 and stats.dropped == 0
    assert len(get_connection(room.members[0]).outlet.queue) <= 1, "what has begun"
    before = 0
    while (received := slow.read_frame()).opcode == 2:
        assert number_of(received.payload) == before
        before += 1
    assert received.payload == struct.pack("!H", 1013) + b"too slow"
    slow.close()
    room.wait_until(lambda: len(read) == count)
    reading.kill()
    stats = room.pubsub.stats
    assert read == list(range(count)) and stats.sent == count + before and reconciles(room.pubsub)
    assert [record.getMessage() for record in log()] == [
        "127.0.0.1 /: closed with 1013: too slow for what is published to it"
    ]  # fmt: skip


def test_the_bounds_are_options(room: Room) -> None:
    room.pubsub = PubSub(max_queue_bytes=10_000, max_queue=3)
    room.policy = "drop_newest"
    room.open()
    room.connect(receive_buffer=SMALL)
    stall(room)
    assert room.pubsub.stats.queued == 3


def test_ten_of_a_thousand_hold_a_bounded_amount_and_delay_nobody(room: Room) -> None:
    """Whatever is published: what waits for each with us, and what the kernel holds for it."""
    room.policy = "drop_newest"
    room.open("callbacks")
    clients = [room.connect() for _ in range(1000)]
    burst = 16
    while room.pubsub.stats.dropped < 10 * 100:
        for _ in range(burst):
            room.pubsub.publish("room", message(1))
        for client in clients[10:]:
            client.read(burst * (SIZE + 4))
    for one in map(get_connection, room.members[:10]):
        assert 64 * 1024 - 2 * SIZE < one.outlet.queue.size <= 64 * 1024
        assert get_poller().system.count_unacknowledged(one.fd) <= 160 * 1024
    stats = room.pubsub.stats
    assert stats.sent + stats.queued + stats.dropped == stats.published and not stats.abandoned
    for client in clients:
        client.close()


def test_a_message_larger_than_the_bound_waits_alone(room: Room) -> None:
    room.policy = "drop_newest"
    room.open()
    slow = room.connect(receive_buffer=SMALL)
    large = 1 << 20
    for number in range(3):
        room.pubsub.publish("room", message(number, large))
    assert room.pubsub.stats[:4] == (3, 0, 1, 2)
    assert number_of(slow.read_message()) == 0
    room.pubsub.publish("room", message(3, large))
    assert number_of(slow.read_message()) == 3


def test_the_order_holds_with_what_is_sent_meanwhile(room: Room) -> None:
    """What is sent waits behind what was published before, and is never dropped."""
    room.policy = "drop_oldest"
    room.open()
    slow = room.connect(receive_buffer=SMALL)
    (ws,) = room.members
    count = stall(room)
    sending = gevent.spawn(ws.send, message(count))
    gevent.sleep(0)
    for number in range(count + 1, count + 40):
        room.pubsub.publish("room", message(number))
    ping = ws.ping(b"ping")
    frames = []
    while not frames or frames[-1].opcode == 2:
        frames.append(slow.read_frame())
    received = [number_of(frame.payload) for frame in frames[:-1]]
    assert received == sorted(received) and count in received and frames[-1].payload == b"ping"
    sending.get()
    assert not ping.ready()


def test_a_sender_waits_for_its_own_message_alone(room: Room) -> None:
    """However much is published behind it, and never runs dry."""
    room.policy = "drop_oldest"
    room.open()
    slow = room.connect(receive_buffer=SMALL)
    (ws,) = room.members
    count = stall(room)
    sending = gevent.spawn(ws.send, "mine")
    gevent.sleep(0)
    mine = False
    while not mine:
        for _ in range(10):
            room.pubsub.publish("room", message(count))
        mine = slow.read_message() == "mine"
    while not sending.ready():
        for _ in range(100):
            room.pubsub.publish("room", message(count))
        slow.read_message()
        assert ws.buffered_amount > 0
    sending.get()


def test_what_is_published_to_a_context_of_its_own_may_be_dropped(room: Room) -> None:
    """What waits is not compressed: the peer would miss the context."""
    room.policy = "drop_oldest"
    room.open(compression=PerMessageDeflate(server_no_context_takeover=False))
    slow = room.connect(receive_buffer=SMALL, sec_websocket_extensions="permessage-deflate")
    (ws,) = room.members
    noise = random.Random(1).randbytes(2000)
    count = 0
    while not room.pubsub.stats.dropped:
        room.pubsub.publish("room", message(count)[:400] + noise)
        count += 1
        gevent.sleep(0)
    sending = gevent.spawn(ws.send, message(count)[:400] + noise)
    gevent.sleep(0)
    reader, seen = inflater(keep=True), []
    while not seen or seen[-1] != count:
        received = slow.read_frame()
        payload = inflate(reader, received.payload, True, 1 << 20) if received.rsv else received.payload
        assert payload[400:] == noise
        seen.append(number_of(payload[:400]))
    sending.get()
    assert seen == sorted(set(seen)) and len(seen) + room.pubsub.stats.dropped == count + 1


def test_bursts_are_cut_over_tls_and_arrive_whole(room: Room, secure: Any) -> None:
    """What OpenSSL could not write is written again, before what waits after it, of which something is dropped."""
    room.policy = "drop_oldest"
    room.open("tls", secure)
    client, dice = room.connect(receive_buffer=SMALL), random.Random(1)
    (ws,) = room.members
    count, seen = 0, []

    def burst() -> None:
        nonlocal count
        for _ in range(dice.randint(1, 20)):
            room.pubsub.publish("room", message(count, 4 * dice.randint(1, 800)))
            count += 1
        gevent.sleep(0)

    while len(seen) < 2000:
        burst()
        while ws.buffered_amount > dice.randint(0, 100_000):
            seen.append(number_of(client.read_message()))
    room.pubsub.publish("room", message(count))
    seen += read_all(room, client, count)
    assert seen == sorted(set(seen)) and len(seen) + room.pubsub.stats.dropped == count + 1
    assert room.pubsub.stats.dropped > 20 and reconciles(room.pubsub)


def test_who_leaves_while_a_large_message_begins_is_counted(room: Room) -> None:
    """What was published before it is too much for a subscriber, who is closed."""
    room.pubsub = PubSub(max_queue=3)
    room.open()
    offer = {"sec_websocket_extensions": "permessage-deflate"}
    slow, fast = room.connect(receive_buffer=SMALL, **offer), room.connect(**offer)
    noise = random.Random(1).randbytes(2000)
    while room.pubsub.stats.queued < 3:
        room.pubsub.publish("room", noise)
        gevent.sleep(0)
        fast.read_frame()
    room.pubsub.publish("room", "one too many")
    assert room.pubsub.publish("room", "x" * 400_000) == 2 and room.pubsub.count("room") == 1
    assert fast.read_message() == "one too many" and fast.read_frame().rsv
    slow.reset()
    room.wait_until(lambda: room.pubsub.stats.queued == 0)
    assert reconciles(room.pubsub)


def test_an_end_abandons_what_waits(room: Room) -> None:
    room.policy = "drop_newest"
    room.open()
    slow = room.connect(receive_buffer=SMALL)
    stall(room)
    queued = room.pubsub.stats.queued
    assert queued > 0
    slow.reset()
    room.wait_until(lambda: room.pubsub.count("room") == 0)
    assert room.pubsub.stats.queued == 0 and room.pubsub.stats.abandoned == queued and reconciles(room.pubsub)


class Crowd:
    """Clients of a room that come, stall, read, and go, at random; see whether the counts are exact."""

    def __init__(self, room: Room, seed: int) -> None:
        self.room, self.random = room, random.Random(seed)
        self.clients: list[RawClient] = []
        self.published = 0

    def come(self) -> None:
        if len(self.clients) < 6:
            self.room.policy = self.random.choice(POLICIES)
            topics = self.random.sample("abc", self.random.randint(1, 3))
            self.clients.append(self.room.connect(topics, receive_buffer=self.random.choice([SMALL, 0])))

    def go(self) -> None:
        if self.clients:
            client = self.clients.pop(self.random.randrange(len(self.clients)))
            self.random.choice([client.reset, client.shut_down, client.close])()

    def read(self) -> None:
        """Have a client take what has come, as far as it wants."""
        for client in self.random.sample(self.clients, min(len(self.clients), 2)):
            client.socket.setblocking(False)
            try:
                client.socket._sock.recv(self.random.choice([100, 5000, 1 << 20]))
            except OSError:
                pass

    def publish(self) -> None:
        size = self.random.choice([4, 200, 4000, 30_000])
        topic, key = self.random.choice("abc"), self.random.choice([None, 1, 2])
        exclude = self.random.choice([None, *self.room.members[-3:]])
        self.published += self.room.pubsub.publish(topic, message(self.published, size), exclude=exclude, key=key)

    def change(self) -> None:
        for ws in self.room.members[-3:]:
            topic = self.random.choice("abc")
            if self.random.random() < 0.5:
                self.room.pubsub.unsubscribe(ws, topic)
            elif not ws.closed:
                with suppress(ConnectionClosed):  # it turns out to be too slow
                    self.room.pubsub.subscribe(ws, topic, self.random.choice(POLICIES))

    def send(self) -> None:
        for ws in self.room.members[-2:]:
            if not ws.closed:
                ws.try_send(message(1, self.random.choice([4, 4000])))

    def step(self) -> None:
        steps = [self.publish] * 12 + [self.read] * 5 + [self.send, self.change, self.turn, self.come, self.go]
        self.random.choice(steps)()
        assert reconciles(self.room.pubsub) and self.room.pubsub.stats.published == self.published
        for ws in self.room.members[-6:]:
            queue = get_connection(ws).outlet.queue
            assert len(queue) <= 256 and (queue.size <= 64 * 1024 or len(queue) <= 2)

    def turn(self) -> None:
        gevent.sleep(0)

    def leave(self) -> None:
        for client in self.clients:
            client.close()
        self.room.wait_until(lambda: not any(map(self.room.pubsub.count, "abc")))
        stats = self.room.pubsub.stats
        assert stats.queued == stats.topics == stats.subscriptions == 0 and reconciles(self.room.pubsub)
        assert stats.sent and stats.dropped and stats.abandoned, "there was something to count"


@pytest.mark.parametrize("part", [*range(10), "tls"])
def test_counts_reconcile_in_ten_thousand_random_steps_of_a_hundred_thousand(
    serve: Any, secure: Any, part: int | str
) -> None:
    @settings(max_examples=2, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, 1 << 32))
    def run(seed: int) -> None:
        room = Room(serve)
        room.open("tls" if part == "tls" else "blocking", secure)
        crowd = Crowd(room, seed + (part if isinstance(part, int) else 0))
        for _ in range(5000):
            crowd.step()
        crowd.leave()

    run()
