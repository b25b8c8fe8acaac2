"""Forms: what is published, as messages of the protocol, made once for all who get it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kit.sites.doors import Door

from geventws.protocol.prepared import PreparedMessage
from geventws.pubsub.interface import GAP, JOIN, LEAVE, Event
from geventws.pubsub.rooms import forms
from geventws.pubsub.rooms.forms import PLAIN, WITH_PRESENCE


@pytest.mark.parametrize(("message", "fields"), [
    ("text", {"data": "text"}), (b"\x00", {"base64": "AA=="}), ("", {"data": ""}), (b"", {"base64": ""}),
])  # fmt: skip
@pytest.mark.parametrize("position", [None, "e:1"])
def test_a_message(message: str | bytes, fields: dict[str, str], position: str | None) -> None:
    made = PLAIN.message("room", PreparedMessage(message, compress=False), position)
    more = {} if position is None else {"position": position}
    assert json.loads(made.payload) == {"type": "message", "topic": "room", **fields, **more}
    assert made.opcode.name == "TEXT" and made.compress is False


def test_a_gap() -> None:
    assert json.loads(PLAIN.event("room", Event(GAP, "e:1")).payload) == {
        "type": "gap", "topic": "room", "position": "e:1"}  # fmt: skip


@pytest.mark.parametrize(("event", "fields"), [
    (Event(JOIN, None, "ana", [1]), {"type": "join", "topic": "room", "member": "ana", "info": [1]}),
    (Event(LEAVE, None, "ana", [1]), {"type": "leave", "topic": "room", "member": "ana"}),
])  # fmt: skip
def test_who_joins_and_leaves(event: Event, fields: dict[str, Any]) -> None:
    assert PLAIN.event("room", event) is None
    assert json.loads(WITH_PRESENCE.event("room", event).payload) == fields


def test_a_message_is_made_once_for_all(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    encode = forms.encode
    monkeypatch.setattr(forms, "encode", lambda message: made.append(message) or encode(message))
    door = Door(serve)
    door.open()
    peers = [door.join("room") for _ in range(5)]
    for number in range(3):
        assert peers[0].ask("publish", topic="room", data=str(number))["type"] == "published"
    assert all(peer.hear(3 - len(peer.seen))[-1] == ("message", "room", "2") for peer in peers[1:])
    assert len(made) == 3
