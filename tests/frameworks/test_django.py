"""geventws.frameworks.django: paths in urls.py, Django's own reports, its sessions and its transactions."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.core.signals import got_request_exception
from django.db import connections, transaction
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.utils import setup_test_environment, teardown_test_environment
from django.urls import path
from gevent.pywsgi import WSGIServer
from kit.clients import RawClient, handshake
from kit.programs.hosts import ROOT, Host
from kit.sites import views
from kit.sites.django_sites import make_site

from geventws import WebSocketServer, connect
from geventws.frameworks.django import websocket


def use_these(get_response: Any) -> Any:
    """Lead each request to these paths."""

    def lead(request: Any) -> Any:
        request.urlconf = __name__
        return get_response(request)

    return lead


application = make_site(
    __name__,
    "use_these",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
)


def hello(request: Any, ws: Any, name: str) -> None:
    ws.send(f"hello {name}")


def fail(request: Any, ws: Any) -> None:
    raise LookupError("a fault of the view")


def visit(request: Any) -> HttpResponse:
    request.session["visits"] = 1
    return HttpResponse("a page")


def count(request: Any, ws: Any) -> None:
    request.session["visits"] += 1
    ws.send(str(request.session["visits"]))


def within(request: Any, ws: Any) -> None:
    ws.send(str(transaction.get_connection().in_atomic_block))


@websocket(subprotocols=["chat"])
def options(request: Any, ws: Any) -> None:
    pass


urlpatterns = [
    path("hello/<name>", websocket(hello)),
    path("options", options),
    path("pour", websocket(lambda request, ws: views.pour(ws))),
    path("fail", websocket(fail)),
    path("visit", visit),
    path("count", websocket(count)),
    path("within", websocket(within)),
]


@pytest.fixture(params=[WSGIServer, WebSocketServer])
def site(request, serve):
    setup_test_environment()  # mail goes to mail.outbox
    yield serve(application, server_class=request.param)
    teardown_test_environment()


@pytest.fixture
def raised() -> Iterator[list[str]]:
    """What Django's signal tells."""
    told: list[str] = []

    def note(sender: Any, request: Any, **_more: Any) -> None:
        told.append(request.path)

    got_request_exception.connect(note, weak=False)
    yield told
    got_request_exception.disconnect(note)


def test_arguments_and_options(site) -> None:
    views.check_arguments(site)
    views.check_options(site)


def test_refusals(site) -> None:
    views.check_refusals(site)


def test_a_client_that_leaves_is_no_error(site, raised, caplog) -> None:
    views.check_departure(site)
    assert raised == [] and mail.outbox == [] and caplog.records == []


def test_django_reports_what_fails_once(site, raised, log) -> None:
    views.check_failure(site)
    assert raised == ["/fail"] and log() == []
    assert [one.subject for one in mail.outbox] == ["[Django] ERROR (EXTERNAL IP): Internal Server Error: /fail"]


def test_a_session_is_written_at_the_end(site) -> None:
    client = site.dial()
    client.send(b"GET /visit HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    cookie = client.read_head().get("set-cookie").partition(";")[0]
    for visits in ("2", "3"):
        with connect(f"ws://127.0.0.1:{site.port}/count", headers={"Cookie": cookie}) as ws:
            assert list(ws) == [visits]
        site.settle()


def test_a_view_is_in_no_transaction(site, monkeypatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    with connect(f"ws://127.0.0.1:{site.port}/within") as ws:
        assert list(ws) == ["False"]


def test_a_misspelt_option_is_told_at_once() -> None:
    with pytest.raises(TypeError, match="ping_intervall"):
        websocket(hello, ping_intervall=3)


def test_a_server_without_sockets(log) -> None:
    answer = websocket(hello)(RequestFactory().get("/", headers={"Host": "a", **views.HEADERS}), "ann")
    assert answer.status_code == 501 and b"geventws serve module:application" in answer.content
    assert len(log()) == 1


RUNSERVER = f"""
import sys
if "patch" in sys.argv[1:]:
    from gevent import monkey
    monkey.patch_all()
sys.path.insert(0, {str(ROOT / "examples" / "frameworks")!r})
import django_app
from django.core.management import execute_from_command_line
words = [word for word in sys.argv[1:] if word != "patch"]
execute_from_command_line(["manage.py", "runserver", "--noreload", *words, "127.0.0.1:0"])
"""


@contextlib.contextmanager
def run_server(*words: str) -> Iterator[tuple[Host, int]]:
    """Run Django's development server, and yield it with its port."""
    host = Host([sys.executable, "-c", RUNSERVER, *words])
    yield host, int(host.wait_for(r"http://127\.0\.0\.1:(\d+)/", 15.0)[1])
    host.terminate()
    host.wait()


@pytest.mark.parametrize("words", [(), ("patch",)])
def test_runserver_serves_on(words: tuple[str, ...]) -> None:
    with run_server(*words) as (host, port):
        with connect(f"ws://127.0.0.1:{port}/hello/ann") as one, connect(f"ws://127.0.0.1:{port}/echo") as other:
            other.send("hello")
            assert [one.wait(), other.wait()] == ["hello ann", "hello"]
        with RawClient(port) as client:  # it leaves without a word
            client.open(path="/echo")
        with RawClient(port) as client:
            client.send(b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert client.read_head().status == "HTTP/1.1 400 Bad Request"
        host.wait_for('"GET /echo HTTP/1.1" 400')
    text = "\n".join(host.lines)
    assert text.count('HTTP/1.1" 101 0') >= 2 and "Traceback" not in text


def test_runserver_without_threads_says_how_to_run() -> None:
    with run_server("--nothreading") as (host, port), RawClient(port) as client:
        client.send(handshake("/echo"))
        assert client.read_head().status == "HTTP/1.1 501 Not Implemented"
    assert len([line for line in host.lines if "geventws serve module:application" in line]) == 1
    assert "Traceback" not in "\n".join(host.lines)
