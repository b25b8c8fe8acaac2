"""A publication counts its message for each member; whom it is refused for gets it later, or never."""

from __future__ import annotations

import errno
from typing import Any

from geventws import PreparedMessage
from geventws.engine.published.deliveries import Limits, Tally
from geventws.pubsub.branches.publication import Publication
from geventws.pubsub.branches.topics import Group, Seat


class Outlet:
    """One that notes what it is to deliver."""

    def __init__(self, number: int) -> None:
        self.fileno = number.__index__
        self.delivered: list[Any] = []

    def deliver(self, prepared: Any, delivery: Any, limits: Limits, error: int, sent: int) -> None:
        self.delivered.append((prepared, delivery.policy, delivery.key, error, sent))


class Channel:
    def __init__(self, outlet: Outlet | None) -> None:
        self.outlet = outlet


def test_it_counts_exactly() -> None:
    group, tally, prepared = Group(None), Tally(), PreparedMessage("message")
    outlets: list[Any] = [Outlet(number) for number in range(4)]
    for outlet in outlets[:3]:
        group.members[outlet.fileno] = Seat(outlet, "latest")
    publication = Publication(prepared, group, outlets[0], tally, Limits(), "key")
    assert publication.count == 2 and publication.excepted is outlets[0].fileno
    assert (tally.published, tally.queued) == (2, 2)
    publication.finish(2)
    publication.refuse(Channel(outlets[1]), b"frame", errno.EAGAIN, 3)
    assert outlets[1].delivered == [(prepared, "latest", "key", errno.EAGAIN, 3)]
    publication.refuse(Channel(outlets[3]), b"frame", 0, 0)  # somebody else has the number of a closed socket
    assert (tally.sent, tally.queued, tally.abandoned) == (0, 1, 1)
    assert Publication(prepared, group, outlets[3], tally, Limits(), None).count == 3
