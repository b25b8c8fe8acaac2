"""request.py: HTTP on WebSocketServer is pywsgi's, whichever parser reads the head.

What a request comes to is compared with a plain `pywsgi.WSGIServer` that gets the same bytes. Ours is asked twice:
with its own parser, and with that parser made to refuse everything, so that pywsgi's reads all heads.
"""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import pywsgi, socket
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.sites.http import DEADLINE, UPGRADE, deadline, parser, read_all, read_response, requested, run, show  # noqa: F401

from geventws.http import request as http_head
from geventws.http.headers import find_end
from geventws.server.heads import read_plain
from geventws.server.http_connection import RequestHandler

SAME = {
    "get": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "query": b"GET /a%20b%e4/c?d=%20&e HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "1.0": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "1.0 kept": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "0.9": b"GET /\r\n\r\n",
    "1.7": b"GET / HTTP/1.7\r\n\r\n",
    "2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "no version": b"GET / HTTQ/1.1\r\n\r\n",
    "one word": b"GET\r\n\r\n",
    "four words": b"GET / a HTTP/1.1\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "odd method": b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower method": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "underscore": b"GET / HTTP/1.1\r\nHost: a\r\nX_Admin: yes\r\nX-User: me\r\n\r\n",
    "repeated": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nCookie: a=1\r\nX-A: 2\r\nCookie: b=2\r\n\r\n",
    "spaces": b"GET / HTTP/1.1\r\nHost:a\r\nX-A:   b  c \t\r\nX-B: \r\nX-C:\r\n\r\n",
    "high bytes": "GET /é HTTP/1.1\r\nHost: a\r\nX-A: é\r\n\r\n".encode(),
    "bare lf": b"GET / HTTP/1.1\nHost: a\n\n",
    "tab": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\tc\r\n\r\n",
    "head with length": b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    "post": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/x\r\nContent-Length: 5\r\n\r\nhello",
    "post nothing": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "post no length": b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
    "chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    "bad chunks": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "length is text": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\n",
    "length below 0": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    "length empty": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
    "pipelined": b"GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /c HTTP/1.1\r\n\r\n",
    "large body": b"POST / HTTP/1.1\r\nContent-Length: 90000\r\n\r\n"
    + 9000 * b"0123456789"
    + b"GET / HTTP/1.0\r\n\r\n",
    "upgrade, no websocket": b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade, X\r\n\r\n",
    "longest line": b"GET /" + 8174 * b"a" + b" HTTP/1.0\r\n\r\n",
    "line too long": b"GET /" + 8176 * b"a" + b" HTTP/1.0\r\n\r\n",
    "99 fields": b"GET / HTTP/1.0\r\n" + b"".join(b"X-%d: a\r\n" % i for i in range(99)) + b"\r\n",
    "100 fields": b"GET / HTTP/1.0\r\n" + b"".join(b"X-%d: a\r\n" % i for i in range(100)) + b"\r\n",
    "long field": b"GET / HTTP/1.0\r\nX-A: " + 20000 * b"a" + b"\r\n\r\n",
}


def without_date(response: bytes) -> bytes:
    """Return a response without its Date, which may have gone on meanwhile."""
    return b"\r\n".join(line for line in response.split(b"\r\n") if not line.startswith(b"Date: "))


@pytest.mark.parametrize("request_", SAME.values(), ids=SAME)
def test_is_pywsgi_for_http(run: Any, parser: None, request_: bytes) -> None:
    """The same answer, the same environ, the same line in the log."""
    theirs, ours = run(show, pywsgi.WSGIServer), run(show)
    assert without_date(ours.ask(request_)) == without_date(theirs.ask(request_))
    assert [line.split()[0] for line in ours.access] == [line.split()[0] for line in theirs.access]
    assert [requested(line) for line in ours.access] == [requested(line) for line in theirs.access]


STRICTER = {
    "space before colon": b"Content-Length : 5\r\n\r\nhello",
    "folded": b"X-A: b\r\n c\r\n\r\n",
    "folded at once": b" X-A: b\r\n\r\n",
    "no colon": b"X-A\r\nContent-Length: 5\r\n\r\nhello",
    "bare cr": b"X-A: b\rTransfer-Encoding: chunked\r\n\r\n",
    "mixed ends": b"X-A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "mixed ends, after all": b"X-A: b\r\n\n",
    "nul": b"X-A: b\0c\r\n\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length with sign": b"Content-Length: +5\r\n\r\nhello",
    "length with underscore": b"Content-Length: 1_0\r\n\r\nhellohello",
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "two hosts": b"Host: b\r\n\r\n",
    "the same host twice": b"host: a\r\n\r\n",
}


@pytest.mark.parametrize("head", STRICTER.values(), ids=STRICTER)
def test_heads_with_two_readings_are_refused(run: Any, parser: None, head: bytes) -> None:
    """RFC 9112 2.2, 5.1, 5.2, 6.1, 6.3: and nothing behind such a head is taken for a request."""
    running = run(show)
    answer = running.ask(b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"GET /second HTTP/1.1\r\n\r\n")
    assert answer == b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-length: 0\r\n\r\n"
    assert len(running.access) == 1 and " 400 " in running.access[0]
    assert len(running.errors) == 1


