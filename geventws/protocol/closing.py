"""How a connection closes (RFC 6455 5.5.1 and 7.1): its states, who sends what, and who ends first. No I/O.

    State       OPEN, CLOSING, CLOSED: the states that RFC 6455 names
    Phase       the same in more detail: all that decides what happens next
    Event       what may happen
    TABLE       the step for each event in each phase: the next phase, and the close frame that is sent

`WebSocketProtocol` and `HixieProtocol` derive from `ClosingHandshake`, which takes each step from the table and has no
flag besides the phase. An event makes no difference if its cell keeps the phase and sends nothing. frames.py, the
public codec, encodes and parses the payloads of close frames.
"""

from __future__ import annotations

import enum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..frames import CloseCode

if TYPE_CHECKING:
    from ..exceptions import ProtocolError

__all__ = ["TABLE", "ClosingHandshake", "Ending", "Event", "Phase", "Sends", "State", "Step"]

T = TypeVar("T")

LOST = int(CloseCode.ABNORMAL_CLOSURE)


class State(enum.Enum):
    """The state of a connection whose opening handshake is done."""

    # 4.1: "_The WebSocket Connection is Established_ and that the WebSocket Connection is in the OPEN state."
    OPEN = "open"
    # 7.1.3: "Upon either sending or receiving a Close control frame, it is said that _The WebSocket Closing Handshake
    # is Started_ and that the WebSocket connection is in the CLOSING state."
    CLOSING = "closing"
    # 7.1.4: "When the underlying TCP connection is closed, it is said that _The WebSocket Connection is Closed_ and
    # that the WebSocket connection is in the CLOSED state."
    CLOSED = "closed"


class Ending(enum.Enum):
    """Who ends the TCP stream, and when."""

    NOBODY = "something is still to be said"
    # 5.5.1: "The server MUST close the underlying TCP connection immediately; the client SHOULD wait for the server to
    # close the connection but MAY close the connection at any time after sending and receiving a Close message."
    SERVER_FIRST = "the server hangs up at once"
    # 7.1.7: "An endpoint MUST NOT continue to attempt to process data (including a responding Close frame) from the
    # remote endpoint after being instructed to _Fail the WebSocket Connection_."
    OUR_SIDE = "we end our side, and the peer has a moment to read why"
    ENDED = "the stream has ended"


class Phase(enum.Enum):
    """How far a connection is on its way to the end.

    Attributes:
        state: what RFC 6455 calls it.
        close_sent: whether nothing can be sent any more: our close frame was the last, or the stream has ended.
        close_received: whether the peer's close frame was received, after which the peer sends nothing.
        reply_pending: whether our close frame is due as soon as the messages received before have been answered.
        ending: who ends the stream.
    """

    # state, close_sent, close_received, reply_pending, ending
    OPEN = State.OPEN, False, False, False, Ending.NOBODY
    PEER_CLOSED = State.CLOSING, False, True, True, Ending.NOBODY  # the peer has closed; our reply is pending
    FAILING = State.CLOSING, False, False, True, Ending.NOBODY  # the peer broke a rule; our close frame is pending
    CLOSE_SENT = State.CLOSING, True, False, False, Ending.NOBODY  # we have closed; the peer's reply is awaited
    BOTH_CLOSED = State.CLOSING, True, True, False, Ending.SERVER_FIRST  # both close frames have passed
    FAILED = State.CLOSING, True, False, False, Ending.OUR_SIDE  # the peer broke a rule, and our close frame was sent
    CLOSED = State.CLOSED, True, True, False, Ending.ENDED  # the stream has ended after the peer's close frame
    LOST = State.CLOSED, True, False, False, Ending.ENDED  # the stream has ended without one

    def __init__(
        self, state: State, close_sent: bool, close_received: bool, reply_pending: bool, ending: Ending
    ) -> None:
        self.state = state
        self.close_sent = close_sent
        self.close_received = close_received
        self.reply_pending = reply_pending
        self.ending = ending


class Event(enum.Enum):
    """What may happen to a connection on its way to the end."""

    SEND_CLOSE = "we close"
    RECEIVE_CLOSE = "the peer's close frame comes"
    FAIL = "the peer breaks a rule"
    REPLY = "the messages that came before were answered, or dropped"
    RECEIVE_EOF = "the stream has ended, or we end it"


