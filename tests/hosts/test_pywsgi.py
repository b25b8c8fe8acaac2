"""pywsgi as a host: what becomes of a request's environ, its log line, and what followed the handshake."""

from __future__ import annotations

import gevent
import pytest
from gevent import pywsgi
from kit import frames

from geventws import WebSocketServer, WebSocketWSGI


@WebSocketWSGI
def echo(ws):
    for message in ws:
        ws.send(message)


@pytest.mark.parametrize("server_class", [pywsgi.WSGIServer, WebSocketServer])
def test_the_environ_is_whole_whenever_it_is_asked_for(serve, server_class):
    """Also where nobody but the connection has it any more, which is so from a server's second one on."""
    seen = []

    @WebSocketWSGI
    def handler(ws):
        ws.wait()
        seen.append(ws.environ)
        assert ws.environ is seen[-1] and type(ws.environ) is dict
        ws.wait()

    site = serve(handler, server_class=server_class)
    for number in range(3):
        client = site.connect(f"/{number}?a=b", frames.text("now"), user_agent=f"agent {number}")
        client.leave()
    site.settle()
    assert [environ["PATH_INFO"] for environ in seen] == ["/0", "/1", "/2"]
    assert [environ["HTTP_USER_AGENT"] for environ in seen] == ["agent 0", "agent 1", "agent 2"]
    assert list(seen[0]) == list(seen[1]) == list(seen[2])
    assert not seen[2]["wsgi.input"].read()


def test_an_error_report_names_the_request(serve, hub_errors, monkeypatch):
    reported = []
    monkeypatch.setattr(gevent.get_hub(), "handle_error", lambda context, *_error: reported.append(context))

    @WebSocketWSGI
    def handler(ws):
        ws.wait()
        raise gevent.Timeout  # no Exception: it is the server's

    site = serve(handler)
    for number in range(3):
        client = site.connect(f"/{number}", frames.text("now"))
        client.expect_close(1011)
        client.close()
    site.settle()
    assert [context["PATH_INFO"] for context in reported] == ["/0", "/1", "/2"]


def test_a_log_may_read_the_environ(serve):
    class Handler(pywsgi.WSGIHandler):
        def format_request(self) -> str:
            return self.environ["PATH_INFO"]

    site = serve(WebSocketWSGI(lambda ws: ws.wait()), handler_class=Handler)
    for number in range(3):
        site.connect(f"/{number}").leave()
    site.settle()
    assert site.access == ["/0", "/1", "/2"]


def test_a_decorated_function_may_serve_behind_another_application(serve):
    """That one keeps the environ, and so it stays one dict for both."""
    same = []

    @WebSocketWSGI
    def handler(ws):
        ws.environ["mark"] = "handler's"

    def application(environ, start_response):
        result = handler(environ, start_response)
        same.append(environ["mark"])
        return result

    site = serve(application)
    for _ in range(2):
        site.connect().leave()
    site.settle()
    assert same == ["handler's"] * 2


class Counted(pywsgi.WSGIHandler):
    def log_request(self):
        self.server.counted.append(self.code)


@pytest.mark.parametrize(("kind", "counted"), [(pywsgi.WSGIHandler, []), (Counted, [101])])
def test_without_an_access_log_only_a_handler_of_its_own_is_asked_for_a_line(serve, monkeypatch, kind, counted):
    lines = []

    def format_request(handler):
        lines.append(handler.code)

    monkeypatch.setattr(pywsgi.WSGIHandler, "format_request", format_request)
    site = serve(echo, log=None, handler_class=kind)
    site.server.counted = []
    site.connect().leave()
    site.settle()
    assert (lines, site.server.counted) == ([], counted)


@pytest.mark.parametrize("use_tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("size", [0, 5, 125, 8192 - 200, 8192, 70000, 300000])
def test_early_frames_reach_the_handler(serve, secure, use_tls, size):
    site = serve(echo, **(secure if use_tls else {}))
    message = b"x" * size
    client = site.connect(frames=frames.binary(message) + frames.frame(frames.PING, b"?") + frames.text("behind"))
    received = [client.read_frame() for _ in range(3)]
    assert sorted(frame.opcode for frame in received) == [frames.TEXT, frames.BINARY, frames.PONG]
    assert [frame.payload for frame in received if frame.opcode != frames.PONG] == [message, b"behind"]
    client.leave()


@pytest.mark.parametrize("cut", range(1, 14))
def test_early_part_of_a_frame(serve, cut):
    data = frames.text("message")
    client = serve(echo).connect(frames=data[:cut])
    client.send(data[cut:])
    client.expect(b"\x81\x07message")
    client.leave()


def test_early_close(serve):
    taken = []
    site = serve(WebSocketWSGI(lambda ws: taken.extend([ws.wait(), ws.wait(), ws.close_code, ws.close_reason])))
    client = site.connect(frames=frames.text("a") + frames.close(1001, "off"))
    client.expect_close(1001, "off", answer=False)
    client.close()
    site.settle()
    assert taken == ["a", None, 1001, "off"]


def test_early_breach(serve):
    client = serve(echo).connect(frames=frames.frame(frames.TEXT, "unmasked", key=None))
    client.expect_close(1002, None)
