"""Refusals as they are on the wire, handshakes that are fine, and both behind middleware."""

from __future__ import annotations

import logging

import gevent
import pytest
from kit import frames
from kit.clients import Answer, handshake
from kit.handshakes import KEY

from geventws import WebSocketWSGI

LEAVES_OUT = dict.fromkeys(("upgrade", "connection", "sec_websocket_key", "sec_websocket_version"))
VERSIONS = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13, 8")]


@WebSocketWSGI
def echo(ws):
    for message in ws:
        ws.send(message)


def refusal(site, data: bytes) -> tuple[Answer, str]:
    """Return the one answer to `data`, which must end the connection."""
    client = site.dial()
    client.send(data)
    answer = client.read_head()
    body = client.rest()
    assert len(body) == int(answer.get("content-length")) and body.endswith(b"\n")
    client.close()
    site.settle()
    return answer, body.decode().rstrip("\n")


def complaints(site) -> list[str]:
    """Return what pywsgi's error log has, but for its own word on chunks that are none."""
    return [line for line in site.errors if "chunk" not in line and "Non-hex data" not in line]


# Refusals

REFUSALS = {
    "a page": (LEAVES_OUT, "400 Bad Request", [], "asks for no WebSocket"),
    "no upgrade": ({"upgrade": None}, "400 Bad Request", [], "no Upgrade"),
    "other upgrade": ({"upgrade": "h2c"}, "400 Bad Request", [], "h2c"),
    "no connection": ({"connection": None}, "400 Bad Request", [], "no Connection"),
    "other connection": ({"connection": "keep-alive"}, "400 Bad Request", [], "keep-alive"),
    "not a token": ({"connection": "notupgrade"}, "400 Bad Request", [], "notupgrade"),
    "http 1.0": ({"version": "HTTP/1.0"}, "400 Bad Request", [], "HTTP/1.0"),
    "http 1.1.1": ({"version": "HTTP/1.1.1"}, "400 Bad Request", [], "HTTP/1.1.1"),
    "two hosts": ({"more": [("Host", "b")]}, "400 Bad Request", [], "there are two"),
    "no host": ({"host": "a/b"}, "400 Bad Request", [], "'a/b' is not valid"),
    "post": ({"method": "POST"}, "405 Method Not Allowed", [("Allow", "GET")], "POST"),
    "head": ({"method": "DELETE"}, "405 Method Not Allowed", [("Allow", "GET")], "DELETE"),
    "version 12": ({"sec_websocket_version": "12"}, "426 Upgrade Required", VERSIONS, "'12'"),
    "version 7": ({"sec_websocket_version": "7"}, "426 Upgrade Required", VERSIONS, "'7'"),
    "two versions": ({"sec_websocket_version": "13, 8"}, "426 Upgrade Required", VERSIONS, "'13, 8'"),
    "no version": ({"sec_websocket_version": None}, "426 Upgrade Required", VERSIONS, "support_legacy_versions"),
    "no key": ({"sec_websocket_key": None}, "400 Bad Request", [], "no Sec-WebSocket-Key"),
    "short key": ({"sec_websocket_key": "dGhl"}, "400 Bad Request", [], "16 bytes"),
    "no base64": ({"sec_websocket_key": "*" * 22 + "=="}, "400 Bad Request", [], "16 bytes"),
    "two keys": ({"more": [("Sec-WebSocket-Key", KEY)]}, "400 Bad Request", [], "more than one"),
    "origin": ({"origin": "http://evil.example"}, "403 Forbidden", [], "evil.example"),
    "null origin": ({"origin": "null"}, "403 Forbidden", [], "null"),
    "bad subprotocols": ({"sec_websocket_protocol": "a b"}, "400 Bad Request", [], "Sec-WebSocket-Protocol"),
    "length": ({"content_length": "5"}, "400 Bad Request", [], "Content-Length"),
    "chunked": ({"transfer_encoding": "chunked"}, "400 Bad Request", [], "Transfer-Encoding"),
}


@pytest.mark.parametrize(("changed", "status", "headers", "why"), REFUSALS.values(), ids=REFUSALS)
def test_refusal_is_an_http_answer_and_one_log_line(serve, log, changed, status, headers, why):
    site = serve(echo)
    answer, body = refusal(site, handshake("/room", **changed))
    assert answer.status == f"HTTP/1.1 {status}"
    assert answer.headers == [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body) + 1)),
        ("Connection", "close"),
        *headers,
    ]
    assert why in body and "\n" not in body
    (record,) = log()
    assert record.levelno == logging.WARNING and record.exc_info is None
    line = record.getMessage()
    assert body in line and status[:3] in line and "/room" in line and "127.0.0.1" in line and "\n" not in line
    (access,) = site.access
    assert f'" {status[:3]} ' in access and complaints(site) == []


