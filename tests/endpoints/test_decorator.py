"""WebSocketWSGI: what decorating means, what options do, and how a connection ends with its handler."""

from __future__ import annotations

import errno
import logging

import gevent
import pytest
from gevent import pywsgi
from gevent.event import Event
from kit import frames
from kit.clients import Answer, handshake

from geventws import ConnectionClosed, HandshakeError, WebSocketServer, WebSocketWSGI

LOCAL = "http://127.0.0.1"


def echo(ws) -> None:
    """Send everything back."""
    for message in ws:
        ws.send(message)


def talk(site, path: str = "/", **changed) -> Answer:
    """Have one message echoed and leave; return the answer to the handshake."""
    client = site.dial()
    answer = client.open(path=path, **changed)
    client.send(frames.text("hello"))
    client.expect(b"\x81\x05hello")
    client.leave()
    return answer


def refused(site, **changed) -> str:
    """Be refused; return the status line."""
    client = site.dial()
    client.send(handshake(**changed))
    answer = client.read_head()
    assert len(client.rest()) == int(answer.get("content-length"))
    return answer.status


def tracebacks(records) -> list[logging.LogRecord]:
    return [record for record in records if record.exc_info]


# Decorating


@pytest.mark.parametrize(
    "decorate",
    [
        WebSocketWSGI,
        WebSocketWSGI(),
        WebSocketWSGI(max_message_size=10),
        WebSocketWSGI(None, 10),
        lambda handler: WebSocketWSGI(handler, max_frame_length=10),
        lambda handler: WebSocketWSGI(handler, 10),
        WebSocketWSGI.configured,
        WebSocketWSGI.configured(),
        WebSocketWSGI.configured(supported_protocols=["chat"]),
        WebSocketWSGI.configured(None, ["chat"], lambda host, origin: True, False, ping_interval=None),
        lambda handler: WebSocketWSGI.configured(handler, ["chat"], None, True),
    ],
)
def test_decorator_with_and_without_options(serve, decorate):
    talk(serve(decorate(echo)))


def test_decorated_function_keeps_its_name_and_words():
    application = WebSocketWSGI(echo)
    assert application.__name__ == "echo" and application.__doc__ == echo.__doc__
    assert application.__wrapped__ is application.handler is echo


def test_unknown_option_is_an_error():
    with pytest.raises(TypeError, match="max_size"):
        WebSocketWSGI(echo, max_size=3)


@pytest.mark.parametrize("option", ["subprotocols", "origins"])
def test_a_text_where_a_list_is_meant_is_an_error_at_once(option):
    with pytest.raises(TypeError, match=f"{option} takes a list"):
        WebSocketWSGI(echo, **{option: "https://example.org"})


def test_a_handler_is_a_function():
    with pytest.raises(TypeError, match="str"):
        WebSocketWSGI("echo")


@pytest.mark.parametrize("name", ["max_message_size", "max_frame_length"])
def test_attributes_may_be_set_later(serve, name):
    application = WebSocketWSGI(echo)
    site = serve(application)
    talk(site)
    setattr(application, name, 4)
    assert application.max_message_size == application.max_frame_length == 4
    client = site.connect(frames=frames.text("hello"))
    client.expect_close(1009, None)


def test_eventlet_names_are_the_same_attributes(serve):
    application = WebSocketWSGI(echo)
    application.supported_protocols = ["two"]
    assert application.subprotocols == ["two"]
    asked = []
    application.origin_checker = lambda host, origin: asked.append((host, origin))
    site = serve(application)
    assert refused(site, origin="http://a.example").startswith("HTTP/1.1 403")
    assert asked == [("127.0.0.1", "http://a.example")]
    application.origin_checker = lambda host, origin: True
    answer = talk(site, origin="http://a.example", sec_websocket_protocol="one, two")
    assert answer.get("sec-websocket-protocol") == "two"


def test_many_routes_and_plain_http_in_one_dispatcher(serve):
    sockets = {"/echo": WebSocketWSGI(echo), "/other": WebSocketWSGI(lambda ws: ws.send("other"))}

    def dispatch(environ, start_response):
        if environ["PATH_INFO"] in sockets:
            return sockets[environ["PATH_INFO"]](environ, start_response)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"page"]

    site = serve(dispatch)
    client = site.dial()
    for _ in range(2):  # on the same connection that is upgraded afterwards
        client.send(b"GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert client.read_head().status == "HTTP/1.1 200 OK"
        client.expect(b"page")
    client.open(path="/other")
    client.expect(b"\x81\x05other\x88\x02\x03\xe8")
    client.close()
    talk(site, "/echo")
    site.settle()
    statuses = [line.split('"')[2].split()[0] for line in site.access]
    assert statuses == ["200", "200", "101", "101"] and site.errors == []


# Options


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ("b, a", "b"),  # the client's order
        ("x, a", "a"),
        ("A", None),  # tokens are exact
        ("ab, xa", None),
        ("x", None),
        (None, None),
    ],
)
def test_subprotocol_is_the_clients_first_that_is_spoken(serve, offered, agreed):
    seen = []
    site = serve(WebSocketWSGI(lambda ws: seen.append(ws.protocol), subprotocols=["a", "b"]))
    client = site.dial()
    assert client.open(sec_websocket_protocol=offered).get("sec-websocket-protocol") == agreed
    client.expect_close()
    assert seen == [agreed]


