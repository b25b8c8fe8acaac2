"""Nobody forges a line of a log: whatever a peer says, each record is one printable line, and short.

The log calls are read from the source, and each is provoked here by a peer that puts `FORGED` wherever it may. A log
call without a scenario fails; so does a class of errors without one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import flask
import gevent
import pytest
from kit import frames
from kit.clients import handshake
from kit.handshakes import KEY
from kit.servers.worker import serving_as_worker
from kit.sites.buses import hear_of_topic, meet_redis
from kit.sites.forged import FORGED, PATH, REASON, check
from kit.sources import find_log_calls
from werkzeug.middleware.proxy_fix import ProxyFix

import geventws
from geventws.compat import pulsar, pulsar04, wsocket
from geventws.flask import Sock

# ---- one scenario for each log call


def fail(*_arguments: Any) -> None:
    raise ValueError("ours")


def refused(serve: Any) -> None:
    site = serve(geventws.WebSocketWSGI(fail, origins=[]))
    with site.dial() as client:
        client.send(handshake(PATH, origin="http://forged\x1b[2J\x85'\"" + "x" * 3000))
        client.read_head()


def handler_failed(serve: Any) -> None:
    serve(geventws.WebSocketWSGI(fail)).connect(PATH).expect_close(1011)


def application_failed(serve: Any) -> None:
    def app(environ, start_response):
        environ["wsgi.websocket"].send("")
        fail()

    client = serve(geventws.WebSocketMiddleware(app)).connect(PATH)
    client.expect(b"\x81\x00")
    client.expect_close(1011)


def callback_failed(serve: Any) -> None:
    class App(geventws.WebSocketApplication):
        on_open = fail

    serve(App()).connect(PATH).expect_close(1011)


def on_error_failed(serve: Any) -> None:
    class App(geventws.WebSocketApplication):
        on_open = on_error = fail

    serve(App()).connect(PATH).expect_close(1011)


def breach(serve: Any) -> None:
    serve(geventws.WebSocketWSGI(list)).connect(PATH, b"\xf1\x80" + frames.MASK_KEY).expect_close(1002, None)


def internal_error(serve: Any) -> None:
    """A connection whose own callback fails."""

    def broken(opcode: int, payload: bytes) -> None:
        raise ValueError(FORGED)

    def handler(ws: Any) -> None:
        ws._connection.keepalive.on_control = broken
        ws.send("")
        list(ws)

    client = serve(geventws.WebSocketWSGI(handler)).connect(PATH)
    client.expect(b"\x81\x00")
    client.send(frames.frame(frames.PING))
    client.expect(b"\x8a\x00")
    client.expect_close(1011, None)


def dead(serve: Any) -> None:
    serve(geventws.WebSocketWSGI(list, ping_interval=0.02, ping_timeout=0.02)).connect(PATH).rest()


def never_reads(serve: Any) -> None:
    def pour(ws):
        ws.send(b"x" * 5_000_000)

    site = serve(geventws.WebSocketWSGI(pour, send_timeout=0.1))
    site.connect(PATH, receive_buffer=4096)
    site.settle()


def subscriber_is_slow(serve: Any) -> None:
    pubsub = geventws.PubSub(max_queue=1)
    site = serve(geventws.WebSocketWSGI(lambda ws: pubsub.subscribe(ws, "room") and ws.wait(), close_timeout=0.1))
    site.connect(PATH, receive_buffer=4096)
    while not pubsub.stats.abandoned:
        gevent.sleep(0)
        pubsub.publish("room", b"x" * 500_000)
    site.settle()


def authorize_failed(serve: Any) -> None:
    site = serve(geventws.PubSub().endpoint(fail))
    request = json.dumps({"type": "subscribe", "id": 1, "topic": FORGED})
    client = site.connect(PATH, frames.text(request), sec_websocket_protocol="geventws.rooms.v1")
    assert "failed" in client.read_message()


def on_close_failed(serve: Any) -> None:
    handler = type("Handler", (pulsar.ws.WS,), {"on_close": fail})()
    site = serve(pulsar.wsgi.WsgiHandler([pulsar.ws.WebSocket("/<path:any>", handler)]))
    site.connect(PATH.replace("%0A", "")).leave(1000, REASON)  # whose routes match no line end
    site.settle()


def on_close_failed_in_0_4(serve: Any) -> None:
    handler = type("Handler", (pulsar04.ws.WS,), {"on_close": fail})()
    site = serve(pulsar04.wsgi.WsgiHandler(middleware=[pulsar04.ws.WebSocket(handle=handler)]))
    site.connect(PATH).leave(1000, REASON)
    site.settle()


def wsocket_app(serve: Any, **events: Any) -> None:
    app = wsocket.WSocketApp()
    for name, function in events.items():
        setattr(app, name, function)
    site = serve(app)
    client = site.connect(PATH)
    if not events:
        assert client.read_message() == "you connected"
    client.leave(1000, REASON)
    site.settle()


def event_failed(serve: Any) -> None:
    wsocket_app(serve, onconnect=fail)


def closed(serve: Any) -> None:
    wsocket_app(serve)


def reconnects(serve: Any) -> None:
    def app(environ, start_response):
        start_response("302 Found", [("Location", "http://127.0.0.1:1" + PATH)])
        return [b""]

    port = serve(app).port
    with pytest.raises(OSError):
        list(geventws.reconnect(f"ws://127.0.0.1:{port}{PATH}", initial_delay=0.0, max_delay=0.0, max_attempts=2))


def failed_under_gunicorn(serve: Any) -> None:
    with serving_as_worker(serve, fail) as site:
        exchange(site, f"GET {PATH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())


def without_sockets(_serve: Any) -> None:
    app = flask.Flask(__name__)
    Sock(app).route("/<path>")(lambda ws, path: None)
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}
    assert app.test_client().get("/%1B%5B2J%00" + "x" * 3000, headers=headers).status_code == 501


def session_changed_too_late(serve: Any) -> None:
    app = flask.Flask(__name__)
    app.secret_key = "of the test"
    Sock(app).route("/<path:path>")(lambda ws, path: flask.session.update(seen=True))
    site = serve(app)
    site.connect(PATH.replace("%0A", "")).expect_close(1000)  # Werkzeug's routes match no line end
    site.settle()


SCENARIOS: dict[tuple[str, str], Callable[[Any], None]] = {
    ("endpoints.endpoint", "%s %s refused with %d: %s%s"): refused,
    ("endpoints.decorator", "%s: the handler failed"): handler_failed,
    ("endpoints.middleware", "%s: the application failed"): application_failed,
    ("endpoints.callbacks", "%s: a callback failed"): callback_failed,
    ("endpoints.callbacks", "%s: on_error failed"): on_error_failed,
    ("engine.closing", "%s: closed with %d: %s"): breach,
    ("engine.loop.poller", "%s: an internal error"): internal_error,
    ("engine.connection", "%s sent nothing for %g s after a ping (ping_timeout)"): dead,
    ("engine.connection", "%s took less than 64 KB in %g s (send_timeout): aborted"): never_reads,
    ("engine.published.outlet", "%s: closed with %d: too slow for what is published to it"): subscriber_is_slow,
    ("pubsub.rooms.session", "%s: %s of PubSub.endpoint failed"): authorize_failed,
    ("compat.pulsar.protocol", "%s: on_close failed"): on_close_failed,
    ("compat.pulsar04", "%s: on_close failed"): on_close_failed_in_0_4,
    ("compat.wsocket", "%r failed"): event_failed,
    ("compat.wsocket", "%s: closed: %s"): closed,
    ("endpoints.views", "%s"): without_sockets,
    ("flask", "%s: the session was changed after it had been saved for the 101: the change is lost"): (
        session_changed_too_late
    ),
    ("gunicorn", "Error handling request %s"): failed_under_gunicorn,
    ("pubsub.bus.arrivals", "a message to topic %s was skipped: %s; further ones are only counted"): (
        lambda _serve: hear_of_topic(FORGED * 100)
    ),
    ("pubsub.bus.asker", "Redis has refused a command: %s"): lambda _serve: meet_redis(FORGED),
    ("pubsub.bus.state", "the bus is down: %s: %s"): lambda _serve: meet_redis(FORGED),
    ("pubsub.bus.state", "the bus is up again: %s"): lambda _serve: meet_redis(FORGED),
    ("client.reconnection", "%s: %s; the next attempt follows in %.1f s"): reconnects,
}


STACKS = {("cli.watchdog", "the loop, and every connection, has been held up for %g s by:\n%s")}
"""What shows a stack: lines of programs on this machine, and no word of a peer's."""


