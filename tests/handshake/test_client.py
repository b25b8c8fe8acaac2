"""client.py: the client's side of the opening handshake, on literal headers."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from kit.handshakes import ACCEPT, ANSWER, HOSTILE, KEY, Squeeze, request

from geventws.exceptions import HandshakeError
from geventws.handshake.client import check_response, make_key, request_headers
from geventws.handshake.server import accept
from geventws.handshake.upgrade import Upgrade
from geventws.http.headers import HeaderList


def test_keys_are_16_random_bytes() -> None:
    keys = {make_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {16}
    assert accept(request(HTTP_SEC_WEBSOCKET_KEY=keys.pop())).version == 13


def test_the_least_request() -> None:
    assert request_headers(host="a.example:8000", key=KEY) == [
        ("Host", "a.example:8000"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ]


def test_a_request_with_everything() -> None:
    headers = request_headers(
        host="a.example",
        key=KEY,
        subprotocols=["chat", "superchat"],
        extensions_offer="permessage-deflate; client_max_window_bits",
        origin="https://a.example",
        headers=[("Cookie", "a=b"), ("Authorization", "Bearer c")],
    )
    assert headers[5:] == [
        ("Origin", "https://a.example"),
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Cookie", "a=b"),
        ("Authorization", "Bearer c"),
    ]


def test_host_and_origin_of_the_caller_take_the_place_of_ours() -> None:
    further = [("HOST", "b.example"), ("origin", "http://b.example")]
    headers = request_headers(host="a.example", key=KEY, origin="http://a.example", headers=iter(further))
    assert headers == [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
        *further,
    ]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"host": "a\r\nX: y"}, "the header Host cannot have the value 'a\\r\\nX: y'"),
        ({"host": "\u4f8b.example"}, "the header Host cannot have the value '\\u4f8b.example'"),
        ({"key": "a\n"}, "the header Sec-WebSocket-Key cannot have the value 'a\\n'"),
        ({"origin": "http://a\x00"}, "the header Origin cannot have the value 'http://a\\x00'"),
        ({"extensions_offer": "\n"}, "the header Sec-WebSocket-Extensions cannot have the value '\\n'"),
        ({"headers": [("Cookie", "a\nb")]}, "the header Cookie cannot have the value 'a\\nb'"),
        ({"headers": [("Coo kie", "a")]}, "'Coo kie' cannot be the name of a header"),
        ({"headers": [("A: b\r\nC", "d")]}, "'A: b\\r\\nC' cannot be the name of a header"),
        ({"headers": [("upgrade", "h2c")]}, "the header 'upgrade' is set by the handshake itself"),
        ({"headers": [("Connection", "close")]}, "the header 'connection' is set by the handshake itself"),
        ({"headers": [("Content-Length", "1")]}, "the header 'content-length' is set by the handshake itself"),
        ({"headers": [("Transfer-Encoding", "x")]}, "the header 'transfer-encoding' is set by the handshake itself"),
        ({"headers": [("Sec-WebSocket-Key", KEY)]}, "the header 'sec-websocket-key' is set by the handshake itself"),
        ({"subprotocols": ["a b"]}, "'a b' is not a token"),
        ({"subprotocols": ["a", "b\r\n"]}, "'b\\r\\n' is not a token"),
        ({"subprotocols": ["a", "a"]}, "'a, a' holds a token twice"),
    ],
)
def test_a_request_that_cannot_be_sent(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError) as caught:
        request_headers(**{"host": "a.example", "key": KEY, **options})
    assert str(caught.value) == why


def test_text_for_the_subprotocols_of_a_client_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="^subprotocols takes a list of names, not the text 'chat'$"):
        request_headers(host="a.example", key=KEY, subprotocols="chat")


def test_both_sides_agree() -> None:
    sent = request_headers(
        host="a.example",
        key=KEY,
        subprotocols=["chat", "superchat"],
        extensions_offer="squeeze; by=2",
        origin="http://a.example",
    )
    environ = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in sent}
    environ |= {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"}
    upgrade = accept(environ, subprotocols=["superchat"], extensions=[])
    answer = check_response(101, upgrade.headers, key=KEY, subprotocols=["chat", "superchat"])
    assert answer == Upgrade(upgrade.headers, "superchat", None, 13, None)


def answered(*changes: tuple[str, str | None], **options: Any) -> Upgrade:
    """Check a server's answer in which `changes` replace headers, or take them out, or add to them."""
    headers: HeaderList = [pair for pair in ANSWER if pair[0] not in dict(changes)]
    headers += [(name, value) for name, value in changes if value is not None]
    return check_response(101, headers, key=KEY, **options)


def failure(*changes: tuple[str, str | None], **options: Any) -> tuple[str, str | None]:
    with pytest.raises(HandshakeError) as caught:
        answered(*changes, **options)
    assert (caught.value.status, caught.value.headers) == (0, [])
    return str(caught.value), caught.value.option


