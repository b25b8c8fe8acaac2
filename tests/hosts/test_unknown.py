"""Servers that give no socket, or one that cannot be found: one clear error."""

from __future__ import annotations

import contextlib
import wsgiref.simple_server
import wsgiref.util

import gevent
import pytest
from kit.clients import RawClient, handshake

from geventws import NoSocket, WebSocketWSGI
from geventws.hosts import find_host


@WebSocketWSGI
def echo(ws):
    for message in ws:
        ws.send(message)


def test_server_without_a_socket_is_one_clear_error(serve, capsys):
    serve(echo)  # for the deadline and the traces
    with contextlib.closing(wsgiref.simple_server.make_server("127.0.0.1", 0, echo)) as server:
        server.close = server.server_close
        serving = gevent.get_hub().threadpool.spawn(server.handle_request)
        with RawClient(server.server_port) as client:
            client.send(handshake())
            assert client.read_head().status == "HTTP/1.0 500 Internal Server Error"
            client.rest()
        serving.get()
    error = capsys.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith("geventws.exceptions.NoSocket: ")]
    assert "WSGIServer/0.2" in line and error.count("Traceback") == 1
    workers = ("-k geventws.gunicorn.Worker", "-k gevent", "-k gevent_pywsgi")
    for name in ("gevent.pywsgi.WSGIServer", "WebSocketServer", "gunicorn", *workers):
        assert name in line


@pytest.mark.parametrize("reader", [None, object(), wsgiref.util.FileWrapper])
def test_no_socket_in_environ(reader):
    with pytest.raises(NoSocket, match="pywsgi"):
        assert find_host({"wsgi.input": reader, "SERVER_SOFTWARE": "other/1"}, print).socket
