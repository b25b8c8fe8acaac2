"""exceptions.py: the tree, and the answer that each error carries."""

from __future__ import annotations

import errno
import pickle

import pytest

from geventws import exceptions
from geventws.exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    HandshakeError,
    InvalidData,
    InvalidStatus,
    InvalidURI,
    NoSocket,
    PayloadTooBig,
    ProtocolError,
    ProxyError,
    RoomsError,
    WebSocketError,
)

TREE = {
    ConnectionClosed: (BrokenPipeError, OSError),
    ConcurrencyError: (RuntimeError,),
    ProtocolError: (ValueError,),
    InvalidData: (ProtocolError, ValueError),
    PayloadTooBig: (ProtocolError, ValueError),
    HandshakeError: (),
    InvalidStatus: (),
    ProxyError: (InvalidStatus,),
    InvalidURI: (ValueError,),
    NoSocket: (RuntimeError,),
    RoomsError: (),
}


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_every_error_is_in_the_tree(error: type[Exception]) -> None:
    assert issubclass(error, WebSocketError)
    assert all(issubclass(error, base) for base in TREE[error])


def test_the_tree_has_no_other_error() -> None:
    found = {value for value in vars(exceptions).values() if isinstance(value, type)}
    assert found == {WebSocketError, *TREE}


def test_a_closed_connection_is_a_broken_pipe() -> None:
    error = ConnectionClosed(1001, "so long")
    assert (error.errno, error.code, error.reason) == (errno.EPIPE, 1001, "so long")
    assert error.args[0] == 32
    assert "1001 so long" in str(error)


def test_a_closed_connection_without_a_close_frame_is_1006() -> None:
    error = ConnectionClosed()
    assert (error.code, error.reason) == (1006, "")
    assert str(error).endswith("1006")


def test_a_closed_connection_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(ConnectionClosed(4000, "why not")))
    assert (type(error), error.code, error.reason, error.errno) == (ConnectionClosed, 4000, "why not", 32)


@pytest.mark.parametrize(("error", "code"), [(ProtocolError, 1002), (InvalidData, 1007), (PayloadTooBig, 1009)])
def test_a_protocol_error_carries_its_close_code(error: type[ProtocolError], code: int) -> None:
    assert error("why").close_code == error.close_code == code
    assert str(error("why")) == "why"


def test_a_protocol_error_may_carry_another_close_code() -> None:
    assert ProtocolError("why", 1007).close_code == 1007
    assert ProtocolError.close_code == 1002


def test_a_handshake_error_carries_its_answer() -> None:
    error = HandshakeError(426, "no such version", [("Sec-WebSocket-Version", "13")], "versions")
    assert (error.status, str(error), error.option) == (426, "no such version", "versions")
    assert error.headers == [("Sec-WebSocket-Version", "13")]


def test_handshake_errors_share_no_list_of_headers() -> None:
    HandshakeError(400, "why").headers.append(("Allow", "GET"))
    assert HandshakeError(400, "why").headers == []
    assert HandshakeError(400, "why").option is None


def test_an_invalid_status_carries_the_answer() -> None:
    error = InvalidStatus(403, [("Content-Type", "text/plain")], b"no")
    assert (error.status, error.headers, error.body) == (403, [("Content-Type", "text/plain")], b"no")
    assert "403" in str(error)


def test_a_proxy_error_carries_the_answer_and_tells_whose_it_is() -> None:
    error = ProxyError(407, [("Content-Length", "2")], b"no", "http://proxy.example:3128")
    assert (error.status, error.headers, error.body) == (407, [("Content-Length", "2")], b"no")
    assert error.proxy in str(error) and "407" in str(error)


@pytest.mark.parametrize(("code", "reason", "text"), [(1000, "", "1000"), (1002, "a b", "1002 a b")])
def test_describe_close(code: int, reason: str, text: str) -> None:
    assert exceptions.describe_close(code, reason) == text
