"""Opening connections: to a server under attack, and from a client that is."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

from . import wire
from .peers import PATIENCE, Peer

CERTIFICATE = Path(os.environ.get("HOSTILE_BUILD", "build/hostile")) / "certificate.pem"
"""Chain and key of 127.0.0.1, which every end here shares."""


def make_certificate() -> None:
    """Make the certificate where there is none."""
    import trustme

    if CERTIFICATE.exists():
        return
    CERTIFICATE.parent.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(CERTIFICATE.with_name("authority.pem")))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(CERTIFICATE))


def connect(port: int, *, tls: bool = False, receive_buffer: int = 0) -> Peer:
    """Return a peer that is connected, and has said nothing."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", port))
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        sock = context.wrap_socket(sock)
    return Peer(sock)


def shake(
    port: int, path: str, *, tls: bool = False, deflate: bool = False, protocol: str = "", receive_buffer: int = 0
) -> Peer:
    """Return a peer that has shaken hands."""
    peer = connect(port, tls=tls, receive_buffer=receive_buffer)
    peer.send(wire.request(path, deflate=deflate, protocol=protocol))
    head = peer.read_head()
    if not head.startswith(b"HTTP/1.1 101"):
        raise ConnectionError(f"refused: {head[:80]!r}")
    return peer


def listen() -> socket.socket:
    """Return a listening socket for clients under attack."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.settimeout(PATIENCE)
    return listener


def take(listener: socket.socket, *, tls: bool = False, deflate: bool = False, receive_buffer: int = 0) -> Peer:
    """Accept a client, and return the peer that has shaken hands with it."""
    if receive_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock, _ = listener.accept()
    sock.settimeout(PATIENCE)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        sock = context.wrap_socket(sock, server_side=True)
    peer = Peer(sock, masked=False)
    peer.send(wire.answer(peer.read_head(), deflate=deflate))
    return peer
