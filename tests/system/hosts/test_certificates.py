"""The certificate of a client, in the environ, on every host that ends TLS."""

from __future__ import annotations

import pathlib
import ssl
from collections.abc import Iterator
from typing import Any

import gevent.ssl
import pytest
from gevent.pywsgi import WSGIServer
from kit.apps.certificates import application
from kit.clients import RawClient
from kit.programs.hosts import GUNICORN, Host

from geventws import WebSocketServer

CLIENT = "robot.example"
SERVERS = {"pywsgi": WSGIServer, "WebSocketServer": WebSocketServer}


@pytest.fixture(scope="module")
def clients(authority: Any, certificate: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Contexts of clients, with a certificate and without."""
    path = str(tmp_path_factory.mktemp("client") / "client.pem")
    authority.issue_cert(CLIENT).private_key_and_cert_chain_pem.write_to_path(path)
    contexts = {}
    for name in ("with", "without"):
        contexts[name] = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        contexts[name].load_verify_locations(certificate["ca_certs"])
    contexts["with"].load_cert_chain(path)
    return contexts


def make_context(kind: Any, certificate: dict[str, str]) -> Any:
    """Return a server's context that asks for a certificate, and does without."""
    context = kind(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate["certfile"], certificate["keyfile"])
    context.load_verify_locations(certificate["ca_certs"])
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def check(port: int, clients: dict[str, Any], page: str | None) -> None:
    """All ways tell the client's name; `page` is what a plain answer tells, where it is not the same."""
    for kind, name in (("with", CLIENT), ("without", "")):
        for path in ("/handler", "/callbacks", "/middleware"):
            client = RawClient(port, clients[kind])
            answer = client.open(b"", path)
            assert path != "/handler" or answer.get("X-Client") == name
            assert client.read_message() == name, path
            if path == "/callbacks":
                client.leave()
            else:
                client.expect_close()
            client.close()
        for path in ("/page", "/middleware"):
            client = RawClient(port, clients[kind])
            client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            expected = name if path == "/middleware" or page is None else page
            assert client.rest().endswith(b"\r\n\r\n" + expected.encode()), (path, kind)
            client.close()


@pytest.mark.parametrize("context", [ssl.SSLContext, gevent.ssl.SSLContext], ids=["ssl", "gevent.ssl"])
def test_on_our_server(serve: Any, certificate: dict[str, str], clients: dict[str, Any], context: Any) -> None:
    site = serve(application, server_class=WebSocketServer, ssl_context=make_context(context, certificate))
    check(site.port, clients, None)


def test_on_pywsgi(serve: Any, certificate: dict[str, str], clients: dict[str, Any]) -> None:
    site = serve(application, ssl_context=make_context(gevent.ssl.SSLContext, certificate))
    check(site.port, clients, "plain")


def test_there_is_none_without_tls(serve: Any) -> None:
    for server in SERVERS.values():
        assert serve(application, server_class=server).connect("/handler").read_message() == "plain"


@pytest.fixture(scope="module", params=["gevent", "gevent_pywsgi", "geventws.gunicorn.Worker"])
def gunicorn(request: Any, certificate: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Start gunicorn, which asks for certificates."""
    command = [word.replace("apps.hosted", "apps.certificates") for word in GUNICORN]
    config = tmp_path_factory.mktemp("gunicorn") / "gunicorn.conf.py"
    write_config(config, certificate)
    host = Host([*command, "--config", str(config), "-k", request.param]).listening()
    yield host
    host.terminate()
    host.wait()


def write_config(path: pathlib.Path, certificate: dict[str, str]) -> None:
    options = {name: certificate[name] for name in ("certfile", "keyfile", "ca_certs")}
    lines = [f"{name} = {value!r}\n" for name, value in options.items()]
    path.write_text("".join([*lines, f"cert_reqs = {int(ssl.CERT_OPTIONAL)}\n"]))


def test_on_gunicorn(gunicorn: Host, clients: dict[str, Any], serve: Any) -> None:
    check(gunicorn.port, clients, None if "geventws.gunicorn.Worker" in gunicorn.command else "plain")
