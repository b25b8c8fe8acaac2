"""A relay between a client and a server that reads the server's 101, to tell what the two have agreed on."""

from __future__ import annotations

import contextlib
import socket
import threading

CHUNK = 1 << 16
DEADLINE = 60.0


class Tap:
    """Listens on an ephemeral port and passes each connection on to `port`."""

    def __init__(self, port: int) -> None:
        self.target = ("127.0.0.1", port)
        self.head = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.thread = threading.Thread(target=self.accept, daemon=True)

    def __enter__(self) -> Tap:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self.listener.close()
        self.thread.join(DEADLINE)

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                threading.Thread(target=self.relay, args=(client,), daemon=True).start()

    def relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server:
            client.settimeout(DEADLINE)
            server.settimeout(DEADLINE)
            asking = threading.Thread(target=pass_on, args=(client, server), daemon=True)
            asking.start()
            self.answer(server, client)
            asking.join(DEADLINE)

    def answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (data := server.recv(CHUNK)):
                head += data
                client.sendall(data)
            if head.startswith(b"HTTP/1.1 101"):
                self.head = head.partition(b"\r\n\r\n")[0]
        pass_on(server, client)

    def agreed(self) -> str:
        """What the server answered to the offer of extensions; empty where it agreed to none."""
        for line in self.head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == "sec-websocket-extensions":
                return value.strip()
        return ""


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes, and its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