HOSTS = {
    "a": True, "": True, "a.example:80": True, "A_b-c.~d": True, "a:": True, "127.0.0.1": True, "[::1]:8000": True,
    "a%20b": True, "a,b": False, "a, b": False, "a b": False, "a/b": False, "user@a": False, "a?b": False, "a#b": False,
    "a\\b": False, "[::1": False, "::1": False, "a:b": False, "a:80:80": False, "<a>": False, "a\tb": False,
    "\xe4": False,
}  # fmt: skip


@pytest.mark.parametrize(("host", "valid"), HOSTS.items())
def test_an_invalid_host_is_refused(run: Any, parser: None, host: str, valid: bool) -> None:
    """RFC 9112 3.2: "A server MUST respond with a 400 (Bad Request) status code to any request message [...] with an
    invalid field value."
    """
    running = run(show)
    answer = running.ask(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode("latin-1"))
    assert answer.startswith(b"HTTP/1.1 200 " if valid else b"HTTP/1.1 400 ")
    assert len(running.access) == 1 and len(running.errors) == (not valid)


LINES_REFUSED = [
    b"GET / HTTP/1.1.1", b"GET / HTTP/1", b"GET / HTTP/1.", b"GET / HTTP/.1", b"GET / HTTP/+1.1", b"GET / HTTP/1.10",
    b"GET / HTTP/01.1", b"GET / HTTP/1.-1", b"GET / HTTP/1.1_", b"GET / http/1.1", b"GET / HTTP/", b"GET / HTTP/a.b",
    b"GET /\tHTTP/1.1", b"GET\x0b/ HTTP/1.1", b"GET /a\x1f HTTP/1.1", b"GET /\x7f HTTP/1.1", b"\tGET / HTTP/1.1",
    b"GET * HTTP/1.1", b"GET a HTTP/1.1", b"GET a:1 HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"GET http:/a HTTP/1.1",
    b"GET http:///a HTTP/1.1", b"GET http://u@a/ HTTP/1.1", b"GET http://a,b/ HTTP/1.1", b"GET ://a/ HTTP/1.1",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES_REFUSED)
def test_a_request_line_that_is_none_is_refused(
    run: Any, parser: None, capfd: pytest.CaptureFixture[str], line: bytes
) -> None:
    """RFC 9112 2.3, 3 and 3.2: in one line of the log, and without a traceback."""
    running = run(show)
    answer = running.ask(line + b"\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\n\r\n")
    assert answer == b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-length: 0\r\n\r\n"
    assert len(running.access) == 1 == len(running.errors)
    assert capfd.readouterr() == ("", "")


TARGETS = {
    "http://b.example:80/c%20d?e=f": ("/c d", "e=f", "b.example:80"),
    "HTTPS://b.example": ("/", "", "b.example"),
    "http://b.example?c": ("/", "c", "b.example"),
    "ws://[::1]:1/": ("/", "", "[::1]:1"),
    "//c/d": ("//c/d", "", "a.example"),
    "/http://c/d": ("/http://c/d", "", "a.example"),
}


