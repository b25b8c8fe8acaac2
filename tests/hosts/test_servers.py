"""Which of gevent's servers is left to the parent by a forked child: each that has answered a handshake."""

from __future__ import annotations

import pytest

from geventws import WebSocketServer, WebSocketWSGI
from geventws.engine.loop import forks


@WebSocketWSGI
def handler(ws):
    ws.wait()


def hidden(environ, start_response):
    return handler(environ, lambda *arguments: start_response(*arguments))


@pytest.mark.parametrize("application", [handler, hidden])
def test_pywsgi_s_is_known_from_the_first_handshake_on(serve, application):
    site = serve(application)
    assert site.server not in forks._servers
    site.connect().leave()
    assert site.server in forks._servers


def test_our_own_is_known_by_itself(serve):
    site = serve(handler, server_class=WebSocketServer)
    site.connect().leave()
    assert site.server in forks._heirs and site.server not in forks._servers
