"""The inodes of the sockets that a forked child holds, too.

A socket that is closed here stays open in the child. So epoll goes on reporting it, under a number that may be another
file's by then. The inode, noted before, tells.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable


class Inodes:
    """The inodes of the sockets that a forked child holds, too.

    Args:
        fstat: the system call.
    """

    def __init__(self, fstat: Callable[[int], os.stat_result]) -> None:
        self._fstat = fstat
        self._inodes: dict[int, int] = {}  # by descriptor

    def note(self, channels: Iterable[Any]) -> dict[int, int]:
        """Note the sockets of all channels, as a child was forked right now; return all that are noted."""
        for channel in channels:
            if channel is not None:
                try:
                    self._inodes[channel.fd] = self._fstat(channel.fd).st_ino
                except OSError:
                    pass  # it is closed already
        return self._inodes

    def drop(self, fd: int) -> bool:
        """Forget a descriptor; return whether its socket was noted."""
        return self._inodes.pop(fd, None) is not None

    def is_stranger(self, fd: int) -> bool:
        """Whether a descriptor is no longer the noted socket: it was closed, or is another file by now."""
        inode = self._inodes.get(fd)
        if inode is None:
            return False
        try:
            status = self._fstat(fd)
        except OSError:
            return True
        return not stat.S_ISSOCK(status.st_mode) or status.st_ino != inode
