"""What each server with a native thread for each connection has to do, whichever it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gevent
from kit import frames
from kit.clients import RawClient

from geventws import WebSocketApplication, WebSocketMiddleware, WebSocketWSGI


@WebSocketWSGI
def echo(ws: Any) -> None:
    """Echo what comes."""
    for message in ws:
        ws.send(message)


def talk(environ: dict[str, Any], start_response: Any) -> Any:
    """Echo what comes on the connection that the middleware has put there."""
    echo.handler(environ["wsgi.websocket"])
    return []


class Echo(WebSocketApplication):
    """Echoes what comes."""

    def on_message(self, ws: Any, message: str) -> str:
        return message


DOORS = [echo, WebSocketMiddleware(talk), Echo()]
"""The same application at each door."""


def check_early_frames(dial: Callable[[Any], RawClient], application: Any) -> None:
    """Frames that follow the handshake at once are not lost."""
    client = dial(application)
    client.open(frames.text("early") + frames.text("bird"))
    client.expect(b"\x81\x05early\x81\x04bird")
    client.send(frames.text("late"))
    client.expect(b"\x81\x04late")
    client.leave(4000, "done")


def check_descriptors(dial: Callable[[Any], RawClient], application: Any) -> None:
    """No descriptor is left of a connection."""
    before = len(os.listdir("/proc/self/fd"))
    client = dial(application)
    listening = len(os.listdir("/proc/self/fd")) - before
    client.open()
    client.leave()
    with gevent.Timeout(5, False):
        while len(os.listdir("/proc/self/fd")) > before + listening:
            gevent.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) <= before + listening
