"""What options can be: endpoints and the client check them alike, before anything is opened."""

from __future__ import annotations

import inspect
import math
import re
import subprocess
import sys
from typing import Any

import pytest

import geventws
from geventws import (
    InvalidStatus,
    PerMessageDeflate,
    WebSocketApplication,
    WebSocketMiddleware,
    WebSocketWSGI,
    connect,
    reconnect,
)
from geventws.engine.options import Timing

WRONG: list[tuple[str, Any, type[Exception], str]] = [
    ("max_message_size", -1, ValueError, "max_message_size is a number of bytes from 0 to 2 ** 63 - 1, not -1"),
    (
        "max_message_size",
        1 << 63,
        ValueError,
        "max_message_size is a number of bytes from 0 to 2 ** 63 - 1, not 9223372",
    ),
    ("max_message_size", None, TypeError, "max_message_size takes an int, not None"),
    ("max_message_size", math.inf, TypeError, "max_message_size takes an int, not inf"),
    ("max_message_size", "1 MB", TypeError, "max_message_size takes an int, not '1 MB'"),
    ("ping_interval", 0, ValueError, "ping_interval has to be above 0, not 0; None turns it off"),
    ("ping_interval", False, ValueError, "ping_interval has to be above 0, not False; None turns it off"),
    ("ping_interval", -1.5, ValueError, "ping_interval has to be above 0, not -1.5; None turns it off"),
    ("ping_interval", math.nan, ValueError, "ping_interval has to be above 0, not nan; None turns it off"),
    ("ping_interval", "x", TypeError, "ping_interval takes seconds or None, not 'x'"),
    ("ping_interval", [20], TypeError, r"ping_interval takes seconds or None, not \[20\]"),
    ("ping_timeout", 0, ValueError, "ping_timeout has to be above 0, not 0; None turns it off"),
    ("ping_timeout", "x", TypeError, "ping_timeout takes seconds or None, not 'x'"),
    ("close_timeout", -1, ValueError, "close_timeout has to be at least 0, not -1; None turns it off"),
    ("close_timeout", math.nan, ValueError, "close_timeout has to be at least 0, not nan; None turns it off"),
    ("close_timeout", "x", TypeError, "close_timeout takes seconds or None, not 'x'"),
    ("send_timeout", -1, ValueError, "send_timeout has to be at least 0, not -1; None turns it off"),
    ("send_timeout", {}, TypeError, "send_timeout takes seconds or None, not {}"),
    ("compression", "deflate", TypeError, "compression takes a PerMessageDeflate or None, not 'deflate'"),
    ("compression", True, TypeError, "compression takes a PerMessageDeflate or None, not True"),
    ("compression", False, TypeError, "compression takes a PerMessageDeflate or None, not False"),
    ("compression", PerMessageDeflate, TypeError, "compression takes a PerMessageDeflate or None, not <class"),
]


def serve_nobody(ws: Any) -> None:
    raise AssertionError("nobody connects")


def dial(**options: Any) -> None:
    connect("ws://127.0.0.1:1/", **options)


def redial(**options: Any) -> None:
    next(reconnect("ws://127.0.0.1:1/", **options))


def make_route(**options: Any) -> Any:
    return WebSocketWSGI(serve_nobody, **options)


@pytest.mark.parametrize(("option", "value", "error", "why"), WRONG)
@pytest.mark.parametrize("user", [dial, redial, make_route, WebSocketApplication])
def test_what_an_option_cannot_be(user: Any, option: str, value: Any, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=f"^{why.replace('**', '[*]{2}')}"):
        user(**{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_message_size", 0),
        ("max_message_size", (1 << 63) - 1),
        *((name, value) for name in Timing._fields for value in (None, 1, 0.001, math.inf)),
        ("close_timeout", 0),
        ("send_timeout", 0),
        ("compression", None),
        ("compression", PerMessageDeflate(level=1)),
        ("compression", PerMessageDeflate(client_max_window_bits=False)),
    ],
)
def test_what_an_option_can_be(option: str, value: Any) -> None:
    assert getattr(make_route(**{option: value}), option) == value
    with pytest.raises(ConnectionRefusedError):
        dial(**{option: value})


def test_clocks_set_later_are_looked_at_when_a_connection_gets_them() -> None:
    route = make_route()
    route.ping_interval = 5
    assert route.timing == Timing(ping_interval=5) and route.timing is route.timing
    route.ping_interval = 0
    with pytest.raises(ValueError, match="ping_interval"):
        _ = route.timing


def test_the_name_that_eventlet_has_for_the_limit_is_checked_alike() -> None:
    assert make_route(max_frame_length=5).max_message_size == 5
    with pytest.raises(ValueError, match="max_message_size is a number of bytes"):
        make_route(max_frame_length=-1)


def choose(environ: dict[str, Any]) -> PerMessageDeflate | None:
    return None if "Safari" in environ.get("HTTP_USER_AGENT", "") else PerMessageDeflate(server_max_window_bits=9)