class Sends(enum.Enum):
    """Which close frame we send."""

    NOTHING = "none"
    OURS = "one with the code and reason that we close with"
    PEERS = "one with the code and reason of the peer's"
    FAILURE = "one that says which rule was broken"


class Step(NamedTuple):
    """The consequence of an event: the next phase, and what we send."""

    phase: Phase
    sends: Sends = Sends.NOTHING


def _stay(phase: Phase, *events: Event) -> dict[tuple[Phase, Event], Step]:
    """Return the cells of events that make no difference in a phase."""
    return {(phase, event): Step(phase) for event in events}


TABLE: dict[tuple[Phase, Event], Step] = {
    # 7.1.2: "To _Start the WebSocket Closing Handshake_ [...], an endpoint MUST send a Close control frame".
    (Phase.OPEN, Event.SEND_CLOSE): Step(Phase.CLOSE_SENT, Sends.OURS),
    # 5.5.1: "If an endpoint receives a Close frame and did not previously send a Close frame, the endpoint MUST send a
    # Close frame in response." And: "An endpoint MAY delay sending a Close frame until its current message is sent".
    (Phase.OPEN, Event.RECEIVE_CLOSE): Step(Phase.PEER_CLOSED),
    # 7.1.7: "the endpoint SHOULD send a Close frame with an appropriate status code before proceeding to _Close the
    # WebSocket Connection_." This one, too, may wait until the messages before it were answered.
    (Phase.OPEN, Event.FAIL): Step(Phase.FAILING),
    # 7.1.5: "If _The WebSocket Connection is Closed_ and no Close control frame was received by the endpoint [...],
    # _The WebSocket Connection Close Code_ is considered to be 1006."
    (Phase.OPEN, Event.RECEIVE_EOF): Step(Phase.LOST),
    **_stay(Phase.OPEN, Event.REPLY),  # there is nothing to reply to
    #
    # 5.5.1: "When sending a Close frame in response, the endpoint typically echos the status code it received."
    (Phase.PEER_CLOSED, Event.REPLY): Step(Phase.BOTH_CLOSED, Sends.PEERS),
    (Phase.PEER_CLOSED, Event.SEND_CLOSE): Step(Phase.BOTH_CLOSED, Sends.OURS),  # a close by us may have another code
    (Phase.PEER_CLOSED, Event.RECEIVE_EOF): Step(Phase.CLOSED),
    # 1.4: "after receiving a control frame indicating the connection should be closed, a peer discards any further
    # data received." So nothing in that data counts as another close frame, or as a violation.
    **_stay(Phase.PEER_CLOSED, Event.RECEIVE_CLOSE, Event.FAIL),
    #
    (Phase.FAILING, Event.REPLY): Step(Phase.FAILED, Sends.FAILURE),
    (Phase.FAILING, Event.SEND_CLOSE): Step(Phase.FAILED, Sends.OURS),
    (Phase.FAILING, Event.RECEIVE_EOF): Step(Phase.LOST),
    **_stay(Phase.FAILING, Event.RECEIVE_CLOSE, Event.FAIL),  # 7.1.7: see Ending.OUR_SIDE
    #
    # 5.5.1: "After both sending and receiving a Close message, an endpoint considers the WebSocket connection
    # closed and MUST close the underlying TCP connection."
    (Phase.CLOSE_SENT, Event.RECEIVE_CLOSE): Step(Phase.BOTH_CLOSED),
    # 5.5.1: "The application MUST NOT send any more data frames after sending a Close frame." Nor a second close frame:
    # a peer that breaks a rule after ours gets none.
    (Phase.CLOSE_SENT, Event.FAIL): Step(Phase.FAILED),
    (Phase.CLOSE_SENT, Event.RECEIVE_EOF): Step(Phase.LOST),
    **_stay(Phase.CLOSE_SENT, Event.SEND_CLOSE, Event.REPLY),
    #
    (Phase.BOTH_CLOSED, Event.RECEIVE_EOF): Step(Phase.CLOSED),
    **_stay(Phase.BOTH_CLOSED, Event.SEND_CLOSE, Event.RECEIVE_CLOSE, Event.FAIL, Event.REPLY),
    #
    (Phase.FAILED, Event.RECEIVE_EOF): Step(Phase.LOST),
    **_stay(Phase.FAILED, Event.SEND_CLOSE, Event.RECEIVE_CLOSE, Event.FAIL, Event.REPLY),
    #
    **_stay(Phase.CLOSED, *Event),
    #
    # A close frame may be in the bytes that came before the end, and were kept until the handler had caught up.
    (Phase.LOST, Event.RECEIVE_CLOSE): Step(Phase.CLOSED),
    **_stay(Phase.LOST, Event.SEND_CLOSE, Event.FAIL, Event.REPLY, Event.RECEIVE_EOF),
}
"""What each event does in each phase."""
assert len(TABLE) == len(Phase) * len(Event), "a cell is missing"


