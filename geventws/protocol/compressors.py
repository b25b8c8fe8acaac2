"""Compressors, shared by all connections that keep no context from one message to the next. No I/O.

After each message a compressor is flushed with Z_FULL_FLUSH, which clears its context, and goes back to a pool of the
process. If the package `isal` is installed, its compressors are used where they are faster: see permessage_deflate.
"""

from __future__ import annotations

import functools
import zlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zlib import _Compress

try:
    from isal import isal_zlib as _isal  # type: ignore[import-not-found, unused-ignore]

    isal_zlib: Any = _isal
except ImportError:
    isal_zlib = None

SMALL = 4 << 10
"""Messages of up to this many bytes compress as well with a small hash table, which takes less time to clear."""

TINY = 1 << 10
"""Up to this size of a message, in bytes, the C core is faster than isal."""

LARGE = 64 << 10
"""Bytes that are compressed in one go, before others have their turn: half a millisecond at level 2."""


class Compressors:
    """Compressors of one kind. Those that forget are pooled; any thread may take one and give it back."""

    __slots__ = ("forgets", "give", "most", "reach", "_make", "_idle")

    def __init__(self, level: int, memory_level: int, window: int, forgets: bool) -> None:
        # A compressor of isal's is too large to be kept for one connection. It also looks back to the last
        # byte of its window, while zlib stays 262 bytes below it: 250 of 512 at 9 bits, which makes that the
        # way to serve 8 bits (256 bytes), a size that neither of them has for raw deflate.
        # Of its levels, 1 is the faster by 5 %, and 2 the smaller by less than 1 %.
        fast = isal_zlib and forgets and level in (1, 2) and window > 8
        module, level = (isal_zlib, 1) if fast else (zlib, level)
        # Bytes of a message up to which the C core compresses it, and how far back it may look then.
        self.most = 0 if not forgets or level not in (1, 2) else TINY if fast else SMALL
        self.reach: int = 1 << window
        window = max(window, 9)
        self.forgets: bool = forgets  # whether no context is kept from one message to the next
        # Makes one more.
        self._make: Callable[[], _Compress] = functools.partial(
            module.compressobj, level, zlib.DEFLATED, -window, memory_level
        )
        # One for each thread that compresses; there are more only while messages are sent in parts.
        self._idle: deque[_Compress] = deque(maxlen=4)
        # Takes back a compressor whose last flush was Z_FULL_FLUSH; one that failed midway is dropped.
        self.give: Callable[[_Compress], None] = self._idle.append

    def take(self) -> _Compress:
        """Return one without any context."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._make()


@functools.cache
def get_compressors(level: int, memory_level: int, window: int, forgets: bool) -> Compressors:
    """Return the pool of one kind: one for each kind there is, whatever the number of configurations."""
    return Compressors(level, memory_level, window, forgets)
