"""Servers that give no socket, or one that cannot be found: one clear error."""

from __future__ import annotations

import contextlib
import sys
import wsgiref.simple_server
import wsgiref.util

import gevent
import pytest
from kit.clients import RawClient, handshake
from kit.programs.hosts import Host

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
    workers = ("-k geventws.gunicorn.Worker", "-k gevent")
    for name in ("geventws serve module:application", "gevent.pywsgi.WSGIServer", "WebSocketServer", *workers):
        assert name in line


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_a_worker_of_gunicorns_without_gevent_is_told_which_to_use(worker: str) -> None:
    words = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--graceful-timeout", "1"]
    host = Host([*words, "-k", worker, "kit.apps.hosted:application"]).listening()
    with RawClient(host.port) as client:
        client.send(handshake("/echo"))
        assert client.read_head().status == "HTTP/1.1 500 Internal Server Error"
    line = host.wait_for(r"NoSocket: this worker of gunicorn/.*")[0]
    assert "-k geventws.gunicorn.Worker (or -k gevent)" in line and "middleware" not in line
    host.terminate()
    host.wait()


@pytest.mark.parametrize("reader", [None, object(), wsgiref.util.FileWrapper])
def test_no_socket_in_environ(reader):
    with pytest.raises(NoSocket, match="pywsgi"):
        assert find_host({"wsgi.input": reader, "SERVER_SOFTWARE": "other/1"}, print).socket
