"""`WebSocketServer` as a host: found by the environ alone, and forgotten by it with the 101."""

from __future__ import annotations

import gevent
import pytest
from kit import frames

from geventws import WebSocketServer, WebSocketWSGI
from geventws.hosts import find_host
from geventws.hosts.own import SEAM, OwnHost


@pytest.mark.parametrize("apart", [False, True], ids=["same greenlet", "another greenlet"])
def test_it_is_found_behind_middleware_in_whichever_greenlet(serve, apart):
    found = []

    @WebSocketWSGI
    def echo(ws):
        found.append(SEAM in ws.environ)
        for message in ws:
            ws.send(message)

    def middleware(environ, start_response):
        def call():
            copied, start = dict(environ), lambda *arguments: start_response(*arguments)
            found.append(type(find_host(copied, start)))
            return list(echo(copied, start))

        return gevent.spawn(call).get() if apart else call()

    site = serve(middleware, server_class=WebSocketServer)
    client = site.connect(frames=frames.text("early"))
    client.expect(b"\x81\x05early")
    client.leave()
    assert found == [OwnHost, False]


def test_a_plain_request_has_no_seam(serve):
    seen = []

    def application(environ, start_response):
        seen.append((SEAM in environ, type(find_host(environ, start_response))))
        start_response("204 No Content", [])
        return []

    client = serve(application, server_class=WebSocketServer).dial()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert client.read_head().status == "HTTP/1.1 204 No Content"
    client.close()
    assert seen == [(False, OwnHost)]
