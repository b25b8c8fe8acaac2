"""closing.py: the table of the closing handshake, cell by cell; who ends first; the close code (RFC 6455 7.1)."""

from __future__ import annotations

from typing import Any

import pytest
from kit.frames import CLOSE, close_payload, sent

from geventws.exceptions import ProtocolError
from geventws.protocol import closing
from geventws.protocol.closing import TABLE, Ending, Event, Phase, Sends, State
from geventws.protocol.connection import WebSocketProtocol
from geventws.protocol.hixie76 import HixieProtocol

# The table: in each phase, for each event, the next phase and which close frame is sent

EVENTS = {
    "we close": Event.SEND_CLOSE,
    "peer closes": Event.RECEIVE_CLOSE,
    "rule broken": Event.FAIL,
    "reply": Event.REPLY,
    "stream ends": Event.RECEIVE_EOF,
}
GRID = """
            | we close         | peer closes | rule broken | reply            | stream ends
OPEN        | CLOSE_SENT ours  | PEER_CLOSED | FAILING     | =                | LOST
PEER_CLOSED | BOTH_CLOSED ours | =           | =           | BOTH_CLOSED peer | CLOSED
FAILING     | FAILED ours      | =           | =           | FAILED why       | LOST
CLOSE_SENT  | =                | BOTH_CLOSED | FAILED      | =                | LOST
BOTH_CLOSED | =                | =           | =           | =                | CLOSED
FAILED      | =                | =           | =           | =                | LOST
CLOSED      | =                | =           | =           | =                | =
LOST        | =                | CLOSED      | =           | =                | =
"""
FRAMES = {"ours": close_payload(4000, "ours"), "peer": close_payload(3000, "theirs"), "why": close_payload(1002, "why")}
WAYS_THERE = {
    Phase.OPEN: [],
    Phase.PEER_CLOSED: [Event.RECEIVE_CLOSE],
    Phase.FAILING: [Event.FAIL],
    Phase.CLOSE_SENT: [Event.SEND_CLOSE],
    Phase.BOTH_CLOSED: [Event.SEND_CLOSE, Event.RECEIVE_CLOSE],
    Phase.FAILED: [Event.FAIL, Event.REPLY],
    Phase.CLOSED: [Event.RECEIVE_CLOSE, Event.REPLY, Event.RECEIVE_EOF],
    Phase.LOST: [Event.RECEIVE_EOF],
}


def read_grid() -> dict[tuple[Phase, Event], tuple[Phase, list[tuple[int, bytes]]]]:
    """Return the cells of the grid: the next phase, and the frames that are sent."""
    (_, *columns), *rows = [[cell.strip() for cell in line.split("|")] for line in GRID.strip("\n").splitlines()]
    found = {}
    for name, *cells in rows:
        for column, cell in zip(columns, cells, strict=True):
            after, _, frame = cell.replace("=", name).partition(" ")
            found[Phase[name], EVENTS[column]] = Phase[after], [(CLOSE, FRAMES[frame])] if frame else []
    return found


CELLS = read_grid()
every_cell = pytest.mark.parametrize(("phase", "event"), TABLE, ids=lambda part: part.name)


def happen(protocol: WebSocketProtocol | HixieProtocol, event: Event) -> None:
    """Have an event come."""
    if event is Event.SEND_CLOSE:
        protocol.send_close(4000, "ours")
    elif event is Event.RECEIVE_CLOSE:
        protocol.receive_close(3000, "theirs")
    elif event is Event.FAIL:
        protocol.fail(ProtocolError("why"))
    elif event is Event.REPLY:
        protocol.reply_to_close()
    else:
        protocol.receive_eof()


def go_to(protocol: WebSocketProtocol | HixieProtocol, phase: Phase) -> None:
    """Bring a new protocol into a phase, and send what is due."""
    for event in WAYS_THERE[phase]:
        happen(protocol, event)
    assert protocol.phase is phase
    protocol.output = ()


def test_the_table_has_every_cell_and_the_tests_too() -> None:
    cells = {(phase, event) for phase in Phase for event in Event}
    assert set(TABLE) == set(CELLS) == cells and set(WAYS_THERE) == set(Phase)


@pytest.mark.parametrize("client", [False, True])
@every_cell
def test_each_cell(phase: Phase, event: Event, client: bool) -> None:
    protocol = WebSocketProtocol(client=client)
    go_to(protocol, phase)
    happen(protocol, event)
    assert (protocol.phase, sent(protocol)) == CELLS[phase, event]


