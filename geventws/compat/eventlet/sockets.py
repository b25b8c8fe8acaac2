"""The WebSocket objects of eventlet.websocket, over geventws.WebSocket: see geventws.compat.eventlet."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from typing import Any, cast

import geventws

from ...endpoints import legacy
from ...engine.connection import Connection, Handshake
from ...engine.fragments import find_plain_limit, send_frame
from ...engine.intake import update_fast_path
from ...engine.options import LINGER, Timing
from ...exceptions import PayloadTooBig, ProtocolError
from ...frames import FIN, CloseCode, Opcode, encode_close, parse_close
from ...handshake.origins import Environ, read_origin
from ...http.headers import Parameters, parse_extensions
from ...protocol.connection import WebSocketProtocol
from ...protocol.hixie76 import HixieProtocol
from ...protocol.interface import ConnectionProtocol
from ...protocol.permessage_deflate import Deflate, PerMessageDeflate
from ...text import one_word
from ...websocket import get_connection
from .._controls import MAX_MESSAGE_SIZE

DEFAULT_MAX_FRAME_LENGTH = MAX_MESSAGE_SIZE
"""The default of `max_frame_length`: the largest message, in bytes."""

DRAIN_LINGER = 0.5
"""Seconds that a peer has to end its side when the server stops. eventlet gives it none."""

DEFAULT_TIMING = Timing()

CONTROL_OPCODES = (Opcode.CLOSE, Opcode.PING, Opcode.PONG)

Extensions = dict[str, dict[str, Any]]


class Protocol(WebSocketProtocol):
    """RFC 6455 with eventlet's close frames: the peer's code, or 1000; eventlet's text for a message too large."""

    __slots__ = ()

    def fail(self, error: ProtocolError) -> None:
        """Take nothing more."""
        if isinstance(error, PayloadTooBig):
            what = "compressed frame exceeds" if error.size is None else f"frame of {error.size} bytes is above"
            text = f"Incoming {what} length limit of {error.limit} bytes."
            error = PayloadTooBig(text, limit=error.limit, size=error.size)
        super().fail(error)

    def encode_close_frame(self, code: int | None, reason: str) -> bytes:
        """Return a close frame."""
        if self.close_received and self.failure is None:
            code, reason = 1000 if code == 1005 else code, ""
        return super().encode_close_frame(code, reason)