@pytest.mark.parametrize(
    ("origins", "origin", "fits"),
    [
        (..., LOCAL, True),
        (..., None, True),
        (..., "http://evil.example", False),
        (["https://a.example"], "https://a.example", True),
        (["https://a.example"], LOCAL, False),
        (["https://a.example"], None, False),
        (["https://a.example", None], None, True),
        (None, "http://evil.example", True),
        (lambda origin, environ: origin == environ["HTTP_HOST"], "127.0.0.1", True),
        (lambda origin, environ: False, None, False),
    ],
)
def test_origins(serve, origins, origin, fits):
    options = {} if origins is ... else {"origins": origins}
    site = serve(WebSocketWSGI(echo, **options))
    if fits:
        talk(site, origin=origin)
    else:
        assert refused(site, origin=origin) == "HTTP/1.1 403 Forbidden"


@pytest.mark.parametrize(
    "headers",
    [[("X-Who", "me")], {"X-Who": "me"}, lambda environ: [("X-Who", environ["REQUEST_METHOD"] and "me")]],
)
def test_further_headers(serve, headers):
    assert talk(serve(WebSocketWSGI(echo, headers=headers))).get("x-who") == "me"


@pytest.mark.parametrize("server_class", [pywsgi.WSGIServer, WebSocketServer])
@pytest.mark.parametrize("value", [b"me", None, 5])
def test_a_header_that_is_no_str_is_sent_to_nobody(serve, hub_errors, server_class, value):
    site = serve(WebSocketWSGI(echo, headers=[("X-Who", value)]), server_class=server_class)
    client = site.dial()
    client.send(handshake())
    assert client.read_head().status == "HTTP/1.1 500 Internal Server Error"
    client.close()
    site.settle()
    hub_errors.clear()


def test_headers_may_refuse(serve, log):
    def login(environ):
        raise HandshakeError(401, "who are you?", [("WWW-Authenticate", "Basic")])

    site = serve(WebSocketWSGI(echo, headers=login))
    client = site.dial()
    client.send(handshake())
    answer = client.read_head()
    assert answer.status == "HTTP/1.1 401 Unauthorized" and answer.get("www-authenticate") == "Basic"
    assert client.rest() == b"who are you?\n"
    assert len(log()) == 1


# How it ends with the handler


def test_return_closes_with_1000(serve, log):
    site = serve(WebSocketWSGI(lambda ws: ws.send("bye")))
    client = site.connect()
    client.expect(b"\x81\x03bye\x88\x02\x03\xe8")
    client.send(frames.close())
    assert client.rest() == b""
    assert log() == []


class Failure(BaseException):
    """An error that `except Exception` does not see."""


@pytest.mark.parametrize("error", [ValueError("oh"), gevent.Timeout(None), OSError(errno.EPIPE, "another socket")])
def test_exception_closes_with_1011_and_logs_one_traceback(serve, log, hub_errors, error):
    def fail(ws):
        ws.send("before")
        raise error

    site = serve(WebSocketWSGI(fail))
    client = site.connect()
    client.expect(b"\x81\x06before\x88\x02\x03\xf3")
    client.send(frames.close(1011))
    assert client.rest() == b""  # no HTTP
    client.close()
    site.settle()
    assert len(tracebacks(log())) + len(hub_errors) == 1
    assert [line.split('"')[2].split()[0] for line in site.access] == ["101"]
    hub_errors.clear()


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 2999, 5000])
def test_closing_with_a_code_that_may_not_be_sent_is_the_handlers_error(serve, log, code):
    site = serve(WebSocketWSGI(lambda ws: ws.close(code)))
    site.connect().expect_close(1011)
    assert len(tracebacks(log())) == 1


@pytest.mark.parametrize("leave", ["reset", "close", "shut_down"])
def test_client_gone_while_sending_is_no_error(serve, log, leave):
    sent, ended = Event(), []

    def send(ws):
        try:
            while True:
                ws.send(b"x" * 65536)
                sent.set()
        except ConnectionClosed as error:
            ended.append(error)
            raise

    site = serve(WebSocketWSGI(send))
    client = site.connect()
    sent.wait()
    getattr(client, leave)()
    site.settle()
    assert len(ended) == 1 and log() == []


def test_client_gone_before_the_answer(serve, log):
    site = serve(WebSocketWSGI(lambda ws: ws.send(b"x" * 65536)))
    client = site.dial()
    client.send(handshake())
    client.reset()
    site.settle()
    assert log() == []


# Kills


def test_killed_handler_closes_with_1001(serve, log):
    greenlets = []

    def wait(ws):
        greenlets.append(gevent.getcurrent())
        ws.wait()

    site = serve(WebSocketWSGI(wait))
    client = site.connect(frames=frames.frame(frames.PING))
    client.expect(b"\x8a\x00")
    greenlets[0].kill(block=False)
    client.expect_close(1001)
    client.close()
    site.settle()
    assert log() == [] and len(site.access) == 1


def test_stopped_server_closes_its_connections(serve, log):
    site = serve(WebSocketWSGI(echo, close_timeout=0.2))
    polite, rude = (site.connect(frames=frames.text("in")) for _ in range(2))
    for client in (polite, rude):
        client.expect(b"\x81\x02in")
    stopping = gevent.spawn(site.server.stop, 0.01)
    for client in (polite, rude):
        assert client.read_frame() == (frames.CLOSE, frames.close_payload(1001), True, 0)
    polite.send(frames.close(1001))
    assert polite.rest() == b""
    polite.close()
    stopping.get()
    assert log() == []


def test_kill_again_and_again_leaves_nothing(serve):
    greenlets = []

    def wait(ws):
        greenlets.append(gevent.getcurrent())
        ws.wait()

    site = serve(WebSocketWSGI(wait))
    for kills in (1, 2, 3, 4):
        client = site.connect(frames=frames.frame(frames.PING))
        client.expect(b"\x8a\x00")
        for _ in range(kills):
            greenlets[-1].kill(block=False)
            gevent.sleep(0)
        client.close()
        site.settle()
    talk(serve(WebSocketWSGI(echo)))  # the numbers of the descriptors are used again
