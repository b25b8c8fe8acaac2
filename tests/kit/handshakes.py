"""Literal environs and headers for the tests of the opening handshake."""

from __future__ import annotations

from typing import Any

import pytest

from geventws.exceptions import HandshakeError
from geventws.handshake.server import accept
from geventws.http.headers import HeaderList, Parameters

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the sample of RFC 6455 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
ANSWER = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", ACCEPT)]
LONG = 64 * 1024

HOSTILE = ["\r\nSet-Cookie: a=b", "\x00", "\x1b[2J", "\x85", "\xff" * 40, ",", ", " * 9, '"', "\\"]
HOSTILE += ["x" * LONG, "," * LONG, "x, " * LONG]


def request(**changes: str | None) -> dict[str, Any]:
    """Return a browser's request; `changes` are by the names of the environ, None takes one out."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "PATH_INFO": "/chat",
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "server.example.com",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
    }
    environ.update({name.replace("__", "."): value for name, value in changes.items()})
    return {name: value for name, value in environ.items() if value is not None}


def refusal(environ: dict[str, Any], **options: Any) -> tuple[int, str, HeaderList, str | None]:
    before = dict(environ)
    with pytest.raises(HandshakeError) as caught:
        accept(environ, **options)
    assert environ == before
    error = caught.value
    return error.status, str(error), error.headers, error.option


class Squeeze:
    """An extension that agrees to the first offer with a number, and records what it is asked."""

    def __init__(self, name: str = "squeeze") -> None:
        self.name = name
        self.asked: list[Any] = []

    def accept(self, offers: list[Parameters], /) -> tuple[Parameters, object] | None:
        self.asked.append(offers)
        for offer in offers:
            if offer and offer[0][0] == "by":
                return [offer[0], ("really", None)], f"{self.name} by {offer[0][1]}"
        return None

    def check(self, params: Parameters, /) -> object:
        self.asked.append(params)
        if params != [("by", "2")]:
            raise HandshakeError(0, "not by 2")
        return f"{self.name} by 2"