@pytest.mark.parametrize(
    "changes",
    [
        (),
        (("Upgrade", "WebSocket"),),
        (("Connection", "keep-alive, upgrade"),),
        (("Connection", "keep-alive"), ("connection", "UPGRADE")),
        (("Sec-WebSocket-Accept", f" {ACCEPT} "),),
        (("Sec-WebSocket-Extensions", ""),),
        (("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")),
    ],
)
def test_what_an_answer_may_look_like(changes: Any) -> None:
    upgrade = answered(*changes)
    assert upgrade[1:] == (None, None, 13, None)
    assert set(changes) <= set(upgrade.headers)


def test_names_of_headers_have_no_case() -> None:
    headers = [(name.lower(), value) for name, value in ANSWER]
    assert check_response(101, iter(headers), key=KEY).headers == headers


@pytest.mark.parametrize("status", [100, 200, 301, 401, 500])
def test_another_status_fails(status: int) -> None:
    with pytest.raises(HandshakeError) as caught:
        check_response(status, ANSWER, key=KEY)
    assert str(caught.value) == f"the server answers with HTTP status {status}, not 101"
    assert caught.value.status == 0


@pytest.mark.parametrize("value", ["h2c", "", "websocket, h2c", "websocket\r\nX: y"])
def test_another_upgrade_fails(value: str) -> None:
    why = f"the server sends the Upgrade {value!r}, which is not websocket"
    assert failure(("Upgrade", value)) == (why, None)


def test_no_upgrade_fails() -> None:
    assert failure(("Upgrade", None)) == ("the server sends no Upgrade", None)


@pytest.mark.parametrize("value", ["close", "notupgrade", ""])
def test_another_connection_fails(value: str) -> None:
    why = f"the server sends the Connection {value!r}, which does not hold Upgrade"
    assert failure(("Connection", value)) == (why, None)


def test_no_connection_fails() -> None:
    assert failure(("Connection", None)) == ("the server sends no Connection", None)


@pytest.mark.parametrize("value", ["", KEY, ACCEPT.lower(), ACCEPT[:-1], ACCEPT + "=", f"{ACCEPT}, {ACCEPT}"])
def test_another_accept_fails(value: str) -> None:
    why = f"the server sends the Sec-WebSocket-Accept {value!r}, which does not answer the key sent"
    assert failure(("Sec-WebSocket-Accept", value)) == (why, None)


def test_no_accept_fails() -> None:
    assert failure(("Sec-WebSocket-Accept", None)) == ("the server sends no Sec-WebSocket-Accept", None)


def test_the_subprotocol_of_the_server() -> None:
    assert answered(("Sec-WebSocket-Protocol", "b"), subprotocols=["a", "b"]).protocol == "b"
    assert answered(subprotocols=["a", "b"]).protocol is None


@pytest.mark.parametrize("value", ["c", "A", "", "a, b", "a,a"])
@pytest.mark.parametrize("offered", [(), ("a", "b")])
def test_a_subprotocol_that_was_not_offered_fails(value: str, offered: tuple[str, ...]) -> None:
    why = f"the server sends the Sec-WebSocket-Protocol {value!r}, which was not offered"
    assert failure(("Sec-WebSocket-Protocol", value), subprotocols=offered) == (why, "subprotocols")


def test_the_extension_of_the_server() -> None:
    squeeze = Squeeze()
    offered = [Squeeze("zip"), squeeze]
    upgrade = answered(("Sec-WebSocket-Extensions", "squeeze; by=2"), extensions=offered)
    assert upgrade.extension == "squeeze by 2"
    assert squeeze.asked == [[("by", "2")]]
    assert answered(extensions=offered).extension is None


def test_parameters_that_the_extension_refuses_fail() -> None:
    found = failure(("Sec-WebSocket-Extensions", "squeeze; by=3"), extensions=[Squeeze()])
    assert found == ("not by 2", None)


@pytest.mark.parametrize("value", ["x", "Squeeze; by=2", "squeeze; by=2, squeeze; by=2", "squeeze; by=2, x"])
@pytest.mark.parametrize("offered", [(), (Squeeze(),)])
def test_an_extension_that_was_not_offered_fails(value: str, offered: tuple[Squeeze, ...]) -> None:
    why = f"the server sends the Sec-WebSocket-Extensions {value!r}, which was not offered"
    assert failure(("Sec-WebSocket-Extensions", value), extensions=offered) == (why, None)


def test_extensions_of_the_server_that_do_not_parse_fail() -> None:
    why = "the server's Sec-WebSocket-Extensions does not parse: '' is not a token"
    assert failure(("Sec-WebSocket-Extensions", "squeeze;"), extensions=[Squeeze()]) == (why, None)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "name",
    [
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Protocol",
    ],
)
def test_a_failure_is_one_short_line_of_ascii(name: str, value: str) -> None:
    assert re.fullmatch(r"[ -~]{1,500}", failure((name, value))[0])
