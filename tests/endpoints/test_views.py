"""endpoints.views: a connection within a view, whatever stands between it and the server."""

from __future__ import annotations

from typing import Any

import pytest
from gevent.pywsgi import WSGIServer

from geventws import ConnectionClosed, WebSocketServer
from geventws.endpoints.views import ViewAnswer, serve_view

SERVERS = [WSGIServer, WebSocketServer]


def make_application(function: Any, answers: list[ViewAnswer], status: str = "200 OK", failed: Any = None) -> Any:
    """Return an application like a framework's: a view first, then `start_response` with the framework's own."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        info = None
        try:
            answers.append(serve_view({}, environ, function))
        except Exception as error:
            assert failed is not None
            failed.append(error)
            info = (type(error), error, error.__traceback__)
        write = start_response(status, [("Content-Type", "text/plain")], *([info] if info else []))
        write(b"written")
        return [b"returned"]

    return application


@pytest.mark.parametrize("server_class", SERVERS)
@pytest.mark.parametrize("status", ["200 OK", "101 Switching Protocols"])
def test_nothing_of_the_frameworks_answer_gets_there(serve, log, server_class, status: str) -> None:
    answers: list[ViewAnswer] = []
    site = serve(make_application(lambda ws: ws.send("hello"), answers, status), server_class=server_class)
    client = site.connect()
    client.expect(b"\x81\x05hello")
    client.expect_close(1000)
    (line,) = site.access.wait()
    assert " 101 " in line and answers == [ViewAnswer(101, [], b"")]
    assert log() == [] and site.errors == []


@pytest.mark.parametrize("server_class", SERVERS)
def test_an_error_is_the_frameworks_to_report(serve, log, server_class) -> None:
    failed: list[Exception] = []

    def fail(ws: Any) -> None:
        raise LookupError("a fault")

    application = make_application(fail, [], "500 Internal Server Error", failed)
    site = serve(application, server_class=server_class)
    site.connect().expect_close(1011)
    (line,) = site.access.wait()
    assert " 101 " in line and [type(error) for error in failed] == [LookupError]
    assert log() == [] and site.errors == []


@pytest.mark.parametrize("server_class", SERVERS)
def test_a_peer_that_left_is_no_error(serve, log, server_class) -> None:
    def late(ws: Any) -> None:
        assert ws.wait() is None
        ws.send("late")

    answers: list[ViewAnswer] = []
    site = serve(make_application(late, answers), server_class=server_class)
    site.connect().leave()
    site.settle()
    assert [answer.status for answer in answers] == [101] and log() == [] and site.errors == []


def test_another_connections_end_is_an_error(serve) -> None:
    failed: list[Exception] = []

    def fail(ws: Any) -> None:
        raise ConnectionClosed(1000, "of an upstream server")

    site = serve(make_application(fail, [], "500 Internal Server Error", failed))
    site.connect().expect_close(1011)
    site.settle()
    assert [type(error) for error in failed] == [ConnectionClosed]
