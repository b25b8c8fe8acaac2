"""WebSocketServer over TLS."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import contextlib
import pathlib
import ssl
from typing import Any

import gevent.ssl
import pytest
import trustme
from kit.apps.pairs import record
from kit.sites.http import Running, deadline, parser, read_all, read_response, run, show  # noqa: F401
from kit.sites.request_pairs import check_answers, cut, make_cases, make_messages

from geventws import WebSocket, WebSocketWSGI, connect


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a file with a certificate and its key."""
    path = str(tmp_path_factory.mktemp("tls") / "server.pem")
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    return path


def tls_options(certificate: str) -> dict[str, Any]:
    """Return options that make a server speak TLS."""
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return {"ssl_context": context}


def dial_tls(running: Running) -> Any:
    """Return a TLS client that trusts everybody."""
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, gevent.ssl.CERT_NONE
    client = context.wrap_socket(running.connect())
    running.clients.append(client)
    return client


@pytest.mark.parametrize("kind", [ssl.SSLContext, gevent.ssl.SSLContext], ids=["ssl", "gevent.ssl"])
def test_a_name_may_choose_the_certificate(run: Any, tmp_path: pathlib.Path, kind: Any) -> None:
    """An SNI callback sets `context` on what it is given, as the standard library has it."""
    authority = trustme.CA()
    contexts = {}
    for name in ("a.example", "b.example"):
        path = str(tmp_path / name)
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        contexts[name] = kind(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(path)
    asked = []

    def choose(sock: Any, name: str, context: Any) -> None:
        asked.append((name, context is contexts["a.example"], sock.context is context))
        sock.context = contexts[name]

    contexts["a.example"].sni_callback = choose
    running = run(show, ssl_context=contexts["a.example"])
    trusting = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusting)
    for name in contexts:
        with trusting.wrap_socket(running.connect(), server_hostname=name) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(12).endswith(b" 200")
    assert asked == [(name, True, True) for name in contexts]


def test_a_context_of_the_standard_library(run: Any, certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    @WebSocketWSGI
    def echo(ws: WebSocket) -> None:
        for message in ws:
            ws.send(message)

    running = run(echo, ssl_context=context)
    silent = dial_tls(running)  # which holds nobody up
    trusting = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, gevent.ssl.CERT_NONE
    with connect(f"wss://127.0.0.1:{running.server.server_port}/", ssl=trusting, proxy=None) as ws:
        ws.send("over the standard library's context")
        assert ws.wait(timeout=5) == "over the standard library's context"
    silent.close()


def test_tls(run: Any, parser: None, certificate: str) -> None:
    running = run(show, **tls_options(certificate))
    client = dial_tls(running)
    for _ in range(2):
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
        answer = read_response(client)
        assert b"'https'" in answer and b"abc" in answer


def test_tls_handshakes_have_a_deadline_and_fail_in_silence(
    run: Any, certificate: str, capfd: pytest.CaptureFixture[str]
) -> None:
    running = run(show, handshake_timeout=0.2, **tls_options(certificate))
    silent = running.connect()
    silent.sendall(b"\x16\x03\x01")
    assert read_all(silent) == b""
    wrong = running.connect()
    wrong.sendall(b"GET / HTTP/1.0\r\n\r\n")
    read_all(wrong)
    assert capfd.readouterr().err == ""
    assert running.access == []


def test_a_head_and_a_body_that_do_not_come_are_answered_with_408(run: Any, certificate: str) -> None:
    running = run(show, head_timeout=0.2, body_timeout=0.1, **tls_options(certificate))
    for request in (b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"):
        client = dial_tls(running)
        client.sendall(request)
        assert read_all(client).startswith(b"HTTP/1.1 408 Request Timeout\r\nCon")


def test_requests_in_a_row_are_read_as_they_were_sent(run: Any, certificate: str) -> None:
    """As on all hosts without TLS: see tests/hosts/test_pywsgi_bodies.py."""
    running = run(record, **tls_options(certificate))
    counts = []
    for case in make_cases(60, seed=7):
        client = dial_tls(running)
        for piece in cut(case, make_messages(case)):
            with contextlib.suppress(OSError):  # the connection has ended before it had all
                client.sendall(piece)
        counts.append((case, check_answers(case, read_all(client).removesuffix(b"<reset>"))))
        client.close()
    assert [case for case, count in counts if case.extra == "nothing" and count != 3] == []
