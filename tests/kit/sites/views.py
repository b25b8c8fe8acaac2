"""What every framework's views do alike. Each site has /hello/<name>, /pour, /fail and, with subprotocols, /options."""

from __future__ import annotations

from typing import Any

import pytest
from kit.sites.site import Site

from geventws import InvalidStatus, connect

HEADERS = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
"""An opening handshake's, for a framework's own test client."""


def pour(ws: Any) -> None:
    """Send until the peer is gone."""
    while True:
        ws.send(b"x" * 100_000)


def check_arguments(site: Site) -> None:
    """A view gets the route's arguments, and its return closes with 1000."""
    with connect(f"ws://127.0.0.1:{site.port}/hello/ann") as ws:
        assert list(ws) == ["hello ann"]
        assert ws.close_code == 1000


def check_options(site: Site) -> None:
    """A decorator takes the options of WebSocketWSGI."""
    with connect(f"ws://127.0.0.1:{site.port}/options", subprotocols=["chat"]) as ws:
        assert ws.protocol == "chat"


def check_departure(site: Site, path: str = "/pour") -> None:
    """Nothing is said of a client that leaves while the view sends."""
    site.connect(path).reset()
    site.settle()
    assert site.errors == []


def check_failure(site: Site) -> None:
    """A view that raises closes with 1011; nothing follows the close frame."""
    client = site.connect("/fail")
    client.expect_close(1011)
    site.settle()


def check_refusals(site: Site) -> None:
    """A page is no handshake, and other origins may not connect."""
    client = site.dial()
    client.send(b"GET /pour HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    answer = client.read_head()
    assert answer.status.startswith("HTTP/1.1 400 ") and answer.get("connection") == "close"
    assert b"WebSocket" in client.rest()
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{site.port}/pour", headers={"Origin": "https://evil.example"})
    assert caught.value.status == 403
