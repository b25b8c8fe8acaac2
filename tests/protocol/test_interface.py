"""interface.py: each kind of protocol has all that the interface describes, and is driven through it alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from kit.frames import TEXT, feed, frame

from geventws.protocol.closing import State
from geventws.protocol.connection import WebSocketProtocol
from geventws.protocol.hixie76 import HixieProtocol
from geventws.protocol.interface import ConnectionProtocol

METHODS = {name: method for name, method in vars(ConnectionProtocol).items() if inspect.isfunction(method)}
PROPERTIES = {name for name, value in vars(ConnectionProtocol).items() if isinstance(value, property)}
ATTRIBUTES = set(ConnectionProtocol.__annotations__)

KINDS: dict[str, Callable[[], Any]] = {
    "server": WebSocketProtocol,
    "client": lambda: WebSocketProtocol(client=True),
    "draft 76": lambda: HixieProtocol(76),
    "draft 75": lambda: HixieProtocol(75),
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@every_kind
def test_every_member_is_there(make: Callable[[], Any]) -> None:
    protocol = make()
    assert {"receive_data", "send_close", "encode_parts"} <= set(METHODS) and {"state", "ends_first"} <= PROPERTIES
    for name in PROPERTIES | ATTRIBUTES:
        getattr(protocol, name)
    for name in ATTRIBUTES:
        setattr(protocol, name, getattr(protocol, name))
    own = {name for name in METHODS if not name.startswith("_")}
    for name in own:
        assert list(inspect.signature(getattr(protocol, name)).parameters) == list(
            inspect.signature(METHODS[name]).parameters
        )[1:], name


def converse(protocol: ConnectionProtocol, data: bytes) -> list[Any]:
    """Receive, reply as an engine does, and close; return the messages, and what was sent."""
    protocol.pending = []
    feed(protocol, data)
    sent = [bytes(part) for part in protocol.encode_message(0x80 | TEXT, b"reply", None)]
    protocol.send_close(1000)
    sent += protocol.output
    protocol.output = ()
    protocol.receive_eof()
    assert protocol.state is State.CLOSED and protocol.failure is None and protocol.measure() == 0
    return [*protocol.inbox, b"".join(sent)]


@pytest.mark.parametrize(
    ("make", "data", "expected"),
    [
        (KINDS["server"], frame(TEXT, b"asked"), b"\x81\x05reply\x88\x02\x03\xe8"),
        (KINDS["draft 76"], b"\x00asked\xff", b"\x00reply\xff\xff\x00"),
        (KINDS["draft 75"], b"\x00asked\xff", b"\x00reply\xff"),
    ],
)
def test_a_conversation(make: Callable[[], Any], data: bytes, expected: bytes) -> None:
    assert converse(make(), data) == ["asked", expected]
