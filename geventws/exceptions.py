"""The errors of geventws, as one tree.

    WebSocketError
        ConnectionClosed        the connection is over          (also an OSError, errno EPIPE)
        ConcurrencyError        two greenlets in one wait()     (also a RuntimeError)
        ProtocolError           the peer violated RFC 6455      (also a ValueError), carries a close code
            InvalidData         1007
            PayloadTooBig       1009
        HandshakeError          an opening handshake failed; carries the HTTP answer
        InvalidStatus           client: the server answered with something other than 101
        InvalidURI              client: not a WebSocket URI     (also a ValueError)
        NoSocket                the WSGI server offers no socket (also a RuntimeError)
        RoomsError              client of rooms: a request has failed; carries the protocol's code

An error carries the answer to the peer: a handshake error has an HTTP status, a protocol error a close code. Its text
is one printable line, whatever the peer has sent; the peer's own text is in the attributes.
"""

from __future__ import annotations

import errno

from .text import one_line


class WebSocketError(Exception):
    """Base of all errors of geventws."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class ConnectionClosed(WebSocketError, BrokenPipeError):
    """The connection is over: raised by `send` and `ping`, never by `wait` (which returns None).

    It is an `OSError` with `errno` EPIPE, so code that catches a broken pipe keeps working.

    Attributes:
        code: the close code of the connection, 1006 when no close frame was received (RFC 6455 7.1.5).
        reason: the close reason, "" when there is none.
    """

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(errno.EPIPE, f"the connection is closed: {describe_close(code, reason)}")
        self.code = code
        self.reason = reason

    def __reduce__(self) -> tuple[type[ConnectionClosed], tuple[int, str]]:
        return type(self), (self.code, self.reason)


class ConcurrencyError(WebSocketError, RuntimeError):
    """Two greenlets called `wait` at the same time, or a thread used a connection of another one."""


class ProtocolError(WebSocketError, ValueError):
    """The peer's bytes violate RFC 6455.

    Args:
        message: what is wrong.
        close_code: 1002 by default.

    Attributes:
        close_code: the close code to answer with (RFC 6455 7.4.1).
        option: the name of our option that decides whether this is an error, or None.
    """

    close_code: int = 1002
    option: str | None = None

    def __init__(self, message: str, close_code: int | None = None) -> None:
        super().__init__(message)
        if close_code is not None:
            self.close_code = close_code


class InvalidData(ProtocolError):
    """Text that is not UTF-8, or compressed data that does not inflate (RFC 6455 8.1).

    Args:
        message: what is wrong.
        close_code: 1007 by default.
        option: the name of the option that decides, None by default.
    """

    close_code: int = 1007

    def __init__(self, message: str, close_code: int | None = None, *, option: str | None = None) -> None:
        super().__init__(message, close_code)
        self.option = option


class PayloadTooBig(ProtocolError):
    """A frame or a message over the limit (RFC 6455 10.4).

    Args:
        message: what is wrong.
        close_code: 1009 by default.
        limit: see below.
        size: see below.

    Attributes:
        limit: the limit in bytes, or None.
        size: the size in bytes that the frames announce; None if it is unknown, as for a compressed message.
    """

    close_code: int = 1009
    option: str | None = "max_message_size"

    def __init__(
        self, message: str, close_code: int | None = None, *, limit: int | None = None, size: int | None = None
    ) -> None:
        super().__init__(message, close_code)
        self.limit = limit
        self.size = size


class HandshakeError(WebSocketError):
    """An opening handshake that cannot succeed (RFC 6455 4.2.2 for servers, 4.1 for clients).

    On a server, `status` and `headers` are those of the response to send. A callback of the handshake may raise it to
    refuse the connection. On a client, they are those of the response that was received.

    Args:
        status: the HTTP status. On a client, 0 if there is no HTTP response.
        message: the reason, in one line; on a server it is the body of the response, and goes to the log.
        headers: on a server, further headers of the response; on a client all of them. Pairs; none by default.
        option: the name of the option that decides, for the log; None by default.

    Attributes:
        status, headers, option: as above.
        body: on a client, the first bytes of the response's body (at most 64 KiB); b"" without one.
    """

    body = b""

    def __init__(
        self,
        status: int,
        message: str,
        headers: list[tuple[str, str]] | None = None,
        option: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: list[tuple[str, str]] = headers or []
        self.option = option


class InvalidStatus(WebSocketError):
    """The server answered the opening handshake with a status other than 101.

    Attributes:
        status: the HTTP status.
        headers: the response's headers, as pairs.
        body: the first bytes of its body (at most 64 KiB).
    """

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        super().__init__(f"the server answered the handshake with HTTP status {status}, not 101")
        self.status = status
        self.headers = headers
        self.body = body


class ProxyError(InvalidStatus):
    """The proxy refused to connect the client to the server.

    Attributes:
        status, headers, body: as for `InvalidStatus`, from the proxy; the status is 0 for a SOCKS5 proxy.
        proxy: the proxy's address, without credentials.
        why: the reason that a SOCKS5 proxy gave; "" for an HTTP proxy.
    """

    def __init__(
        self, status: int, headers: list[tuple[str, str]], body: bytes, proxy: str, why: str = ""
    ) -> None:
        super().__init__(status, headers, body)
        self.proxy = proxy
        self.why = why

    def __str__(self) -> str:
        if self.why:
            return one_line(f"the proxy {self.proxy} refused: {self.why}")
        return one_line(f"the proxy {self.proxy} answered CONNECT with HTTP status {self.status}")


class InvalidURI(WebSocketError, ValueError):
    """The text is not a WebSocket URI (RFC 6455 3)."""


class NoSocket(WebSocketError, RuntimeError):
    """The WSGI server does not give its application the socket. The text names the servers that do."""


class RoomsError(WebSocketError):
    """A request of a `RoomsClient` has failed.

    Attributes:
        code: from the server "bad_request", "unknown_type", "forbidden", "limit" or "failed": see
            docs/rooms-protocol.rst. From the client "lost": the connection was lost before the answer, so the server
            may have done it, or not; "closed": the client is closed; "unsupported": the server does not speak the
            protocol.
        topic: the topic of the request, or None.
    """

    def __init__(self, code: str, message: str, topic: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.topic = topic

    def __reduce__(self) -> tuple[type[RoomsError], tuple[str, str, str | None]]:
        return type(self), (self.code, self.args[0], self.topic)


def describe_close(code: int, reason: str) -> str:
    """Return code and reason in one phrase, for messages and logs."""
    return f"{code} {one_line(reason)}" if reason else str(code)