def test_refusal_names_the_option_that_decides(serve, log):
    refusal(serve(echo), handshake(origin="http://evil.example"))
    assert "(option: origins)" in log()[0].getMessage()


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x80", "\xff", "\t"])
def test_what_the_client_wrote_is_shown_on_one_clean_line(serve, log, character):
    answer, body = refusal(serve(echo), handshake(origin=f"http://a{character}b"))
    assert answer.status == "HTTP/1.1 403 Forbidden"
    assert body.isprintable() and log()[0].getMessage().isprintable()


@pytest.mark.parametrize("behind", [b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n", frames.text("frame"), handshake()])
def test_nothing_behind_a_refused_request_is_taken_for_another(serve, behind):
    site = serve(echo)
    answer, _ = refusal(site, handshake(sec_websocket_version="12") + behind)
    assert answer.status == "HTTP/1.1 426 Upgrade Required"
    assert len(site.access) == 1 and site.errors == []


BODIES = {
    "never sent": ({"content_length": "5"}, b""),
    "begun": ({"content_length": "50"}, b"hello"),
    "sent": ({"content_length": "5"}, b"hello"),
    "a request": ({"content_length": "5"}, b"hello" + handshake()),
    "chunks": ({"transfer_encoding": "chunked"}, b"5\r\nhello\r\n0\r\n\r\n"),
    "frames for chunks": ({"transfer_encoding": "chunked"}, frames.text("hello")),
    "long": ({"content_length": "1000000"}, b"x" * 1000000),
    "asks first": ({"content_length": "5", "expect": "100-continue"}, b""),
}


@pytest.mark.parametrize("changed, body", BODIES.values(), ids=BODIES)
def test_body_on_an_upgrade_is_refused_and_neither_hangs_nor_is_parsed(serve, log, changed, body):
    site = serve(echo)
    answer, why = refusal(site, handshake(**changed) + body)
    assert answer.status == "HTTP/1.1 400 Bad Request" and "body" in why
    assert len(log()) == len(site.access) == 1 and complaints(site) == []


def test_content_length_0_is_no_body(serve):
    serve(echo).connect(content_length="0", frames=frames.text("a")).expect(b"\x81\x01a")


@pytest.mark.parametrize(
    "changed",
    [
        {"upgrade": "WebSocket"},
        {"connection": "keep-alive, UPGRADE"},
        {"upgrade": "h2c, websocket", "connection": "keep-alive, Upgrade"},  # no upgrade in pywsgi's eyes
        {"sec_websocket_version": "8"},
        {"sec_websocket_extensions": 'nonsense; "'},
        {"more": [("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "b")]},
    ],
)
def test_handshakes_that_are_fine(serve, changed):
    client = serve(echo).connect(frames=frames.text("early"), **changed)
    client.expect(b"\x81\x05early")
    client.leave()


def test_handshake_byte_by_byte(serve):
    client = serve(echo).dial()
    for byte in handshake() + frames.text("slow"):
        client.send(bytes((byte,)))
        gevent.sleep(0)
    client.read_head()
    client.expect(b"\x81\x04slow")
    client.leave()


# Middleware


def wrapping_start_response(application):
    def middleware(environ, start_response):
        def start(status, headers, exc_info=None):
            return start_response(status, [*headers, ("X-Middleware", "was here")], exc_info)

        return application(environ, start)

    return middleware


def wrapping_write(application):
    def middleware(environ, start_response):
        def start(status, headers, exc_info=None):
            write = start_response(status, headers, exc_info)
            return lambda data: write(data)

        return application(environ, start)

    return middleware


def a_generator(application):
    def middleware(environ, start_response):
        yield from application(environ, start_response)

    return middleware


def a_list(application):
    return lambda environ, start_response: list(application(environ, start_response))


def copying_environ(application):
    return lambda environ, start_response: application({**environ, "copied": True}, start_response)


def closing_result(application):
    class Result:
        def __init__(self, result):
            self.result = result

        def __iter__(self):
            return iter(self.result)

        def close(self):
            getattr(self.result, "close", int)()

    return lambda environ, start_response: Result(application(environ, start_response))


MIDDLEWARE = [wrapping_start_response, wrapping_write, a_generator, a_list, copying_environ, closing_result]


@pytest.mark.parametrize("middleware", MIDDLEWARE)
def test_behind_middleware(serve, log, middleware):
    site = serve(middleware(echo))
    client = site.connect(frames=frames.text("early"))
    client.expect(b"\x81\x05early")
    client.leave()
    site.settle()
    (access,) = site.access
    assert '" 101 ' in access and log() == [] and site.errors == []


@pytest.mark.parametrize("middleware", MIDDLEWARE)
def test_refused_behind_middleware(serve, middleware):
    site = serve(middleware(echo))
    answer, _ = refusal(site, handshake(content_length="5"))
    assert answer.status == "HTTP/1.1 400 Bad Request"
    assert len(site.access) == 1 and site.errors == []