class WebSocket(geventws.WebSocket):
    """A connection: of draft 75 or 76 in this class, of RFC 6455 in its subclass `RFC6455WebSocket`.

    It has everything that a `geventws.WebSocket` has, and any attribute may be set on it.

    Args:
        sock: a connected gevent socket, after the handshake; `close` closes it.
        environ: the WSGI environ of the handshake.
        version: the draft, 75 or 76.
        early: bytes that followed the handshake. If it is not None, the socket's owner has to close it, and the caller
            still has to call the connection's `open`.
        timing: the clocks; eventlet has none.
    """

    socket: Any
    log: Any

    def __init__(
        self,
        sock: Any,
        environ: Environ,
        version: int = 76,
        *,
        early: bytes | None = None,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        protocol = HixieProtocol(version, max_message_size=DEFAULT_MAX_FRAME_LENGTH, strict=True)
        subprotocol = environ.get("HTTP_WEBSOCKET_PROTOCOL")
        start(self, sock, environ, protocol, version, subprotocol, early, legacy.use_keepalive(sock, timing))

    def send(self, message: object) -> None:  # type: ignore[override]
        """Send a text message: `str` and bytes as they are, anything else converted by `str`.

        Raises:
            BrokenPipeError: the connection is over (a `geventws.ConnectionClosed`).
            ValueError: bytes with a byte FF in them, which would end the message.
        """
        geventws.WebSocket.send(self, message if isinstance(message, (str, bytes)) else str(message))

    def wait(self, timeout: float | None = None) -> str | bytes | None:
        """Return the oldest message not yet taken; None once the connection is over. Blocks until there is one.

        Raises:
            ValueError: the peer sent bytes that are not a frame of these drafts.
        """
        message = super().wait(timeout)
        failure = get_connection(self).protocol.failure
        if message is None and failure is not None:
            raise failure
        return message

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages, until the connection is over. Blocks, and raises, as `wait` does."""
        return iter(self.wait, None)

    def close(self, close_data: tuple[int, str | bytes] | int | None = None, reason: str | bytes = "") -> None:
        """Close the connection without waiting for the peer's answer. Idempotent; does not block.

        Args:
            close_data: code and reason of the close frame, or the code; None sends a frame without either.
            reason: the reason, where `close_data` is a code.

        Raises:
            ValueError: code or reason may not be sent.
        """
        code, reason = close_data if isinstance(close_data, tuple) else (close_data, reason)
        if code == CloseCode.NO_STATUS_RCVD:
            raise ValueError(f"close code {code} may not be sent")
        finish(get_connection(self), code, reason if isinstance(reason, str) else reason.decode())

    @property
    def websocket_closed(self) -> bool:
        """Whether the connection is closed or closing."""
        return self.closed

    @property
    def log_context(self) -> str:
        """The text in front of eventlet's log lines."""
        get = self.environ.get
        target = f"{get('HTTP_HOST', '')}/{get('SCRIPT_NAME', '')}{get('PATH_INFO', '')}"
        return f"server={one_word(target)} client={one_word(get('REMOTE_ADDR', ''))}:{get('REMOTE_PORT', '')}"


def start(
    ws: WebSocket,
    sock: Any,
    environ: Environ,
    protocol: ConnectionProtocol,
    version: int,
    subprotocol: str | None,
    early: bytes | None,
    timing: Timing,
) -> None:
    """Give a WebSocket its connection. If `early` is None, open it: it receives from now on."""
    ws.socket = sock
    ws.log = environ.get("wsgi.errors") or sys.stderr
    address, path = environ.get("REMOTE_ADDR", ""), environ.get("PATH_INFO", "")
    handshake = Handshake(address, path, subprotocol, read_origin(environ, version), version, early or b"")
    connection = Connection(sock, protocol, timing, handshake, owned_socket=sock if early is None else None)
    geventws.WebSocket.__init__(ws, connection, environ)
    if early is None:
        connection.open()


def finish(connection: Connection, code: int | None, reason: str, linger: float = LINGER) -> None:
    """Close, and end our side at once, as eventlet does; the peer may end its own within `linger` seconds."""
    if not connection.ended:
        connection.closing.begin(code, reason)
        connection.closing.shut_down(linger)


class RFC6455WebSocket(WebSocket):
    """A connection of RFC 6455, on either side.

    Args:
        sock: a connected gevent socket, after the handshake; `close` closes it.
        environ: the WSGI environ of the handshake; {} on a client.
        version: 13 or 8.
        protocol: the negotiated subprotocol.
        client: whether this side is the client, whose frames are masked.
        extensions: the negotiated extensions, {"permessage-deflate": {parameter: value}}; it may be set later, too.
        max_frame_length: the largest message accepted, in bytes, however many frames it is in; 8 MiB by default.
        early: as for `WebSocket`.
        timing: as for `WebSocket`.
    """

    def __init__(
        self,
        sock: Any,
        environ: Environ,
        version: int = 13,
        protocol: str | None = None,
        client: bool = False,
        extensions: Extensions | None = None,
        max_frame_length: int = DEFAULT_MAX_FRAME_LENGTH,
        *,
        early: bytes | None = None,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self._extensions = extensions or {}
        self._unfinished = False  # whether a message was begun with final=False
        deflate = make_deflate(self._extensions, client)
        state = Protocol(client=client, max_message_size=max_frame_length, extension=deflate)
        start(self, sock, environ, state, version, protocol, early, timing)

    def send(  # type: ignore[override]
        self,
        message: str | bytes | bytearray | memoryview,
        continuation: bool = False,
        final: bool = True,
        control_code: int | None = None,
    ) -> None:
        """Send a message, `str` as text and bytes-like as binary, or a part of one, or a control frame.

        Blocks while the peer reads too slowly; any greenlet may call it.

        Args:
            message: the message, or the part, or the payload of the control frame.
            continuation: whether the message was begun before, with `final=False`.
            final: whether the message ends with this.
            control_code: 8, 9 or 10 sends a close, ping or pong frame.

        Raises:
            BrokenPipeError: the connection is closed or closing (a `geventws.ConnectionClosed`).
            ProtocolError: the frame may not be sent.
            TypeError: the message is of another type.
        """
        if control_code is not None:
            send_control(self, message, continuation or not final, control_code)
        elif continuation or not final or self._unfinished:
            send_part(self, message, continuation, final)
        else:
            geventws.WebSocket.send(self, message)

    def wait(self, timeout: float | None = None) -> str | bytes | None:
        """Return the oldest message not yet taken; None once the connection is over. Blocks until there is one."""
        return geventws.WebSocket.wait(self, timeout)

    @property
    def iterator(self) -> Iterator[str | bytes]:
        """An iterator over the messages."""
        return iter(self)

    @property
    def client(self) -> bool:
        """Whether this side is the client."""
        return get_connection(self).protocol.client

    @property
    def max_frame_length(self) -> int:
        """The largest message accepted, in bytes."""
        return get_connection(self).protocol.max_message_size

    @max_frame_length.setter
    def max_frame_length(self, value: int) -> None:
        get_connection(self).protocol.max_message_size = value
        update_fast_path(get_connection(self))

    @property
    def extensions(self) -> Extensions:
        """The negotiated extensions."""
        return self._extensions

    @extensions.setter
    def extensions(self, value: Extensions) -> None:
        self._extensions = value
        connection = get_connection(self)
        cast(Protocol, connection.protocol).extension = make_deflate(value, self.client)
        connection.stream.plain_limit = find_plain_limit(connection)

    @property
    def _remote_close_data(self) -> bytes | None:
        """The payload of the peer's close frame, None before it: in eventlet the only way to see a close code."""
        protocol = get_connection(self).protocol
        return encode_close(protocol.close_code, protocol.close_reason) if protocol.close_received else None


def send_part(ws: RFC6455WebSocket, message: Any, continuation: bool, final: bool) -> None:
    """Send a message, or a part of one, as a frame."""
    if continuation != ws._unfinished:
        raise ProtocolError("there is no message to continue" if continuation else "a message is not finished yet")
    if ws.closed:
        raise get_connection(ws).closed_error()
    payload = _as_bytes(message)
    head = FIN if final else 0
    deflate = get_connection(ws).protocol.extension
    if not continuation:
        head |= Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        head |= 0 if deflate is None else deflate.header_bits
    if deflate is not None:
        payload = bytes(deflate.encode_part(payload, final))
    ws._unfinished = not final
    send_frame(get_connection(ws), *get_connection(ws).protocol.encode(head, payload))


def send_control(ws: RFC6455WebSocket, message: Any, is_part: bool, opcode: int) -> None:
    """Send a ping, a pong or a close frame."""
    payload = _as_bytes(message)
    if opcode not in CONTROL_OPCODES:
        raise ProtocolError(f"there is no control frame with the opcode {opcode}")
    if is_part or len(payload) > 125:
        raise ProtocolError("a control frame is one frame of at most 125 bytes")
    if ws.closed:
        raise get_connection(ws).closed_error()
    if opcode == Opcode.CLOSE:
        get_connection(ws).closing.begin(*parse_close(payload))
    elif opcode == Opcode.PING:
        ws.ping(payload)
    else:
        get_connection(ws).send_control(opcode, payload)


def _as_bytes(message: Any) -> bytes:
    return message.encode() if isinstance(message, str) else bytes(memoryview(message))


# permessage-deflate as eventlet negotiates it


class EventletDeflate(PerMessageDeflate):
    """Compresses all messages but empty ones. Both sides keep their context, unless the client does not want that."""

    __slots__ = ()

    def accept(self, offers: list[Parameters]) -> tuple[Parameters, Deflate] | None:
        """Answer the first valid offer. A window without a value is 15; RFC 7692 allows that for only one."""
        return super().accept([[_with_window(*parameter) for parameter in offer] for offer in offers])


_deflate = functools.partial(EventletDeflate, level=6, memory_level=8, threshold=1)

NEGOTIATOR = _deflate(
    server_no_context_takeover=False,
    client_no_context_takeover=False,
    server_max_window_bits=15,
    client_max_window_bits=15,
)


def _with_window(name: str, value: str | None) -> tuple[str, str | None]:
    return name, "15" if value is None and name.endswith("_max_window_bits") else value


def make_deflate(extensions: Extensions, client: bool) -> Deflate | None:
    """Return the compression that `extensions` describe, or None."""
    if "permessage-deflate" not in extensions:
        return None
    agreed = {name: value for name, value in extensions["permessage-deflate"].items() if value}
    flags = {name: name in agreed for name in ("server_no_context_takeover", "client_no_context_takeover")}
    windows = {name: int(agreed.get(name, 15)) for name in ("server_max_window_bits", "client_max_window_bits")}
    parameters: Parameters = [(name, None) for name, is_set in flags.items() if is_set]
    parameters += [(name, str(bits)) for name, bits in windows.items()]
    configuration = _deflate(**flags, **windows)  # type: ignore[arg-type]
    if client:
        return configuration.check(parameters)
    answer = configuration.accept([parameters])
    assert answer is not None
    return answer[1]


def read_extensions(headers: Iterable[tuple[str, str]]) -> Extensions:
    """Return the extensions that an answer has agreed to, as arguments for `RFC6455WebSocket`."""
    header = dict(headers).get("Sec-WebSocket-Extensions", "")
    return {
        name: {key: True if value is None else int(value) for key, value in parameters}
        for name, parameters in parse_extensions(header)
    }
