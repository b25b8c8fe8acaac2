"""json.py: send_json and wait_json, the same with orjson and without."""

from __future__ import annotations

import datetime
import math
import sys

import pytest
from kit import frames

import geventws.protocol.json as messages
from geventws import ConnectionClosed

VALUES = [
    None,
    True,
    0,
    -1.5,
    2**80,
    "",
    'quote " and \\ and \x00',
    "grüße, 世界 😀",
    [],
    {},
    {"list": [1, [2, {"three": None}]], "text": "a"},
]


@pytest.fixture(params=["orjson", "json"], autouse=True)
def library(request, monkeypatch):
    """Run each test with both."""
    if request.param == "json":
        monkeypatch.setattr(messages, "orjson", None)
    else:
        assert messages.orjson is sys.modules["orjson"]
    return request.param


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_round_trip(value, library):
    if value == 2**80 and library == "orjson":
        assert math.isclose(messages.decode(messages.encode(value)), value)  # it reads large integers as floats
    else:
        assert messages.decode(messages.encode(value)) == value


def test_text_is_compact():
    assert messages.encode({"a": [1, 2], "b": "ü"}) == '{"a":[1,2],"b":"ü"}'


def test_what_is_no_string_as_a_key():
    assert messages.encode({1: 2, None: 3, False: 4}) == '{"1":2,"null":3,"false":4}'


def test_default():
    assert messages.encode({"a": {1}}, default=list) == '{"a":[1]}'


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", {"a": {1}}], ids=["object", "set", "bytes", "inner"])
def test_what_cannot_be_said(value):
    with pytest.raises(TypeError):
        messages.encode(value)


def test_nan_is_never_sent(library):
    if library == "orjson":
        assert messages.encode([math.nan, math.inf]) == "[null,null]"
    else:
        with pytest.raises(ValueError):
            messages.encode(math.nan)


def test_value_that_holds_itself():
    value: list = []
    value.append(value)
    with pytest.raises((TypeError, ValueError)):
        messages.encode(value)


@pytest.mark.parametrize("deep", [10_000, 200_000])
def test_nesting_is_bounded(deep):
    with pytest.raises(ValueError):
        messages.decode("[" * deep + "]" * deep)
    nested: list = []
    for _ in range(deep):
        nested = [nested]
    with pytest.raises((TypeError, ValueError)):
        messages.encode(nested)
    while nested:
        nested = nested.pop()


NO_JSON = ["", "{", "[1,]", "NaN", "-Infinity", "'a'", b"\xff", b'"\xff"', "1 2", '{"a"}']


@pytest.mark.parametrize("message", NO_JSON, ids=repr)
def test_what_is_no_json(message):
    with pytest.raises(ValueError):
        messages.decode(message)


def test_binary_messages_are_read():
    assert messages.decode(b'{"a":"\xc3\xbc"}') == {"a": "ü"}


def test_orjson_knows_more_types(library):
    if library == "orjson":
        assert messages.encode(datetime.date(2026, 1, 2)) == '"2026-01-02"'
    else:
        with pytest.raises(TypeError):
            messages.encode(datetime.date(2026, 1, 2))


def test_over_a_connection(inside):
    def handler(ws):
        events = []
        ws.send_json({"hello": ["world"]})
        events.append(ws.wait_json())
        with pytest.raises(ValueError):
            ws.wait_json()
        with pytest.raises(TimeoutError):
            ws.wait_json(timeout=0)
        ws.send_json("go on")
        events += [ws.wait_json(), ws.wait_json(), ws.wait_json()]
        with pytest.raises(ConnectionClosed):
            ws.send_json(None)
        return events

    def client(client):
        client.expect(b'\x81\x13{"hello":["world"]}')
        client.send(frames.text('{"a": 1}') + frames.text("no json"))
        assert client.read_message() == '"go on"'
        client.send(frames.binary(b"[]"))
        client.leave()

    assert inside(handler, client) == [{"a": 1}, [], None, None]
