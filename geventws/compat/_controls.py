"""Pings and pongs among the messages: for systems whose callbacks take them, in the order in which they came.

`Controls` says which of the two are wanted. They stand among the messages until its `wait` comes upon them, and gives
them to a function. Nobody else answers a ping that is given out so: that function does. What is not wanted is the
engine's, which answers pings at once, whatever the handler does.
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


class Controls:
    """The pings and pongs of one connection with a `ControlProtocol`, for the code that takes its messages.

    Args:
        connection: the connection, which has received nothing yet.
        wanted: the opcodes of what is given out.
    """

    __slots__ = ("_keepalives",)

    def __init__(self, connection: Connection, wanted: Collection[int]) -> None:
        cast(ControlProtocol, connection.protocol).wanted = wanted
        self._keepalives: deque[bytes] = deque(maxlen=4)  # payloads of the engine's own pings, which notes them here
        connection.keepalive.payloads = self._keepalives

    def wait(
        self, receive: Callable[[float | None], Any], give: Callable[[int, bytes], object], timeout: float | None = None
    ) -> str | bytes | None:
        """Return the oldest message not yet taken: see `WebSocket.wait`.

        Args:
            receive: the `wait` of the WebSocket, or of its base class.
            give: called with opcode and payload of what stands before the message; it may block.
            timeout: seconds, for all that.
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


def overrides(thing: object, base: type, name: str) -> bool:
    """Whether an object has a method of its own in the place of its base class's."""
    return getattr(getattr(thing, name), "__func__", None) is not getattr(base, name)


def pick_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are options of a route, with the defaults of systems that had none of these options."""
    options = {name: value for name, value in settings.items() if name in OPTIONS}
    return {"origins": None, "compression": None, "max_message_size": MAX_MESSAGE_SIZE, **options}