@pytest.mark.parametrize(("target", "seen"), TARGETS.items())
def test_an_absolute_target_becomes_its_path_and_its_host(
    run: Any, parser: None, target: str, seen: tuple[str, str, str]
) -> None:
    """RFC 9112 3.2.2: "an origin server MUST ignore the received Host header field (if any) and instead replace it with
    the host information of the request-target."
    """
    found = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        found.append((environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_HOST"]))
        return show(environ, start_response)

    running = run(application)
    assert b"200 OK" in running.ask(f"GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode())
    assert b"200 OK" in running.ask(f"GET {target} HTTP/1.0\r\nHost: a.example\r\n\r\n".encode())
    assert found == [seen, seen]
    assert f'"GET {target} HTTP/1.1"' in running.access[0]


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_an_empty_line_before_a_request_is_skipped(run: Any, parser: None, cut: int) -> None:
    """RFC 9112 2.2; one, as some clients send behind a body."""
    running = run(show, keepalive_timeout=0.2, head_timeout=DEADLINE)
    client = running.connect()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for request in (b"GET /a HTTP/1.1\r\n\r\n", b"POST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"):
        data = b"\r\n" + request
        client.sendall(data[:cut])
        gevent.sleep(0)
        client.sendall(data[cut:])
        assert b"200 OK" in read_response(client)
    client.sendall(b"\r\n")
    assert read_all(client) == b""  # and no 408: nothing has begun
    assert len(running.access) == 2 and running.errors == []


@pytest.mark.parametrize("before", [b"\r\n\r\n", b"\n", b"\r", b" \r\n"])
def test_anything_else_before_a_request_is_refused(run: Any, parser: None, before: bytes) -> None:
    running = run(show)
    assert running.ask(before + b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert len(running.access) == 1


def test_heads_come_byte_by_byte(run: Any, parser: None) -> None:
    running = run(show)
    request = SAME["post"].replace(b"HTTP/1.1", b"HTTP/1.0")
    client = running.connect()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request:
        client.sendall(bytes([byte]))
        gevent.sleep(0)
    assert b"hello" in read_all(client)


def test_keeps_connections_alive(run: Any, parser: None) -> None:
    running = run(show)
    client = running.connect()
    for _ in range(3):
        client.sendall(b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
        assert b"abc" in read_response(client)
    client.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert b"200 OK" in read_all(client)
    assert len(running.access) == 4


def test_an_incomplete_head_is_no_request(run: Any) -> None:
    running = run(show)
    assert running.ask(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Le") == b""
    assert running.access == [] == running.errors


def test_log_lines_stay_one_line(run: Any, parser: None) -> None:
    running = run(show)
    running.ask(b"GET /\x1b[2J\x85\x0b HTTP/1.1 \rfoo\r\n\r\n")
    assert len(running.access) == 1
    assert running.access[0].isprintable()


# The parser by itself


@pytest.mark.parametrize("head", [*SAME.values(), *(b"GET / HTTP/1.1\r\n" + head for head in STRICTER.values())])
def test_the_end_of_a_head_is_found_wherever_it_is_cut(head: bytes) -> None:
    end = find_end(head)
    found = -1
    for size in range(1, min(len(head), 400) + 1):
        found = find_end(head[:size], size - 1)
        if found >= 0:
            break
    assert found == end or end > 400


def test_common_lines_are_kept_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = http_head._Fields()
    monkeypatch.setattr(http_head, "_fields", fields)
    head = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: b\r\nUser-Agent: %s\r\nCookie: c=d\r\nAuthorization: e\r\n\r\n"
    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    assert http_head.parse(head % (b"x" * 1000), first) and http_head.parse(head % b"y", second)
    assert set(fields) == {"Host: a", "Accept: b", "User-Agent: y"}
    assert first["HTTP_ACCEPT"] is second["HTTP_ACCEPT"] and first["HTTP_COOKIE"] == second["HTTP_COOKIE"] == "c=d"
    for number in range(3 * http_head._MAX_LINES):
        assert http_head.parse(b"GET / HTTP/1.1\r\nHost: a%d\r\n\r\n" % number, {})
    assert 0 < len(fields) <= http_head._MAX_LINES


def test_the_own_parser_takes_what_browsers_send() -> None:
    environ: dict[str, Any] = {}
    assert http_head.parse(UPGRADE, environ) == ("GET", "/ws?a=b", "HTTP/1.1")
    assert environ == {
        "HTTP_HOST": "a.example",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
    }


def read(handler_class: Any, head: bytes) -> tuple[Any, ...]:
    """Return all that a handler class makes of a head."""
    handler = handler_class.__new__(handler_class)
    handler.server = SimpleNamespace(get_environ=lambda: {"SCRIPT_NAME": ""}, body_timeout=1, min_body_rate=1)
    handler.client_address, handler.rfile, handler.stream = ("::1", 1), io.BytesIO(head), SimpleNamespace(tls=None)
    if handler_class is RequestHandler:
        environ: dict[str, Any] = handler.server.get_environ()
        read_plain(handler, environ, *http_head.parse(head, environ))
    else:
        assert handler.read_request(handler.read_requestline())
    environ = handler.get_environ()
    for name in ("wsgi.input", "wsgi.input_terminated"):
        del environ[name]  # they differ for upgrade offers, see test_http_body.py
    names = ("command", "path", "request_version", "requestline", "close_connection", "content_length")
    return environ, [getattr(handler, name) for name in names]


VALUES = st.sampled_from(["a", "close", "Close", "keep-alive", "Upgrade", "websocket", "upgrade, x", "0", "7", "a: b"])
NAMES = st.sampled_from(["Host", "connection", "Connection", "Upgrade", "Content-Length", "content-type", "X-A", "X-B"])
PLAIN = st.builds("{}: {}".format, NAMES, VALUES)
ODD = st.builds(
    "{}{}{}".format,
    st.sampled_from(["X_A", "Expect", "From ", "A:B", "", "Transfer-Encoding", "Host"]),
    st.sampled_from([": ", ":", ":  ", ""]),
    st.sampled_from(["", "a", " ", "a ", "chunked"]),
)
LINES = st.one_of(*9 * [PLAIN], ODD)
FIRST = st.builds(
    " ".join,
    st.tuples(
        st.sampled_from(["GET", "POST"]),
        st.sampled_from(["/", "/%41?b", "*", "http://a/b"]),
        st.sampled_from(["HTTP/1.1", "HTTP/1.0"]),
    ),
)


@given(
    FIRST,
    st.lists(LINES, max_size=5, unique_by=lambda line: line.partition(":")[0].lower()),
    st.sampled_from([*9 * ["\r\n"], "\n"]),
)
@settings(max_examples=300, deadline=None)
def test_what_the_own_parser_takes_it_reads_as_pywsgi_does(first: str, lines: list[str], end: str) -> None:
    head = end.join([first, *lines, "", ""]).encode()
    head = head[: find_end(head)]
    if http_head.parse(head, {}) is not None:
        assert read(RequestHandler, head) == read(pywsgi.WSGIHandler, head)