def test_every_log_call_has_a_scenario() -> None:
    assert {call for call in find_log_calls() if "%s" in call[1] or "%r" in call[1]} == set(SCENARIOS) | STACKS


@pytest.mark.parametrize("call", SCENARIOS, ids=": ".join)
def test_a_log_record_is_one_short_line(serve, caplog: pytest.LogCaptureFixture, call: tuple[str, str]) -> None:
    caplog.set_level(logging.DEBUG, "geventws")
    SCENARIOS[call](serve)
    assert call[1] in {record.msg for record in caplog.records}
    for record in caplog.records:
        check(record.getMessage())


def test_a_proxys_word_for_an_address_is_one_word(serve, log) -> None:
    site = serve(ProxyFix(geventws.WebSocketWSGI(fail)))
    for address in ("198.51.100.7 refused\x1b[2J", "x" * 3000, "::1"):
        site.connect("/", more=[("X-Forwarded-For", address)]).expect_close(1011)
    names = [record.getMessage() for record in log()]
    assert names[0].startswith(r"'198.51.100.7 refused\x1b[2J' /: ") and names[2].startswith("::1 /: ")
    for name in names:
        check(name)


# ---- names


def test_a_connection_is_shown_in_one_short_line(serve) -> None:
    shown: list[str] = []

    class App(geventws.WebSocketApplication):
        def on_open(self, ws):
            shown.append(repr(ws))

    def handle(ws) -> None:
        shown.append(repr(ws))
        assert ws.path.startswith("/\r\n2026") and ws.wait() is None
        assert ws.close_reason == REASON
        shown.append(repr(ws))

    def app(environ, start_response):
        shown.append(repr(environ["wsgi.websocket"]))
        handle(environ["wsgi.websocket"])
        return []

    for application in (geventws.WebSocketWSGI(handle), App(), geventws.WebSocketMiddleware(app)):
        serve(application).connect(PATH).leave(1000, REASON)
    assert len(shown) == 6
    for text in shown:
        check(text)
        assert r"/\r\n2026-01-01 INFO forged\x1b" in text


