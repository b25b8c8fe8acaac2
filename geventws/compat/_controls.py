"""Pings and pongs among the messages: for systems whose callbacks take them, in the order in which they came.

A `ControlWebSocket` says which of the two it wants. Those stand among the messages until `wait` comes upon them, and
hands them to `take_control`. A ping that is so handed out has not been answered: whoever wants it answers it. What is
not wanted is the engine's, which answers pings at once, whatever the handler does.
"""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, cast

from ..endpoints.decorator import WebSocketWSGI
from ..endpoints.endpoint import Endpoint, read_handshake
from ..engine.connection import Connection
from ..frames import Opcode
from ..protocol.closing import append
from ..protocol.connection import WebSocketProtocol
from ..websocket import WebSocket, get_connection

if TYPE_CHECKING:
    from ..handshake.origins import Environ
    from ..handshake.upgrade import Upgrade

MAX_MESSAGE_SIZE = 8 << 20
"""Bytes of a message that are taken, for systems that had no limit: what eventlet, which had one, allowed."""

OPTIONS = frozenset(inspect.signature(Endpoint).parameters)


class Control:
    """A ping or a pong where it stands among the messages."""

    __slots__ = ("opcode", "payload")

    def __init__(self, opcode: int, payload: bytes) -> None:
        self.opcode = opcode
        self.payload = payload

    def __len__(self) -> int:
        return len(self.payload)  # it counts as read ahead, as messages do


class ControlProtocol(WebSocketProtocol):
    """Delivers pings and pongs among the messages, as `Control`.

    Attributes:
        wanted: the opcodes that are delivered so.
    """

    __slots__ = ("wanted",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.wanted: Collection[int] = ()

    def receive_control(self, opcode: int, payload: bytes) -> None:
        """Take a control frame."""
        if opcode not in self.wanted:
            super().receive_control(opcode, payload)
            return
        if opcode == Opcode.PONG:
            self.controls = append(self.controls, (opcode, payload))  # it may answer a ping of the engine's
        self.inbox.append(Control(opcode, payload))


class ControlWebSocket(WebSocket):
    """A connection with a `ControlProtocol`. Derive from it, call `want`, and override `take_control`."""

    def __init__(self, connection: Connection, environ: Environ | None = None) -> None:
        super().__init__(connection, environ)
        self._keepalives: deque[bytes] = deque(maxlen=4)  # payloads of the engine's own pings, which notes them here
        connection.keepalive.payloads = self._keepalives

    def want(self, *opcodes: int) -> None:
        """Say which of PING and PONG go to `take_control`; nothing may have been received yet."""
        cast(ControlProtocol, get_connection(self).protocol).wanted = opcodes

    def take_control(self, opcode: int, payload: bytes) -> None:
        """Take a ping or a pong; called in the greenlet that is in `wait`, and may block."""

    def wait(self, timeout: float | None = None) -> str | bytes | None:
        """Return the oldest message not yet taken: see `WebSocket.wait`."""
        end = None if timeout is None else time.monotonic() + timeout
        message: Any = super().wait(timeout)
        while isinstance(message, Control):
            if message.opcode == Opcode.PONG and message.payload in self._keepalives:
                self._keepalives.remove(message.payload)
            else:
                self.take_control(message.opcode, message.payload)
            message = super().wait(None if end is None else end - time.monotonic())
        return cast("str | bytes | None", message)

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages, until the connection is over. Blocks, and hands out, as `wait` does."""
        return iter(self.wait, None)

    def send_pong(self, payload: bytes) -> None:
        """Send a pong. Does not block. ValueError for more than 125 bytes; a connection that is over takes none."""
        get_connection(self).send_control(Opcode.PONG, payload)


class ControlRoute(WebSocketWSGI):
    """A route whose connections are `ControlWebSocket`s; made by a face, which is the application itself."""

    websocket_class: type[WebSocket] = ControlWebSocket

    def __new__(cls, *_args: Any, **_options: Any) -> Any:
        """Return the route; it is never a decorator."""
        return object.__new__(cls)

    def make_protocol(self, upgrade: Upgrade) -> WebSocketProtocol:
        """Return the protocol's state."""
        return ControlProtocol(max_message_size=self.max_message_size, extension=upgrade.extension)

    def make_websocket(self, socket: Any, environ: Environ, upgrade: Upgrade) -> WebSocket:
        """Return the connection, not yet open."""
        connection = Connection(socket, self.make_protocol(upgrade), self.timing, read_handshake(environ, upgrade))
        return self.websocket_class(connection, environ)


def overrides(thing: object, base: type, name: str) -> bool:
    """Whether an object has a method of its own in the place of its base class's."""
    return getattr(getattr(thing, name), "__func__", None) is not getattr(base, name)


def pick_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are options of a route, with the defaults of systems that had none of these options."""
    options = {name: value for name, value in settings.items() if name in OPTIONS}
    return {"origins": None, "compression": None, "max_message_size": MAX_MESSAGE_SIZE, **options}
