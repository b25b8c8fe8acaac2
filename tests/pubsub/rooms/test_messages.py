"""The codec of the protocol for rooms: both directions, with orjson and without, and all that is wrong."""

from __future__ import annotations

import json
import re
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.sources import PROJECT

import geventws.protocol.json as json_library
from geventws.pubsub.rooms import messages
from geventws.pubsub.rooms.messages import (
    Error,
    Gap,
    Join,
    Leave,
    MalformedMessage,
    Member,
    Members,
    Ping,
    Pong,
    Presence,
    Publish,
    Published,
    RoomMessage,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    decode_reply,
    decode_request,
    encode,
)


@pytest.fixture(params=["orjson", "json"], autouse=True, scope="module")
def library(request: Any) -> Any:
    """Run each test with both."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "json":
            patch.setattr(json_library, "orjson", None)
        else:
            assert json_library.orjson is not None
        yield request.param


REQUESTS = [
    (Subscribe(1, "room:7"), {"type": "subscribe", "id": 1, "topic": "room:7"}),
    (Subscribe(2**53 - 1, "ü 😀", "", True), {"type": "subscribe", "id": 2**53 - 1, "topic": "ü 😀", "since": "",
                                             "presence": True}),
    (Unsubscribe(2, "a"), {"type": "unsubscribe", "id": 2, "topic": "a"}),
    (Publish(3, "a", ""), {"type": "publish", "id": 3, "topic": "a", "data": ""}),
    (Publish(3, "a", b"\x00\xff"), {"type": "publish", "id": 3, "topic": "a", "base64": "AP8="}),
    (Publish(3, "a", b""), {"type": "publish", "id": 3, "topic": "a", "base64": ""}),
    (Presence(4, "a"), {"type": "presence", "id": 4, "topic": "a"}),
    (Ping(5), {"type": "ping", "id": 5}),
]  # fmt: skip
REPLIES = [
    (Subscribed(1, "a"), {"type": "subscribed", "id": 1, "topic": "a"}),
    (Subscribed(1, "a", "e:0", (Member("ana"), Member("ben", [1]))),
     {"type": "subscribed", "id": 1, "topic": "a", "position": "e:0",
      "members": [{"member": "ana", "info": None}, {"member": "ben", "info": [1]}]}),
    (Unsubscribed(2, "a"), {"type": "unsubscribed", "id": 2, "topic": "a"}),
    (Published(3, "a"), {"type": "published", "id": 3, "topic": "a"}),
    (Members(4, "a", ()), {"type": "presence", "id": 4, "topic": "a", "members": []}),
    (Pong(5), {"type": "pong", "id": 5}),
    (Error(6, "forbidden", ""), {"type": "error", "id": 6, "code": "forbidden", "message": ""}),
    (RoomMessage("a", "b"), {"type": "message", "topic": "a", "data": "b"}),
    (RoomMessage("a", b"b", "e:1"), {"type": "message", "topic": "a", "base64": "Yg==", "position": "e:1"}),
    (Gap("a"), {"type": "gap", "topic": "a"}),
    (Gap("a", "e:2"), {"type": "gap", "topic": "a", "position": "e:2"}),
    (Join("a", "ana", {"x": 1}), {"type": "join", "topic": "a", "member": "ana", "info": {"x": 1}}),
    (Join("a", "ana"), {"type": "join", "topic": "a", "member": "ana", "info": None}),
    (Join("a", "ana", False), {"type": "join", "topic": "a", "member": "ana", "info": False}),
    (Leave("a", "ana"), {"type": "leave", "topic": "a", "member": "ana"}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "fields"), [*REQUESTS, *REPLIES], ids=lambda value: type(value).__name__)
def test_a_message_is_an_object_and_comes_back(message: Any, fields: dict[str, Any]) -> None:
    assert json.loads(encode(message)) == fields
    decode = decode_request if (message, fields) in REQUESTS else decode_reply
    for text in (encode(message), json.dumps(fields), json.dumps(fields, indent=1)):
        again = decode(text)
        assert again == message and type(again) is type(message)
        assert decode(json.dumps({**fields, "later": [{"x": None}], "": 1})) == message, "what is unknown is ignored"


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(topic=texts.filter(bool), data=texts | st.binary(), position=st.none() | texts)
def test_anything_that_is_published_comes_back(topic: str, data: str | bytes, position: str | None) -> None:
    assert decode_request(encode(Publish(1, topic, data))) == Publish(1, topic, data)
    assert decode_reply(encode(RoomMessage(topic, data, position))) == RoomMessage(topic, data, position)


MALFORMED = [
    "", " ", "x", "null", "1", '"ping"', "[]", '[{"type": "ping", "id": 1}]', "{}", '{"id": 1}',
    '{"type": null, "id": 1}', '{"type": 1, "id": 1}', '{"type": ["ping"], "id": 1}', '{"type": "ping"}',
    '{"type": "ping", "id": 0}', '{"type": "ping", "id": -1}', '{"type": "ping", "id": 9007199254740992}',
    '{"type": "ping", "id": 1.0}', '{"type": "ping", "id": "1"}', '{"type": "ping", "id": true}',
    '{"type": "ping", "id": null}', '{"type": "ping", "id": 1', '{"type": "ping", "id": 1}}', "{'type': 'ping'}",
    '{"type": "ping", "id": NaN}', '{"type": "ping", "id": 1, "x": NaN}', '{"type": "ping", "id": 1, "x": Infinity}',
    '{"type": "ping", "id": 1, "x": "\\ud800"}', '{"type": "ping", "id": 1, "\\uDFFF": 1}', "\ufeff" '{"type": "ping"}',
    '{"type": "ping", "id": 1, "x": "a\nb"}', '{"type": "ping", "id": 1,}', '{"type": "ping", "id": 01}', '"' * 999,
    "[" * 50_000, '{"":' * 10_000, '{"type": "ping", "id": 1, "x": ' + "[" * 250 + "]" * 250 + "}" + " " * 20,
    '{"type": "ping", "id": ' + "1" * 500 + "}", '{"type": "ping", "id": 1, "x": [' + "1," * 300 + "1]}", "\\" * 999,
    '{"type": "ping", "id": ' + "9" * 64_000 + "}", '{"type": "ping", "id": 1, "x": "' + '\\"' * 300 + "}",
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: text[:40])
def test_what_is_no_message_at_all(text: str) -> None:
    with pytest.raises(MalformedMessage):
        decode_request(text)


WRONG = [
    ({"type": "Subscribe"}, "unknown_type", "no such request"),
    ({"type": ""}, "unknown_type", "no such request"),
    ({"type": "subscribed", "topic": "a"}, "unknown_type", "no such request"),
    ({"type": "message", "topic": "a", "data": "x"}, "unknown_type", "no such request"),
    ({"type": "subscribe"}, "bad_request", "topic is missing"),
    ({"type": "subscribe", "topic": ""}, "bad_request", "topic is not a string of at least one character"),
    ({"type": "subscribe", "topic": None}, "bad_request", "topic is not"),
    ({"type": "subscribe", "topic": ["a"]}, "bad_request", "topic is not"),
    ({"type": "subscribe", "topic": "a", "since": None}, "bad_request", "since is not a string"),
    ({"type": "subscribe", "topic": "a", "since": 7}, "bad_request", "since is not a string"),
    ({"type": "subscribe", "topic": "a", "presence": 1}, "bad_request", "presence is not a boolean"),
    ({"type": "publish", "topic": "a"}, "bad_request", "either data or base64"),
    ({"type": "publish", "data": "a"}, "bad_request", "topic is missing"),
    ({"type": "publish", "topic": "a", "data": {"x": 1}}, "bad_request", "either data or base64"),
    ({"type": "publish", "topic": "a", "data": "", "base64": ""}, "bad_request", "either data or base64"),
    ({"type": "publish", "topic": "a", "data": None, "base64": ""}, "bad_request", "either data or base64"),
    ({"type": "publish", "topic": "a", "data": "x", "base64": None}, "bad_request", "either data or base64"),
    ({"type": "publish", "topic": "a", "base64": 1}, "bad_request", "either data or base64"),
    *[({"type": "publish", "topic": "a", "base64": text}, "bad_request", "valid, padded")
      for text in
      ("a", "ab", "YQ", "YQ=", "YQ===", "YR==", "Y Q==", "YQ==\n", "YQ==YQ==", "_-8=", "ä", "=")],
]  # fmt: skip


@pytest.mark.parametrize(("fields", "code", "why"), WRONG, ids=str)
def test_what_is_wrong_with_a_request(fields: dict[str, Any], code: str, why: str) -> None:
    with pytest.raises(messages.BadRequest, match=why) as caught:
        decode_request(json.dumps({**fields, "id": 7}))
    error = caught.value.error
    assert (error.code, error.id) == (code, 7) and error.message == str(caught.value)
    assert decode_reply(encode(error)) == error


@pytest.mark.parametrize("text", [
    "", "[]", '{"type": 1}', '{"type": "message", "topic": "a"}', '{"type": "gap"}', '{"type": "pong", "id": 0}',
    '{"type": "error", "code": "x", "message": ""}', '{"type": "error", "code": "x", "message": "", "id": null}',
    '{"type": "subscribed", "id": 1, "topic": "a", "position": null}',
    '{"type": "presence", "id": 1, "topic": "a"}', '{"type": "presence", "id": 1, "topic": "a", "members": {}}',
    '{"type": "presence", "id": 1, "topic": "a", "members": ["ana"]}',
    '{"type": "presence", "id": 1, "topic": "a", "members": [{"info": 1}]}',
    '{"type": "join", "topic": "a", "member": 1, "info": null}', '{"type": "message", "topic": "a", "data": "\\ud800"}',
])  # fmt: skip
def test_what_is_wrong_with_a_reply(text: str) -> None:
    with pytest.raises(MalformedMessage):
        decode_reply(text)


def test_a_client_ignores_replies_that_it_does_not_know() -> None:
    assert decode_reply('{"type": "later", "x": [[]]}') is None
    assert decode_reply('{"type": "subscribe", "id": 1, "topic": "a"}') is None


def test_text_does_not_count_as_structure() -> None:
    data = 'a"\\\n\\"[{,:' * 5_000
    assert decode_request(encode(Publish(1, "a", data))) == Publish(1, "a", data)
    assert decode_request('{"type": "ping", "id": 1' + " " * 480 + "}") == Ping(1)


@pytest.mark.parametrize("broken", [
    Publish(1, "a", "\ud800"), Publish(1, "\ud800", "x"), Subscribe(1, "a", "\udfff"), Join("a", "b", {"x": "\ud800"}),
    Join("a", "b", object()), Join("a", "b", {1, 2}),
])  # fmt: skip
def test_what_cannot_be_said(broken: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode(broken)


def test_a_request_costs_little_more_memory_than_its_text() -> None:
    bomb = '{"type": "ping", "id": 1, "x": [' + "[]," * 20_000 + "[]]}"
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage):
            decode_request(bomb)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(bomb)
    finally:
        tracemalloc.stop()


PAGE = (PROJECT / "docs" / "rooms-protocol.rst").read_text()


def test_the_page_has_every_type_code_and_number() -> None:
    for name in (*messages.REQUESTS, *messages.REPLIES, *[code for code in vars(messages).values() if is_code(code)]):
        assert f"``{name}``" in PAGE or f'"{name}"' in PAGE
    assert f"at most {messages.MOST_STRUCTURE} characters" in PAGE and messages.SUBPROTOCOL in PAGE
    assert 2**53 - 1 == messages.MOST_ID


def is_code(value: object) -> bool:
    return isinstance(value, str) and value in ("bad_request", "unknown_type", "forbidden", "limit", "failed")


def test_the_messages_on_the_page_are_messages() -> None:
    sent = re.findall(r"^ +> (\{.*\})$", PAGE, re.MULTILINE)
    received = re.findall(r"^ +< (\{.*\})$", PAGE, re.MULTILINE)
    alone = re.findall(r"^    (\{.*\})$", PAGE, re.MULTILINE)
    assert (len(sent), len(received), len(alone)) == (3, 8, 2)
    for text in (*sent, alone[0]):
        assert json.loads(encode(decode_request(text))) == json.loads(text)
    for text in (*received, alone[1]):
        reply = decode_reply(text)
        assert reply is not None and json.loads(encode(reply)) == json.loads(text)
