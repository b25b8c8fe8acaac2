"""A SOCKS5 proxy as one installs it (microsocks), and the answers of one that says what a test wants."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent import socket as gsocket
from kit.servers.ports import free_port
from kit.servers.scripted import Peer

START = 10.0
"""Seconds for it to listen, on a busy machine."""

WELCOME = b"\x05\x00"
"""RFC 1928 3: no authentication."""


@contextlib.contextmanager
def microsocks(*options: str) -> Iterator[str]:
    """Run a proxy, and yield its host and port."""
    program = shutil.which("microsocks")
    assert program, "microsocks is missing: tools/debian.sh tests"
    port = free_port()
    command = [program, "-i", "127.0.0.1", "-p", str(port), *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            with gevent.Timeout(START):
                while not is_listening(port):
                    gevent.sleep(0.01)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


def is_listening(port: int) -> bool:
    try:
        gsocket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


class SocksPeer(Peer):
    """A client of a SOCKS5 proxy; its `asked` is the host and port of its request."""

    def read_request(self) -> None:
        version, count = self.read(2)
        assert (version, self.read(count)[:1]) == (5, b"\x00")

    def read_target(self) -> tuple[str, int]:
        """Return what it asks to be connected to (RFC 1928 4)."""
        assert self.read(3) == b"\x05\x01\x00"
        kind = self.read(1)[0]
        if kind == 3:
            host = self.read(self.read(1)[0]).decode()
        else:
            family, size = {1: (gsocket.AF_INET, 4), 4: (gsocket.AF_INET6, 16)}[kind]
            host = gsocket.inet_ntop(family, self.read(size))
        return host, int.from_bytes(self.read(2), "big")


def granting(targets: list[tuple[str, int]], *parts: bytes) -> Callable[[Any], None]:
    """Return a script that notes what is asked for, and sends the parts of a reply, each in a segment of its own."""

    def script(peer: SocksPeer) -> None:
        peer.socket.setsockopt(gsocket.IPPROTO_TCP, gsocket.TCP_NODELAY, 1)
        peer.socket.sendall(WELCOME)
        targets.append(peer.read_target())
        for part in parts:
            peer.socket.sendall(part)
            gevent.sleep(0)

    return script
