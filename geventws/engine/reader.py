"""How a greenlet waits for the messages of a connection. Only one may; the poller runs it when some have arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenlet import error as GreenletError
from greenlet import getcurrent

from ..exceptions import ConcurrencyError
from .fragments import check_thread
from .intake import catch_up
from .loop.deadlines import Deadline

if TYPE_CHECKING:
    from .connection import Connection

SLICE = 512
"""How many messages are taken at once, so that a flood of tiny ones does not keep the loop from its turn."""

SLICE_UNITS = 16
"""The work of taking that many, in the units of turns.py."""


def wait_for_messages(connection: Connection) -> None:
    """Block until there is a message, or none will come.

    Raises:
        ConcurrencyError: another greenlet waits for messages, or the connection belongs to another thread.
    """
    if (connection.wait_needs_work or connection.reader is not None) and not prepare_to_wait(connection):
        return
    stream = connection.stream
    if stream.corked:
        stream.flush()
    connection.reader = getcurrent()
    try:
        stream.poller.park(connection)
    except BaseException as error:
        connection.reader = None
        if isinstance(error, GreenletError):
            check_thread(connection)
        raise


def prepare_to_wait(connection: Connection) -> bool:
    """Do what is due before this greenlet waits: reply to a close frame, now that the handler has taken the messages
    before it, and resume receiving after a pause. Return whether to wait: there is no message, but one may come.
    """
    check_alone(connection)
    held_back, connection.wait_needs_work = connection.wait_needs_work, connection.ended
    if connection.protocol.close_reply_pending:
        connection.closing.reply()
    if held_back and connection.stream.paused:
        catch_up(connection)
    return not (connection.ended or connection.protocol.inbox)


def wait_for_seconds(connection: Connection, timeout: float) -> None:
    """Block until there is a message, or none will come. Raises TimeoutError after `timeout` seconds."""
    check_thread(connection)
    if not prepare_to_wait(connection):
        return
    expired = False

    def expire() -> None:
        nonlocal expired
        if connection.reader is waiter:
            expired = True
            connection.reader = None
            waiter.switch()

    stream = connection.stream
    stream.flush()
    waiter = connection.reader = getcurrent()
    deadline = Deadline(stream.poller.clock, max(timeout, 0), stream.has_input, expire)
    try:
        stream.poller.park(connection, patient=False)
    finally:
        connection.reader = None
        deadline.close()
    if expired and not connection.protocol.inbox and not connection.ended:
        raise TimeoutError(f"no message came within {timeout:g} s")


def check_alone(connection: Connection) -> None:
    """Raise ConcurrencyError if another greenlet waits for the messages."""
    if connection.reader is not None:
        raise ConcurrencyError(f"{connection.reader!r} is waiting for this connection's messages already")


def take(connection: Connection, inbox: list[Any], pending: list[Any]) -> None:
    """Move messages from `inbox` to `pending`, the newest first: taking from the end of a list is cheap."""
    if connection.reader is not None:
        check_alone(connection)
    turns = connection.stream.poller.turns
    if turns.overdue:
        turns.look()
    elif len(inbox) > SLICE:
        turns.spend(SLICE_UNITS)
    pending += inbox[SLICE - 1 :: -1]
    del inbox[:SLICE]
    if turns.notes:
        turns.remember(inbox, pending)
