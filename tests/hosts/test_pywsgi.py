"""What becomes of a request's environ: it is whole whenever anybody asks for it, and takes little room until then."""

from __future__ import annotations

import gevent
import pytest
from gevent import pywsgi
from kit import frames

from geventws import WebSocketServer, WebSocketWSGI


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
