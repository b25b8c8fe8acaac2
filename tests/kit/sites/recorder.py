"""Callback applications that note what is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent.event import AsyncResult
from kit.clients import RawClient

from geventws import WebSocketApplication


class Recorder(WebSocketApplication):
    """Notes what is called; `reply` is what the callbacks return for a message."""

    def __init__(self, **options):
        super().__init__(**options)
        self.calls = []
        self.opened = AsyncResult()
        self.closed = AsyncResult()
        self.reply = None

    def note(self, ws, *call):
        assert ws.application is self
        self.calls.append(call)
        return self.reply(call[1]) if callable(self.reply) else self.reply

    def on_open(self, ws):
        self.calls.append(("open", ws.environ["PATH_INFO"]))
        self.opened.set(ws)

    def on_message(self, ws, message):
        return self.note(ws, "message", message)

    def on_bytes(self, ws, data):
        return self.note(ws, "bytes", data)

    def on_close(self, ws, code, reason):
        self.calls.append(("close", code, reason))
        self.closed.set((code, reason))


class Controls(Recorder):
    """The same for pings and pongs."""

    def on_ping(self, ws, payload):
        return self.note(ws, "ping", payload)

    def on_pong(self, ws, payload):
        return self.note(ws, "pong", payload)


def connect(serve: Callable[..., Any], app: Recorder, frames: bytes = b"", **options: Any) -> tuple[RawClient, Any]:
    """Serve an application, shake hands, and return the client and the connection."""
    client = serve(app, **options).connect("/here", frames)
    return client, app.opened.get()