def _of_phase(name: str, meaning: str) -> Any:
    """Return a property that is an attribute of the phase."""
    return property(attrgetter(f"phase.{name}"), doc=meaning)


class ClosingHandshake:
    """How one connection closes. Each kind of protocol derives from this class, and encodes the close frames.

    The methods may be called at any time, in any order: the table says what each call does.
    """

    __slots__ = ("close_code", "close_reason", "failure", "output", "phase")

    def __init__(self) -> None:
        self.phase: Phase = Phase.OPEN  # how far the connection is
        self.close_code: int = LOST  # the peer's close code; ours if we failed the connection; 1006 without either
        self.close_reason: str = ""  # the reason that came with it
        self.failure: ProtocolError | None = None  # the first rule that the peer broke
        self.output: list[bytes] | tuple[()] = ()  # frames to send, in order: a list, if there are any

    state: Any = _of_phase("state", "OPEN, CLOSING or CLOSED (RFC 6455 4.1, 7.1.3, 7.1.4).")
    close_sent: Any = _of_phase("close_sent", "Whether nothing can be sent any more.")
    close_received: Any = _of_phase("close_received", "Whether the peer's close frame came.")
    close_reply_pending: Any = _of_phase("reply_pending", "Whether `reply_to_close` is due, once all is answered.")

    @property
    def end_due(self) -> bool:
        """Whether nothing is left to send, so that the stream has to be ended: see `ends_first`."""
        return self.phase.ending in (Ending.SERVER_FIRST, Ending.OUR_SIDE)

    @property
    def ends_first(self) -> bool:
        """Whether this side ends both directions of the stream, at once (5.5.1). Otherwise it ends its own only."""
        raise NotImplementedError

    def encode_close_frame(self, code: int | None, reason: str) -> bytes:
        """Return a close frame; b"" if the protocol has none. ValueError if the code or the reason may not be sent."""
        raise NotImplementedError

    def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Put a close frame in `output`, unless one was sent. ValueError if the code or the reason may not be sent."""
        frame = self.encode_close_frame(code, reason)
        if self._take_step(Event.SEND_CLOSE) is not Sends.NOTHING and frame:
            self.output = append(self.output, frame)

    def reply_to_close(self) -> None:
        """Put the pending close frame in `output`: the peer's code again, or why the connection fails."""
        if self._take_step(Event.REPLY) is not Sends.NOTHING:
            frame = self.encode_close_frame(self.close_code, self.close_reason)
            self.output = append(self.output, frame) if frame else self.output

    def fail(self, error: ProtocolError) -> None:
        """Receive nothing more (RFC 6455 7.1.7). Once the messages before were answered, `reply_to_close` is due."""
        self.failure = self.failure or error
        self._take_step(Event.FAIL)

    def receive_eof(self) -> None:
        """Note that the stream has ended, or that we end it. Idempotent."""
        self._take_step(Event.RECEIVE_EOF)

    def receive_close(self, code: int, reason: str) -> None:
        """Take the peer's close frame."""
        came_before = self.close_received
        self._take_step(Event.RECEIVE_CLOSE)
        if self.close_received and not came_before:
            self.close_code, self.close_reason = code, reason

    def _take_step(self, event: Event) -> Sends:
        """Take the step that the table has for the event, and return which close frame is to be sent."""
        phase, sends = TABLE[self.phase, event]
        if phase is Phase.FAILED is not self.phase and self.failure is not None:
            self.close_code, self.close_reason = int(self.failure.close_code), str(self.failure)
        self.phase = phase
        return sends


def append(items: list[T] | tuple[()], item: T) -> list[T]:
    """Return a list with one more item. A connection keeps () instead of a list that is nearly always empty."""
    items = items or []
    items.append(item)
    return items
