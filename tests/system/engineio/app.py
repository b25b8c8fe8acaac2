"""A Flask-SocketIO site for client.mjs: `python app.py PORT`, or `gunicorn -k gevent app:app`.

There is no other WebSocket package in it, whatever is installed.
"""

from __future__ import annotations

import sys
from typing import Any

from flask import Flask, request
from flask_socketio import SocketIO, call, disconnect, emit, join_room, leave_room

from geventws.compat import engineio

for name in ("simple_websocket", "geventwebsocket", "eventlet"):
    assert name not in sys.modules
    sys.modules[name] = None  # importing it is an ImportError

engineio.install()

app = Flask(__name__)
socketio = SocketIO(
    app,
    max_http_buffer_size=5e6,
    ping_interval=1,
    ping_timeout=5,
    cors_allowed_origins=["https://shop.example"],
)
assert socketio.async_mode == "gevent"


@app.get("/")
def page() -> str:
    return "a page"


@socketio.on("transport")
def transport() -> str:
    return socketio.server.transport(request.sid)


@socketio.on("add")
def add(first: int, second: int) -> int:
    return first + second


@socketio.on("mirror")
def mirror(*values: Any) -> tuple[Any, ...]:
    """Send back what came, as an event and in the acknowledgement."""
    emit("mirrored", values)
    return values


@socketio.on("make")
def make(size: int) -> bytes:
    return bytes(range(256)) * (size // 256)


@socketio.on("ask me")
def ask(question: str) -> str:
    """Ask the client, and return what it acknowledges with."""
    return "you said " + call("question", question, timeout=5)


@socketio.on("join")
def join(room: str) -> None:
    join_room(room)


@socketio.on("leave")
def leave(room: str) -> None:
    leave_room(room)


@socketio.on("say")
def say(room: str, text: str) -> None:
    emit("said", text, to=room)


@socketio.on("throw me out")
def throw_out() -> None:
    disconnect()


@socketio.on("disconnect")
def gone(reason: str) -> None:
    emit("gone", (request.sid, reason), broadcast=True, include_self=False)


if __name__ == "__main__":
    socketio.run(app, port=int(sys.argv[1]))
