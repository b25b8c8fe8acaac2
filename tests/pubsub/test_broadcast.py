"""Messages to connections that somebody lists."""

from __future__ import annotations

from typing import Any

import pytest
from kit.sites.rooms import Room, read_messages

from geventws import PreparedMessage, broadcast


@pytest.fixture
def room(serve: Any) -> Room:
    return Room(serve)


@pytest.mark.parametrize("count", [1, 20])
def test_broadcast_needs_no_topic(room: Room, count: int) -> None:
    room.open()
    clients = [room.connect(topics=[]) for _ in range(count)]
    assert broadcast(room.members, "to all") == count
    assert broadcast(iter(room.members[1:]), PreparedMessage(b"to others")) == count - 1
    assert broadcast([], "to nobody") == 0
    room.members[0].send("to one")
    assert read_messages(clients[0], 2) == ["to all", "to one"]
    for client in clients[1:]:
        assert read_messages(client, 2) == ["to all", b"to others"]
    clients[0].leave()
    room.wait_until(lambda: room.members[0].closed)
    assert broadcast(room.members, "to the rest") == count - 1
