"""When to retry: exponential backoff with full jitter, and the Retry-After of a server. No I/O, no clock.

Clients that lost a server at the same moment must not all reconnect at the same moment. So each delay is a random
number between zero and a bound, and only the bound grows.
"""

from __future__ import annotations

import random
from email.utils import parsedate_to_datetime

from ..http.headers import HeaderList, join_headers

MAX_RETRY_AFTER = 3600.0
"""The longest Retry-After, in seconds, that is obeyed: a server must not be able to send clients away for good."""


class Backoff:
    """The delays between attempts.

    Args:
        initial: seconds, the bound of the first delay.
        maximum: seconds, the bound that is never exceeded.
        factor: by how much the bound grows with each failure.

    Raises:
        ValueError: the numbers make no backoff.
    """

    def __init__(self, initial: float, maximum: float, factor: float) -> None:
        if not (0 <= initial <= maximum and factor >= 1):
            raise ValueError("a backoff needs 0 <= initial_delay <= max_delay, and a factor of at least 1")
        self._initial = initial
        self._maximum = maximum
        self._factor = factor
        self._bound = initial  # the bound of the next delay
        self.failures: int = 0  # how many there were in a row

    def next_delay(self, at_least: float = 0.0) -> float:
        """Count a failure, and return the seconds to wait: `at_least`, plus a random delay.

        If all clients waited exactly `at_least`, they would come back together.
        """
        delay = random.uniform(0, self._bound)
        self.failures += 1
        self._bound = min(self._bound * self._factor, self._maximum)
        return at_least + delay

    def reset(self) -> None:
        """Begin again with the first bound, after a success."""
        self.failures = 0
        self._bound = self._initial


def retry_after(headers: HeaderList, now: float) -> float:
    """Return the seconds that an answer's Retry-After asks for (RFC 9110 10.2.3), 0.0 without a valid one.

    Args:
        headers: the answer's.
        now: seconds since the epoch.
    """
    value = join_headers(headers).get("retry-after", "")
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
