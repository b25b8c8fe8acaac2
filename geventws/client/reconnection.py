"""`reconnect`: one connection after another, with the delays of backoff.py in between."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, overload

import gevent

from ..engine.options import ConnectionOptions, takes
from ..exceptions import InvalidStatus
from ..text import one_line
from ..websocket import get_connection
from .backoff import Backoff, retry_after
from .opening import connect
from .options import CONNECT_DEFAULTS, ConnectOptions, OpeningOptions, WholeOptions
from .websocket import ClientStreamingWebSocket, ClientWebSocket

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["reconnect"]

logger: logging.Logger = logging.getLogger("geventws")

TRANSIENT = (408, 425, 429)  # besides 500 and more


@overload
def reconnect(
    uri: str,
    *,
    streaming: Literal[True],
    initial_delay: float = ...,
    max_delay: float = ...,
    factor: float = ...,
    reset_after: float = ...,
    max_attempts: int | None = ...,
    **options: Unpack[WholeOptions],
) -> Iterator[ClientStreamingWebSocket]: ...


@overload
def reconnect(
    uri: str,
    *,
    initial_delay: float = ...,
    max_delay: float = ...,
    factor: float = ...,
    reset_after: float = ...,
    max_attempts: int | None = ...,
    **options: Unpack[ConnectOptions],
) -> Iterator[ClientWebSocket]: ...


@takes(CONNECT_DEFAULTS, OpeningOptions, ConnectionOptions)
def reconnect(
    uri: str,
    *,
    initial_delay: float = 1.0,
    max_delay: float = 60.0,
    factor: float = 2.0,
    reset_after: float = 10.0,
    max_attempts: int | None = None,
    **options: Unpack[ConnectOptions],
) -> Iterator[ClientWebSocket]:
    """Iterate over connections to a server: when one has ended, the next one is opened.

    Each step blocks this greenlet until a connection is open. It retries if the server cannot be reached or does not
    answer in time, and after the statuses 408, 425, 429 and 500 or more, whose Retry-After it obeys. It raises all
    other errors, for which another attempt would not help. A connection is closed at the end of the loop's body,
    however that ends; break out of the loop to stop::

        for ws in geventws.reconnect("wss://example.org/feed"):
            for message in ws:
                print(message)

    The delays have full jitter: each is a random number between zero and a bound that grows with every failure, so that
    not all clients connect at the same moment when a server is back.

    Args:
        uri: as for `connect`.
        initial_delay: the bound of the first delay, in seconds; 1 by default.
        max_delay: the largest bound, in seconds; 60 by default.
        factor: the bound is multiplied by this after each failure; 2 by default.
        reset_after: the seconds that a connection must last to count as a success, after which the bound starts again
            at `initial_delay`; 10 by default.
        max_attempts: the number of failures in a row after which the last one is raised; None, the default, for no
            limit.
        options: those of `connect`.

    Raises:
        InvalidURI, HandshakeError, InvalidStatus, ssl.SSLCertVerificationError, ValueError, TypeError: as `connect`,
            without a retry. As this is a generator, nothing happens before its first step.
        OSError, InvalidStatus: the last of `max_attempts` failures.
    """
    backoff = Backoff(initial_delay, max_delay, factor)
    while True:
        try:
            ws = connect(uri, **options)
        except (OSError, InvalidStatus) as error:
            _wait_after(error, backoff, max_attempts)
            continue
        opened_at = time.monotonic()
        try:
            yield ws
        finally:
            ws.close()
        if time.monotonic() - opened_at >= reset_after:
            backoff.reset()
        _sleep(get_connection(ws).peer, f"closed with {ws.close_code}", backoff.next_delay())


def is_transient(error: Exception) -> bool:
    """Return whether a retry may help after an error of `connect`."""
    if isinstance(error, InvalidStatus):
        return error.status in TRANSIENT or error.status >= 500  # RFC 9110 15: 600 to 999 stand for 5xx
    return isinstance(error, OSError) and not isinstance(error, ssl.SSLCertVerificationError)


def _wait_after(error: Exception, backoff: Backoff, max_attempts: int | None) -> None:
    """Wait after a failure, or raise it."""
    if not is_transient(error) or (max_attempts is not None and backoff.failures + 1 >= max_attempts):
        raise error
    asked = retry_after(error.headers, time.time()) if isinstance(error, InvalidStatus) else 0.0
    _sleep("reconnect", str(error), backoff.next_delay(asked))


def _sleep(name: str, why: str, delay: float) -> None:
    logger.info("%s: %s; the next attempt follows in %.1f s", name, one_line(why), delay)
    gevent.sleep(delay)