@every_cell
def test_each_cell_in_the_drafts(phase: Phase, event: Event) -> None:
    """Draft 76 has one closing frame for all of them."""
    protocol = HixieProtocol(76)
    go_to(protocol, phase)
    happen(protocol, event)
    after, frames = CELLS[phase, event]
    assert (protocol.phase, list(protocol.output)) == (after, [b"\xff\x00"] * len(frames))


def test_every_cell_is_visited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of the tests above: the steps are taken from the table, and each cell of it is one that they take."""
    visited = set()

    class Table(dict[Any, Any]):
        def __getitem__(self, cell: Any) -> Any:
            visited.add(cell)
            return super().__getitem__(cell)

    monkeypatch.setattr(closing, "TABLE", Table(TABLE))
    for phase, event in CELLS:
        test_each_cell(phase, event, False)
    assert visited == set(TABLE)


@every_cell
def test_each_cell_agrees_with_its_phase(phase: Phase, event: Event) -> None:
    """What was said cannot be unsaid, nothing is said twice, and a frame is sent by whoever has not closed yet."""
    after, sends = TABLE[phase, event]
    assert after.close_sent >= phase.close_sent and after.close_received >= phase.close_received
    assert (sends is not Sends.NOTHING) <= (after.close_sent and not phase.close_sent)
    assert after.state.value in {"open": ("open", "closing", "closed"), "closing": ("closing", "closed")}.get(
        phase.state.value, ("closed",)
    )
    assert (after.state is State.CLOSED) >= (event is Event.RECEIVE_EOF)


ENDS = {  # who ends the stream: a server, a client, a server of draft 76, one of draft 75
    Phase.OPEN: ["-", "-", "-", "-"],
    Phase.PEER_CLOSED: ["-", "-", "-", "-"],
    Phase.FAILING: ["-", "-", "-", "-"],
    Phase.CLOSE_SENT: ["-", "-", "-", "-"],
    Phase.BOTH_CLOSED: ["both sides", "its own", "both sides", "its own"],
    Phase.FAILED: ["its own", "its own", "its own", "its own"],
    Phase.CLOSED: ["-", "-", "-", "-"],
    Phase.LOST: ["-", "-", "-", "-"],
}


@pytest.mark.parametrize("phase", Phase)
def test_who_ends_first(phase: Phase) -> None:
    kinds = [WebSocketProtocol(), WebSocketProtocol(client=True), HixieProtocol(76), HixieProtocol(75)]
    found = []
    for protocol in kinds:
        protocol.phase = phase
        found.append("-" if not protocol.end_due else "both sides" if protocol.ends_first else "its own")
    assert found == ENDS[phase]
    assert (phase.ending is Ending.ENDED) == (phase.state is State.CLOSED)


CODES = {  # events, and the close code and reason in the end
    "lost": ([Event.RECEIVE_EOF], (1006, "")),
    "the peer's": ([Event.RECEIVE_CLOSE, Event.REPLY], (3000, "theirs")),
    "the peer's, though ours differs": ([Event.RECEIVE_CLOSE, Event.SEND_CLOSE], (3000, "theirs")),
    "the peer's, though it never hears ours": ([Event.RECEIVE_CLOSE, Event.RECEIVE_EOF], (3000, "theirs")),
    "the peer's, as its reply": ([Event.SEND_CLOSE, Event.RECEIVE_CLOSE], (3000, "theirs")),
    "the peer's, in bytes that were kept": ([Event.RECEIVE_EOF, Event.RECEIVE_CLOSE], (3000, "theirs")),
    "no reply": ([Event.SEND_CLOSE, Event.RECEIVE_EOF], (1006, "")),
    "ours, as a rule was broken": ([Event.FAIL, Event.REPLY], (1002, "why")),
    "ours, though we said another": ([Event.FAIL, Event.SEND_CLOSE], (1002, "why")),
    "ours, as a rule was broken after our close": ([Event.SEND_CLOSE, Event.FAIL], (1002, "why")),
    "lost before we could say so": ([Event.FAIL, Event.RECEIVE_EOF], (1006, "")),
    "the first of two": ([Event.RECEIVE_CLOSE, Event.FAIL, Event.REPLY], (3000, "theirs")),
}


@pytest.mark.parametrize(("events", "expected"), CODES.values(), ids=CODES)
def test_the_close_code(events: list[Event], expected: tuple[int, str]) -> None:
    protocol = WebSocketProtocol()
    for event in events:
        happen(protocol, event)
    assert (protocol.close_code, protocol.close_reason) == expected
