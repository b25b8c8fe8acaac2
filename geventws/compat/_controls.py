"""Pings and pongs among the messages: for systems with callbacks for them, called in the order in which they came.

`Controls` says which of the two are wanted. These wait among the messages until its `wait` finds them, and passes them
to a function. That function has to answer such a ping; nobody else does. If pings are not wanted, the engine answers
them at once, whatever the handler does.
"""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

from ..endpoints.decorator import WebSocketWSGI
from ..endpoints.endpoint import Endpoint, read_handshake
from ..engine.connection import Connection
from ..frames import Opcode
from ..protocol.closing import append
from ..protocol.connection import WebSocketProtocol
from ..websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..handshake.origins import Environ
    from ..handshake.upgrade import Upgrade

MAX_MESSAGE_SIZE = 8 << 20
"""The largest message, in bytes, for systems that had no limit: the limit that eventlet had."""

OPTIONS = frozenset(inspect.signature(Endpoint).parameters)


class Control:
    """A ping or a pong in its place among the messages."""

    __slots__ = ("opcode", "payload")

    def __init__(self, opcode: int, payload: bytes) -> None:
        self.opcode = opcode
        self.payload = payload

    def __len__(self) -> int:
        return len(self.payload)  # it counts as read ahead, as messages do


class ControlProtocol(WebSocketProtocol):
    """Delivers pings and pongs among the messages, as `Control`.

    Attributes:
        wanted: the opcodes that are delivered like this.
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
            self.controls = append(self.controls, (opcode, payload))  # it may be the answer to a ping of the engine's
        self.inbox.append(Control(opcode, payload))


class Controls:
    """The pings and pongs of one connection with a `ControlProtocol`, for the code that takes its messages.

    Args:
        connection: the connection, which has received nothing yet.
        wanted: which of PING and PONG to pass on.
    """

    __slots__ = ("_keepalives",)

    def __init__(self, connection: Connection, wanted: Collection[int]) -> None:
        cast(ControlProtocol, connection.protocol).wanted = wanted
        self._keepalives: deque[bytes] = deque(maxlen=4)  # payloads of the engine's own pings, which it adds here
        connection.keepalive.payloads = self._keepalives

    def wait(
        self, receive: Callable[[float | None], Any], give: Callable[[int, bytes], object], timeout: float | None = None
    ) -> str | bytes | None:
        """Return the oldest message not yet taken: see `WebSocket.wait`.

        Args:
            receive: the `wait` of the WebSocket, or of its base class.
            give: called with the opcode and payload of each ping and pong before the message; it may block.
            timeout: seconds for all of it.
        """
        end = None if timeout is None else time.monotonic() + timeout
        message = receive(timeout)
        while isinstance(message, Control):
            if message.opcode == Opcode.PONG and message.payload in self._keepalives:
                self._keepalives.remove(message.payload)
            else:
                give(message.opcode, message.payload)
            message = receive(None if end is None else end - time.monotonic())
        return cast("str | bytes | None", message)


class ControlRoute(WebSocketWSGI):
    """A route whose connections have a `ControlProtocol`; made by a face, which is the application itself."""

    websocket_class: type[WebSocket] = WebSocket

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


def pick_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are options of a route, with defaults as in systems without such options."""
    options = {name: value for name, value in settings.items() if name in OPTIONS}
    return {"origins": None, "compression": None, "max_message_size": MAX_MESSAGE_SIZE, **options}
