"""The application that eventlet's own tests of WebSockets run against, and what two files of tests share."""

from __future__ import annotations

import errno
from typing import Any

import gevent
from kit.clients import RawClient
from kit.handshakes import KEY

KEYS = {"Sec-WebSocket-Key1": "4 @1  46546xW%0l 1 5", "Sec-WebSocket-Key2": "12998 5 Y3 1  .P00"}
REPLY = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
LIMIT = 50_000
CHALLENGE, RESPONSE = b"^n:ds[4U", b"8jKS'y:G*Co,Wxa-"


def demo(ws: Any) -> None:
    """/echo, /range and /error; any other path closes at once."""
    if ws.path == "/echo":
        while (message := ws.wait()) is not None:
            ws.send(message)
    elif ws.path == "/range":
        for number in range(10):
            ws.send(f"msg {number}")
            gevent.sleep(0.001)
    elif ws.path == "/error":
        raise OSError(errno.ENOTSOCK)
    else:
        ws.close()


class Recorded:
    """A WSGI application, and what it raised, which goes no further."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.raised: list[Exception] = []

    def __call__(self, environ: Any, start_response: Any) -> Any:
        try:
            return self.application(environ, start_response)
        except Exception as error:
            self.raised.append(error)
            return []


def request(path: str = "/echo", **headers: str | None) -> bytes:
    """Return a request; underscores stand for hyphens."""
    pairs = {"Host": "localhost:8080", **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode()


def request75(path: str = "/echo", **headers: str | None) -> bytes:
    """Return a handshake of draft 75."""
    return request(path, **{"Upgrade": "WebSocket", "Connection": "Upgrade", "Origin": "http://localhost", **headers})


def request76(path: str = "/echo", **headers: str | None) -> bytes:
    """Return a handshake of draft 76, challenge and all."""
    return request75(path, **{"Sec-WebSocket-Protocol": "ws", **KEYS, **headers}) + CHALLENGE


def request13(path: str = "/echo", **headers: str | None) -> bytes:
    """Return a handshake of RFC 6455."""
    given = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13"}
    return request(path, **{**given, **headers})


def read_head(client: RawClient) -> bytes:
    """Return the head of an answer, each byte as it came."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.read(1)
    return head


def connect(site: Any, handshake: bytes) -> RawClient:
    """Return a client that has shaken hands."""
    client: RawClient = site.dial()
    client.send(handshake)
    assert read_head(client).startswith(b"HTTP/1.1 101 ")
    if CHALLENGE in handshake:
        client.expect(RESPONSE)
    return client


def assert_refused(site: Any, handshake: bytes, status: str = "400 Bad Request") -> Any:
    """Be refused: no body, and the connection ends. Return the answer."""
    client = site.dial()
    client.send(handshake)
    answer = client.read_head()
    assert answer.status == f"HTTP/1.1 {status}"
    assert answer.get("connection") == "close" and answer.get("content-length") == "0"
    assert client.rest() == b""
    return answer