def test_a_plain_connection_is_shown_as_it_is(inside) -> None:
    assert inside(repr, path="/chat/1") == "<WebSocket 127.0.0.1 /chat/1 open>"


def test_a_client_is_shown_in_one_short_line(serve) -> None:
    site = serve(geventws.WebSocketWSGI(lambda ws: ws.close(4000, REASON[:120])))
    with geventws.connect(f"ws://127.0.0.1:{site.port}{PATH}") as ws:
        check(repr(ws))
        assert ws.wait() is None and ws.close_reason == REASON[:120]
        with pytest.raises(geventws.ConnectionClosed) as caught:
            ws.send("")
    check(str(caught.value))
    assert caught.value.reason == ws.close_reason


# ---- the logs of WebSocketServer


def exchange(site: Any, request: bytes) -> None:
    with site.dial() as client:
        client.send(request)
        client.rest()
    site.settle()


REQUESTS = {
    "target": b'GET /"\x1b[2J\x85\\ 200 - "-" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    "long target": b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "method": b"G\x1b[2J\x0bT / HTTP/1.1\r\nHost: a\r\n\r\n",
    "version": b"GET / HTTP/\x1b[2J" + b"9" * 3000 + b"\r\nHost: a\r\n\r\n",
    "field": b"GET / HTTP/1.1\r\nHost: a\r\nX\x1b[2J" + b"x" * 5000 + b": b\r\n\r\n",
    "length": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\x1b[2J" + b"9" * 5000 + b"\r\n\r\n",
    "coding": b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x1b[2J" + b"x" * 5000 + b"\r\n\r\n",
    "refused": handshake('/"\\' + PATH, origin="http://\x1b[2J\xe9" + "x" * 3000, user_agent="\x1b[2J"),
    "accepted": handshake('/"\\' + PATH, host="\x1b[2J\xe9" + "x" * 3000) + frames.close(1000, REASON),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_our_servers_lines_are_printable_and_short(serve, name: str, log) -> None:
    site = serve(geventws.WebSocketWSGI(list), server_class=geventws.WebSocketServer)
    exchange(site, REQUESTS[name])
    lines = site.access.wait()
    assert len(lines) == 1 and len(lines[0]) < 9000
    assert lines[0].isprintable()
    quotes = lines[0].replace(r"\\", "").replace(r"\"", "").count('"')
    assert quotes == 2
    for line in [*site.errors, *(record.getMessage() for record in log())]:
        check(line)
