"""What wsproto's client and server share: it does no I/O, so here is some."""

from __future__ import annotations

import common
from wsproto.events import BytesMessage, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate

EXTENSIONS = {
    "default": list,
    "deflate": lambda: [PerMessageDeflate()],
    "no context": lambda: [PerMessageDeflate(client_no_context_takeover=True, server_no_context_takeover=True)],
}


def send_message(sock, ws, number, message):
    kind = TextMessage if isinstance(message, str) else BytesMessage
    parts = common.cut(number, message) or [message]
    for part in parts[:-1]:
        sock.sendall(ws.send(kind(part, message_finished=False)))
    if common.wants_ping(number):
        sock.sendall(ws.send(Ping(common.PING)))
    sock.sendall(ws.send(kind(parts[-1])))


def read_events(sock, ws):
    """The events of a connection, until it ends."""
    while data := sock.recv(65536):
        ws.receive_data(data)
        yield from ws.events()


def read_messages(sock, ws):
    """The messages of a connection, whole; pings are answered, and what else comes is raised."""
    parts = []
    for event in read_events(sock, ws):
        if isinstance(event, TextMessage | BytesMessage):
            parts.append(event.data)
            if event.message_finished:
                yield parts[0][:0].join(parts)
                parts = []
        elif isinstance(event, Ping):
            sock.sendall(ws.send(event.response()))
        elif type(event).__name__ not in ("Pong", "AcceptConnection"):
            raise SystemExit(f"it came to {event}")
