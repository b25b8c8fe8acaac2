"""permessage_deflate.py: negotiation on parameters as they are parsed (RFC 7692 7.1), and what can be configured."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any

import gevent
import pytest
from kit import frames
from kit.core.deflates import KEEP, LIMIT, answer, inflate, offers

from geventws import WebSocketWSGI
from geventws.exceptions import HandshakeError
from geventws.http.headers import build_extensions
from geventws.protocol.permessage_deflate import PerMessageDeflate

# Negotiation: the server's side


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("x", ""),
        ("x; client_max_window_bits", "; client_max_window_bits=15"),
        ("x; client_max_window_bits=10", "; client_max_window_bits=10"),
        ("x; client_max_window_bits=8", "; client_max_window_bits=8"),
        ("x; server_max_window_bits=8", "; server_max_window_bits=8"),
        ("x; server_max_window_bits=15", "; server_max_window_bits=15"),
        ('x; server_max_window_bits="10"', "; server_max_window_bits=10"),  # RFC 6455 9.1: the same as 10
        ("x; server_no_context_takeover; client_no_context_takeover", ""),
        (
            "x; client_max_window_bits=9; server_max_window_bits=11",
            "; server_max_window_bits=11; client_max_window_bits=9",
        ),
        ("x; Server_Max_Window_Bits=9", "; server_max_window_bits=9"),
    ],
)
def test_answer_by_default(header: str, expected: str) -> None:
    always = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    assert answer(PerMessageDeflate(), header) == always + expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("x", ""),
        ("x; server_no_context_takeover", "; server_no_context_takeover"),
        ("x; client_no_context_takeover", "; client_no_context_takeover"),
        ("x; client_max_window_bits", "; client_max_window_bits=15"),
    ],
)
def test_answer_when_context_is_kept_in_full_windows(header: str, expected: str) -> None:
    config = dataclasses.replace(KEEP, server_max_window_bits=15, client_max_window_bits=15)
    assert answer(config, header) == "permessage-deflate" + expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        # RFC 7692 7.1.2.1: the server's window may be told unasked; 7.1.2.2: the client's must not.
        ("x", "; server_max_window_bits=12"),
        ("x; server_max_window_bits=9", "; server_max_window_bits=9"),
        ("x; server_max_window_bits=14", "; server_max_window_bits=12"),
        ("x; client_max_window_bits", "; server_max_window_bits=12; client_max_window_bits=12"),
        ("x; client_max_window_bits=10", "; server_max_window_bits=12; client_max_window_bits=10"),
        ("x; client_max_window_bits=14", "; server_max_window_bits=12; client_max_window_bits=12"),
    ],
)
def test_answer_when_context_is_kept(header: str, expected: str) -> None:
    assert answer(KEEP, header) == "permessage-deflate" + expected


BAD = [
    "x; unknown",
    "x; unknown=1",
    "x; server_no_context_takeover=1",
    "x; client_no_context_takeover=true",
    "x; server_max_window_bits",
    *(
        f"x; {name}_max_window_bits={value}"
        for name in ("server", "client")
        for value in ("7", "16", "08", "0", "+9", "1e1", "0x9", "15.0", "999999999999999999999", '"08"')
    ),
    "x; server_no_context_takeover; server_no_context_takeover",
    "x; client_max_window_bits; client_max_window_bits=10",
    "x; server_max_window_bits=10; server_max_window_bits=10",
    "x; server_max_window_bits=10; SERVER_MAX_WINDOW_BITS=11",
]


@pytest.mark.parametrize("header", BAD)
def test_a_bad_offer_is_declined_and_the_next_is_tried(header: str) -> None:
    assert PerMessageDeflate().accept(offers(header)) is None
    expected = answer(PerMessageDeflate(), "x; server_max_window_bits=9")
    assert answer(PerMessageDeflate(), header + ", x; server_max_window_bits=9, x") == expected


@pytest.mark.parametrize("value", ["", " 9", "9 ", "٩", "９", "1_0"])
def test_bits_that_int_would_read(value: str) -> None:
    assert PerMessageDeflate().accept([[("server_max_window_bits", value)]]) is None


def test_no_offers() -> None:
    assert PerMessageDeflate().accept([]) is None


# Negotiation: the client's side


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            PerMessageDeflate(),
            "server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
        (KEEP, "server_max_window_bits=12; client_max_window_bits=12"),
        (
            dataclasses.replace(KEEP, client_max_window_bits=15, server_max_window_bits=15),
            "client_max_window_bits",
        ),
    ],
)
def test_offer(config: PerMessageDeflate, expected: str) -> None:
    assert build_extensions([("x", config.offer())]) == "x; " + expected


@pytest.mark.parametrize(
    "header",
    [
        "x",
        "x; server_no_context_takeover",
        "x; client_no_context_takeover",
        "x; server_max_window_bits=8; client_max_window_bits=8",
        "x; server_max_window_bits=15; client_max_window_bits=15",
    ],
)
@pytest.mark.parametrize("config", [PerMessageDeflate(), KEEP], ids=["forgets", "keeps"])
def test_answers_that_a_client_takes(header: str, config: PerMessageDeflate) -> None:
    end = config.check(offers(header)[0])
    assert inflate(end, end.encode(b"Hello"), True, 5) == b"Hello"


@pytest.mark.parametrize("header", [*BAD, "x; client_max_window_bits"])
def test_answers_that_a_client_refuses(header: str) -> None:
    with pytest.raises(HandshakeError, match="permessage-deflate") as refusal:
        PerMessageDeflate().check(offers(header)[0])
    assert refusal.value.status == 0
    assert refusal.value.option == "compression"


def test_a_client_inflates_context_that_the_server_kept_in_spite_of_the_offer() -> None:
    end = PerMessageDeflate().check([])
    assert inflate(end, bytes.fromhex("f248cdc9c90700"), True, LIMIT) == b"Hello"
    assert inflate(end, bytes.fromhex("f200110000"), True, LIMIT) == b"Hello"


@pytest.mark.parametrize(
    "wrong",
    [
        {"server_max_window_bits": 7},
        {"client_max_window_bits": 16},
        {"level": 10},
        {"level": -1},
        {"memory_level": 0},
        {"threshold": -1},
    ],
)
def test_wrong_configurations(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PerMessageDeflate(**wrong)


def test_a_configuration_is_a_value() -> None:
    assert PerMessageDeflate() == PerMessageDeflate()
    assert hash(PerMessageDeflate()) == hash(PerMessageDeflate())
    with pytest.raises(dataclasses.FrozenInstanceError):
        PerMessageDeflate().level = 3  # type: ignore[misc]


def test_a_client_may_leave_client_max_window_bits_out() -> None:
    mine = PerMessageDeflate(client_max_window_bits=False)
    assert "client_max_window_bits" not in dict(mine.offer())
    mine.check([("client_no_context_takeover", None)])
    with pytest.raises(HandshakeError, match="client_max_window_bits, which was not offered"):
        mine.check([("client_max_window_bits", "12")])


def test_a_server_may_leave_client_max_window_bits_out() -> None:
    answer, _deflate = PerMessageDeflate(client_max_window_bits=False).accept([[("client_max_window_bits", "10")]])
    assert "client_max_window_bits" not in dict(answer)


def test_a_client_that_keeps_its_context_unasked_is_told_which_option_decides(serve, log) -> None:
    """As Tornado's does; the first message inflates, the second refers to it."""
    site = serve(WebSocketWSGI(lambda ws: [ws.send(message) for message in ws]))
    client = site.connect(sec_websocket_extensions="permessage-deflate")
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    for _ in range(2):
        data = compressor.compress(b"what was said before") + compressor.flush(zlib.Z_SYNC_FLUSH)
        client.send(frames.frame(frames.TEXT, data[:-4], rsv=4))
    assert client.read_message() == "what was said before"
    client.expect_close(1007, None)
    gevent.sleep(0)
    (record,) = log()
    assert record.getMessage().endswith("(compression)")
