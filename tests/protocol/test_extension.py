"""extension.py: an extension that reverses payloads does all that one may, through the interface alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import pytest
from kit.frames import BINARY, CONTINUATION, RSV1, RSV2, TEXT, WAYS, frame, read_frames
from kit.handshakes import KEY, request

from geventws.exceptions import PayloadTooBig
from geventws.frames import RSV2 as RSV2_BIT
from geventws.handshake.client import check_response, request_headers
from geventws.handshake.server import accept
from geventws.handshake.upgrade import accept_key
from geventws.http.headers import Parameters, build_extensions
from geventws.protocol.connection import WebSocketProtocol
from geventws.protocol.extension import Data, Extension, Negotiator
from geventws.protocol.prepared import PreparedMessage


class Reversed:
    """The messages of one connection, the last byte first. Its header bit is RSV2, and it holds each until its end."""

    header_bits = RSV2_BIT
    threshold = 3
    fast_path = False
    sharing: Hashable = "reversed"

    def __init__(self) -> None:
        self._outgoing = self._incoming = b""

    def measure(self) -> int:
        return len(self._incoming)

    def longest(self, size: int) -> int:
        return size

    def wants(self, size: int, compress: bool | None) -> bool:
        return size >= self.threshold if compress is None else compress

    def encode(self, payload: Data) -> bytes:
        return bytes(payload)[::-1]

    def encode_slowly(self, payload: Data) -> Iterator[bytes]:
        yield self.encode(payload)

    def encode_part(self, payload: Data, final: bool) -> bytes:
        self._outgoing += bytes(payload)
        if not final:
            return b""
        whole, self._outgoing = self.encode(self._outgoing), b""
        return whole

    def decode(self, data: Data, final: bool, limit: int) -> Iterator[bytes]:
        self._incoming += bytes(data)
        if len(self._incoming) > limit:
            raise PayloadTooBig("too much", limit=limit)
        if final:
            whole, self._incoming = self._incoming[::-1], b""
            yield whole


class Reverse:
    """What a side wants that speaks it."""

    name = "reverse"

    def accept(self, offers: list[Parameters], /) -> tuple[Parameters, Extension] | None:
        return ([], Reversed()) if offers[0] == [] else None

    def offer(self) -> Parameters:
        return []

    def check(self, parameters: Parameters, /) -> Extension:
        return Reversed()


NEGOTIATOR: Negotiator = Reverse()


def ends(**options: Any) -> tuple[WebSocketProtocol, WebSocketProtocol]:
    """Return the protocols of a server and its client that have agreed on it."""
    offered = build_extensions([(NEGOTIATOR.name, NEGOTIATOR.offer())])
    sent = dict(request_headers(host="a", key=KEY, extensions_offer=offered))["Sec-WebSocket-Extensions"]
    upgrade = accept(request(HTTP_SEC_WEBSOCKET_EXTENSIONS=sent), extensions=[NEGOTIATOR])
    assert ("Sec-WebSocket-Accept", accept_key(KEY)) in upgrade.headers
    agreed = check_response(101, upgrade.headers, key=KEY, extensions=[NEGOTIATOR])
    server = WebSocketProtocol(extension=upgrade.extension, **options)
    return server, WebSocketProtocol(client=True, extension=agreed.extension, **options)


def test_whole_messages() -> None:
    server, client = ends()
    header, payload = server.encode_message(0x80 | TEXT, "\xe9tat".encode(), None)
    assert header + payload == bytes([0x80 | RSV2 << 4 | TEXT, 5]) + "\xe9tat".encode()[::-1]
    client.receive_data(memoryview(bytearray(header + payload)))
    client.receive_data(memoryview(bytearray(b"".join(server.encode_message(0x80 | BINARY, b"ab", None)))))
    assert client.inbox == ["\xe9tat", b"ab"]  # the second is below the threshold


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_messages_in_parts(way: Any) -> None:
    server, client = ends()
    data = b"".join(header + bytes(payload) for header, payload in client.encode_parts(["on", "e"], None))
    first, *others = read_frames(data)
    assert (first.opcode, first.rsv) == (TEXT, RSV2)
    assert [(one.opcode, one.rsv, one.payload) for one in others][-1] == (CONTINUATION, 0, b"eno")
    way(server, data)
    assert server.inbox == ["one"] and server.failure is None and server.measure() == 0


def test_a_message_over_the_limit() -> None:
    server, client = ends(max_message_size=3)
    for header, payload in client.encode_parts([b"ab", b"cd"], None):
        server.receive_data(memoryview(bytearray(header + payload)))
    assert isinstance(server.failure, PayloadTooBig) and server.failure.limit == 3


@pytest.mark.parametrize("rsv", [RSV1, RSV1 | RSV2])
def test_header_bits_of_others_are_a_breach(rsv: int) -> None:
    server, _ = ends()
    server.receive_data(memoryview(bytearray(frame(BINARY, b"abc", rsv=rsv))))
    assert "reserved bit" in str(server.failure)


def test_a_prepared_message_is_encoded_once() -> None:
    prepared = PreparedMessage("one")
    frames = [prepared.encode(Reversed()) for _ in range(2)]
    assert frames[0] is frames[1] == bytes([0x80 | RSV2 << 4 | TEXT, 3]) + b"eno"


def test_an_offer_that_it_declines_is_no_answer() -> None:
    upgrade = accept(request(HTTP_SEC_WEBSOCKET_EXTENSIONS="reverse; twice"), extensions=[NEGOTIATOR])
    assert upgrade.extension is None and "Sec-WebSocket-Extensions" not in dict(upgrade.headers)