class Listener(WebSocketApplication):
    def on_message(self, ws: Any, message: str) -> str:
        return message


def view(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    ws = environ["wsgi.websocket"]
    ws.send(ws.wait())
    return []


SITES = {
    "decorator": lambda: WebSocketWSGI(lambda ws: ws.send(ws.wait()), compression=choose),
    "callbacks": lambda: Listener(compression=choose),
    "middleware": lambda: WebSocketMiddleware(view, compression=choose),
}


@pytest.mark.parametrize("kind", SITES)
def test_compression_may_depend_on_the_request(serve: Any, kind: str) -> None:
    site = serve(SITES[kind]())
    for agent, agreed in (("Safari/605", None), ("Firefox/150", "server_max_window_bits=9")):
        with connect(f"ws://127.0.0.1:{site.port}/", headers={"User-Agent": agent}) as ws:
            answer = dict(ws.response_headers).get("Sec-WebSocket-Extensions")
            assert (agreed is None and answer is None) or agreed in answer
            ws.send("x" * 2000)
            assert ws.wait() == "x" * 2000


def test_a_function_that_returns_something_else_is_an_error_of_the_application(serve: Any, hub_errors: Any) -> None:
    site = serve(WebSocketWSGI(serve_nobody, compression=lambda environ: True))
    with pytest.raises(InvalidStatus) as refusal:
        connect(f"ws://127.0.0.1:{site.port}/")
    assert refusal.value.status == 500
    (error,) = hub_errors
    assert str(error) == "compression takes a PerMessageDeflate or None, not True"
    hub_errors.clear()


def test_a_client_does_not_take_a_function() -> None:
    with pytest.raises(TypeError, match="compression takes a PerMessageDeflate or None"):
        dial(compression=choose)


MISSPELT = [
    (dial, "connect"),
    (make_route, "WebSocketWSGI"),
    (lambda **options: WebSocketWSGI(**options)(serve_nobody), "WebSocketWSGI"),
    (WebSocketApplication, "WebSocketApplication"),
    (lambda **options: WebSocketMiddleware(print, **options), "WebSocketMiddleware"),
]


@pytest.mark.parametrize(("user", "name"), MISSPELT)
def test_a_misspelt_option_is_an_error_that_knows_the_right_name(user: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} takes no option 'ping_intervall'; did you mean ping_interval[?]$"):
        user(ping_intervall=30)
    with pytest.raises(TypeError, match=f"^{name} takes no option 'colour'$"):
        user(colour="red")


def test_a_misspelt_option_of_reconnect_is_an_error_in_its_first_step() -> None:
    with pytest.raises(TypeError, match="'open_timeut'; did you mean open_timeout[?]"):
        redial(open_timeut=1)


ENDPOINTS = [WebSocketWSGI, WebSocketApplication, WebSocketMiddleware]


@pytest.mark.parametrize("door", [*ENDPOINTS, connect, reconnect])
def test_help_says_which_options_there_are_and_what_they_mean(door: Any) -> None:
    text = inspect.getdoc(door) or ""
    named = inspect.signature(door).parameters
    assert {"max_message_size", "subprotocols", "compression", "headers"} <= set(named)
    for name, parameter in named.items():
        assert parameter.kind is not parameter.VAR_KEYWORD
        assert re.search(rf"^    {name}: \w", text, re.MULTILINE), name


@pytest.mark.parametrize("door", ENDPOINTS)
def test_every_option_is_an_attribute_of_an_endpoint(door: Any) -> None:
    endpoint = door(*([] if door is WebSocketApplication else [serve_nobody]))
    for name, parameter in inspect.signature(door).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert getattr(endpoint, name) == parameter.default


SOCKETS = {"WebSocket", "StreamingWebSocket", "CallbackWebSocket", "ClientWebSocket", "ClientStreamingWebSocket"}
MADE_BY_US = {*SOCKETS, "CloseCode", "Opcode", "Recovered", "RoomsError", "SAME_ORIGIN", "SendResult"}
"""Public names of what is never made by a caller."""


@pytest.mark.parametrize("name", sorted(set(geventws.__all__) - MADE_BY_US))
def test_help_names_all_that_a_public_name_takes(name: str) -> None:
    thing = getattr(geventws, name)
    try:
        named = inspect.signature(thing).parameters
    except ValueError:  # an exception without an __init__ of its own
        return
    told = re.findall(r"^    ([\w, ]+):", inspect.getdoc(thing) or "", re.MULTILINE)
    assert set(named) <= {name for names in told for name in names.split(", ")}


def test_without_docstrings_everything_goes_on() -> None:
    code = "import geventws; print(geventws.connect.__doc__, geventws.WebSocketWSGI(print).ping_interval)"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True)
    assert done.stdout == "None 20.0\n", done.stderr
