"""Nobody reads another's bytes: on every host, what the application sees of requests in a row is what was sent, or the
connection ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from kit.clients import handshake
from kit.programs.pair_hosts import EXACT, GUESTS, IN_PROCESS, serving
from kit.sites.request_pairs import SPLITS, Case, check, converse, fetch_seen, make_cases, make_messages


@pytest.fixture(scope="module", params=IN_PROCESS + GUESTS)
def host(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """Run a host; its name and its port."""
    with serving(request.param) as port:
        yield request.param, port


def run(host: tuple[str, int], cases: Iterator[Case]) -> list[tuple[Case, int]]:
    """Send all cases; return how many requests of each were answered."""
    _, port = host
    expected: list[Any] = []
    counts = []
    with gevent.Timeout(60):
        for case in cases:
            counts.append((case, check(port, case)))
            expected += [message.seen for message in make_messages(case)]
        seen = fetch_seen(port)
    assert [one for one in seen if one not in expected] == []
    return counts


def test_what_is_seen_is_what_was_sent(host: tuple[str, int]) -> None:
    counts = run(host, make_cases(300, seed=1))
    assert sum(count for _, count in counts) > 300
    if host[0] in EXACT:
        websocket = ("websocket", "list")
        plain = [(case, count) for case, count in counts if case.offer not in websocket and case.extra == "nothing"]
        assert plain and [case for case, count in plain if count != 3] == []


def test_where_pywsgi_reads_a_body_twice(host: tuple[str, int]) -> None:
    """gevent#2035: all that differs is how much of it is read, and when."""
    fixed = {"offer": ["h2c", "websocket, kept", "garbage"], "framing": ["length", "chunked"], "body": ["a request"]}
    counts = run(host, make_cases(108, seed=2, **fixed, method=["POST"], split=SPLITS[:5], extra=["nothing"]))
    assert all(count >= 1 for _, count in counts)


def test_nothing_after_a_handshake_is_a_request(host: tuple[str, int]) -> None:
    """Though the application answers it as any request: what follows may be frames."""
    name, port = host
    more = b"POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with gevent.Timeout(60):
        for pieces in ([handshake("/first") + more], [handshake("/first"), more]):
            received = converse(port, pieces)
            assert received.startswith(b"HTTP/1.1 101 " if name == "compat" else b"HTTP/1.1 200 ")
            assert received.count(b"HTTP/1.1 ") == 1
        assert [path for _, path, _ in fetch_seen(port) if path != "/first"] == []


def test_the_cases_are_those_that_go_wrong() -> None:
    """A test of this test: pywsgi by itself fails it."""
    trap: dict[str, Any] = {"offer": ["h2c"], "framing": ["length"], "method": ["POST"], "reads": ["exact"]}
    with serving("bare") as port:
        with gevent.Timeout(60), pytest.raises((AssertionError, TimeoutError)):
            for case in make_cases(20, seed=3, extra=["nothing"], **trap):
                check(port, case)
        assert any("hidden" in path for _, path, _ in fetch_seen(port))
