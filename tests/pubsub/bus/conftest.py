"""Buses over a real Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.sites.buses import Party, wait_until


@pytest.fixture
def party(serve: Any, redis: Any) -> Iterator[Callable[..., Party]]:
    """Open the bus of one more process: `party()`."""
    parties: list[Party] = []

    def make(url: str = redis.url, **options: Any) -> Party:
        parties.append(Party(url, **options))
        return parties[-1]

    yield make
    homes = [one.bus._lodging.home for one in parties if one.bus._lodging is not None]
    for one in parties:
        one.bus.close(0)
    for home in homes:
        wait_until(lambda home=home: home.closed and (home._poller.closed or not home.is_rented))
