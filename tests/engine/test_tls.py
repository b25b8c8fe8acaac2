"""tls.py: the calls on a socket with OpenSSL in between, and the records that they make on the wire."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.ssl
import pytest
from gevent import socket as gsocket
from kit.engine.system import connect_pair

from geventws.engine.backlog import Backlog
from geventws.engine.loop.poller import get_poller
from geventws.engine.stream import Stream
from geventws.engine.tls import RECORD_SIZE, TLSCalls, fill_record, find_tls

APPLICATION_DATA = 23
"""The type of a record (RFC 8446 5.1); in TLS 1.3 it is that of all but the first of a handshake."""


class Pair:
    """Both ends of a TLS connection after its handshake.

    Attributes:
        calls: those on our end.
        far: the other end.
    """

    def __init__(self, certificate: dict[str, str], client: Any) -> None:
        server = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate["certfile"], certificate["keyfile"])
        server.num_tickets = 0  # or they are the first records
        near, far = connect_pair()
        wrapping = gevent.spawn(server.wrap_socket, near, server_side=True)
        self.far = client.wrap_socket(far, server_hostname="127.0.0.1")
        self.near = wrapping.get()
        self.calls = find_tls(self.near, self.near._sock)
        assert type(self.calls) is TLSCalls

    def receive(self, data: bytes) -> None:
        """Have bytes come to our end."""
        self.far.sendall(data)
        gsocket.wait_read(self.near.fileno())

    def read_records(self) -> list[int]:
        """Return the sizes of the records on the wire, after which our side ends."""
        self.near._sock.shutdown(socket.SHUT_WR)
        data, sizes = b"", []
        while part := gsocket.socket.recv(self.far, 1 << 20):
            data += part
        while data:
            assert data[0] == APPLICATION_DATA
            sizes.append(int.from_bytes(data[3:5], "big"))
            data = data[5 + sizes[-1] :]
        return sizes


@pytest.fixture
def pair(certificate: dict[str, str], tls: Any) -> Iterator[Pair]:
    one = Pair(certificate, tls)
    yield one
    one.near.close()
    one.far.close()


def test_a_plain_socket_has_none() -> None:
    near, far = gsocket.socketpair()
    assert find_tls(near, near._sock) is None
    near.close(), far.close()


# Receiving


def test_a_record_is_received_in_as_many_parts_as_asked_for(pair: Pair) -> None:
    pair.receive(b"abcdef")
    buffer = memoryview(bytearray(4))
    assert pair.calls.recv_into(buffer) == 4 and buffer == b"abcd" and pair.calls.has_more()
    assert pair.calls.recv_into(buffer) == 2 and buffer[:2] == b"ef" and not pair.calls.has_more()
    with pytest.raises(BlockingIOError):
        pair.calls.recv_into(buffer)


def test_the_end_is_no_bytes(pair: Pair) -> None:
    """Also without a close_notify: what is missing then is up to the protocol above."""
    pair.far._sock.shutdown(socket.SHUT_WR)
    gsocket.wait_read(pair.near.fileno())
    assert pair.calls.recv_into(memoryview(bytearray(4))) == 0


def test_openssl_does_not_read_from_who_has_its_number(pair: Pair) -> None:
    pair.near._sock.close()
    with pytest.raises(OSError) as caught:
        pair.calls.recv_into(memoryview(bytearray(4)))
    assert caught.value.errno == errno.EBADF and pair.calls.fileno() == -1


def test_there_is_input_where_encrypted_bytes_have_come(pair: Pair) -> None:
    pair.receive(b"a")
    assert pair.calls.recv(100, socket.MSG_PEEK)[0] == APPLICATION_DATA


# Sending


def test_small_frames_are_one_record(pair: Pair) -> None:
    assert pair.calls.send(b"abc") == 3
    assert len(pair.read_records()) == 1


def test_a_header_shares_a_record_with_the_first_of_its_payload(pair: Pair) -> None:
    header, payload = b"head", bytes(2 * RECORD_SIZE)
    pieces = fill_record(header, payload)
    assert b"".join(pieces) == header + payload
    assert pair.calls.sendmsg(pieces) == len(header) + len(payload)
    first, *others = pair.read_records()
    assert first >= len(header) + RECORD_SIZE and len(others) == 1


def test_a_payload_that_fills_no_record_is_one_with_its_header(pair: Pair) -> None:
    assert pair.calls.sendmsg(fill_record(b"head", b"abc")) == 7
    assert len(pair.read_records()) == 1


def test_a_write_that_did_not_go_through_is_repeated(pair: Pair) -> None:
    """As OpenSSL wants it: the same bytes, and no fewer."""
    sent = 0
    message = bytes(range(251)) * 400
    while (count := pair.calls.send(message)) == len(message):
        sent += count
    backlog = Backlog(message[count:], int)
    assert not backlog.send(pair.calls.send)
    reading = gevent.spawn(read_all, pair.far)
    while not backlog.send(pair.calls.send):
        gevent.sleep(0)
    pair.calls.shutdown(socket.SHUT_WR)
    assert reading.get() == message * (sent // len(message) + 1)


def read_all(far: Any) -> bytes:
    data = bytearray()
    while part := far.recv(1 << 20):
        data += part
    return bytes(data)


def test_a_stream_sends_large_frames_over_it_in_order(pair: Pair) -> None:
    class Channel:
        fd, peer, inbox = pair.near.fileno(), "a stream", []

        def run(self) -> bool:
            return False

        def flush(self) -> None:
            stream.flush()

        def writable(self) -> None:
            stream.writable()

    channel = Channel()
    stream = Stream(pair.near, channel, get_poller(), None)
    stream.open()
    stream.pause()
    assert stream.opaque
    reading = gevent.spawn(read_all, pair.far)
    stream.push(b"first")
    for _ in range(3):
        stream.send_large(b"head", bytes(5_000_000))
    stream.send(b"last")
    stream.end()
    assert reading.get() == b"first" + (b"head" + bytes(5_000_000)) * 3 + b"last"
    stream.close()


def test_our_end_is_notified_unless_both_sides_end(pair: Pair) -> None:
    pair.calls.shutdown(socket.SHUT_WR)
    assert gsocket.socket.recv(pair.far, 100)[0] == APPLICATION_DATA  # an alert, in TLS 1.3


def test_the_end_of_both_sides_is_not_notified(pair: Pair) -> None:
    pair.calls.shutdown(socket.SHUT_RDWR)
    assert gsocket.socket.recv(pair.far, 100) == b""


def test_nothing_is_said_to_whoever_has_the_number_of_a_closed_socket(pair: Pair) -> None:
    number = pair.calls.fileno()
    other, theirs = socket.socketpair()
    pair.calls.close()
    with other, theirs, socket.socket(fileno=os.dup2(other.fileno(), number)):
        with pytest.raises(OSError) as caught:
            pair.calls.shutdown(socket.SHUT_WR)
        assert caught.value.errno == errno.EBADF
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
