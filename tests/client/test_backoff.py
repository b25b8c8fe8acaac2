"""backoff.py: when to come back."""

from __future__ import annotations

import random
import time

import pytest

from geventws.client.backoff import MAX_RETRY_AFTER, Backoff, retry_after


def test_full_jitter_under_a_growing_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = []
    monkeypatch.setattr(random, "uniform", lambda low, high: bounds.append((low, high)) or high / 2)
    backoff = Backoff(1.0, 10.0, 2.0)
    delays = [backoff.next_delay() for _ in range(6)]
    assert bounds == [(0, 1), (0, 2), (0, 4), (0, 8), (0, 10), (0, 10)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.failures == 6
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next_delay(at_least=30.0) == 30.5


def test_delays_are_spread() -> None:
    delays = [Backoff(1.0, 1.0, 1.0).next_delay() for _ in range(500)]
    assert 0 <= min(delays) < 0.1 and 0.9 < max(delays) <= 1
    assert 0.4 < sum(delays) / 500 < 0.6


@pytest.mark.parametrize("numbers", [(-1.0, 1.0, 2.0), (2.0, 1.0, 2.0), (1.0, 2.0, 0.5), (float("nan"), 1.0, 2.0)])
def test_backoff_refuses(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="initial_delay"):
        Backoff(*numbers)


NOW = 1445412480.0  # Wed, 21 Oct 2015 07:28:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:30 GMT", 0.0),
        ("9" * 400, MAX_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("-5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("\xb2", 0.0),
    ],
)
def test_retry_after(value: str, seconds: float) -> None:
    assert retry_after([("retry-after", value)], NOW) == seconds


def test_no_retry_after() -> None:
    assert retry_after([], time.time()) == 0.0
