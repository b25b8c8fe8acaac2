"""Nobody reads another's bytes behind a proxy that keeps its connections to the server for the next user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from kit.programs.pair_hosts import GUESTS, IN_PROCESS, serving
from kit.programs.proxies import haproxy, nginx
from kit.servers.ports import free_port
from kit.sites.request_pairs import Case, converse, fetch_seen, make_cases, make_messages, read_answers

pytestmark = pytest.mark.nginx

NGINX = """\
map $http_upgrade $connection_upgrade {{
    default upgrade;
    "" "";
}}
upstream backend {{
    server 127.0.0.1:{backend};
    keepalive 4;
}}
server {{
    listen 127.0.0.1:{port};
    location /hidden {{ return 403; }}
    location / {{
        proxy_pass http://backend;
        proxy_http_version 1.1;
        proxy_request_buffering off;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
    }}
}}
"""
HAPROXY = """\
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend all
    bind 127.0.0.1:{port}
    http-request deny if {{ path_beg /hidden }}
    default_backend backend
backend backend
    server one 127.0.0.1:{backend}
"""
PROXIES: dict[str, Any] = {"nginx": (nginx, NGINX), "haproxy": (haproxy, HAPROXY)}


@pytest.fixture(params=PROXIES)
def behind(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Any]:
    """Return a function that puts the proxy in front of a port, and returns where it listens."""
    start, site = PROXIES[request.param]

    def put(backend: int) -> Any:
        port = free_port()
        return start(tmp_path, site.format(port=port, backend=backend), port), port

    yield put


def ask(port: int, case: Case) -> list[tuple[int, Any]]:
    """Send each of a case's requests on a connection of its own, one user after the other; return the answers."""
    answers = []
    for message in make_messages(case):
        head = message.head.replace(b"Connection: close\r\n", b"")
        answers += read_answers(converse(port, [head + message.body], whole=False))
    return answers


@pytest.mark.parametrize("host", IN_PROCESS + GUESTS)
def test_the_next_user_is_served_with_his_own(behind: Any, host: str) -> None:
    plain = ["none", "h2c", "h2c, kept", "garbage", "no upgrade"]  # and no handshakes, which are refused
    trap: dict[str, Any] = {"method": ["POST"], "framing": ["length"], "offer": ["h2c"], "body": ["a request"]}
    trap["extra"] = ["nothing"]
    cases = [
        *make_cases(10, seed=4, split=["at once"], offer=plain, extra=["nothing"]),
        *make_cases(2, seed=5, split=["at once"], **trap),
    ]
    expected: list[Any] = []
    with serving(host) as backend, gevent.Timeout(60):
        proxy, port = behind(backend)
        with proxy:
            for case in cases:
                (status, content), *others = ask(port, case)
                first, *rest = make_messages(case)
                assert (status, content) == (200, first.seen), case
                assert others == [(200, message.seen) for message in rest], case
                expected += [first.seen, *(message.seen for message in rest)]
            seen = fetch_seen(backend)
        assert [one for one in seen if one not in expected] == []


def test_the_pool_is_one(behind: Any) -> None:
    """A test of this test: on pywsgi by itself, what the proxy denies is reached."""
    with serving("bare") as backend, gevent.Timeout(60):
        proxy, port = behind(backend)
        with proxy:
            answers = converse(port, [b"GET /hidden HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"])
            assert answers.startswith(b"HTTP/1.1 403 ")
            options = {"method": ["POST"], "framing": ["length"], "offer": ["h2c"], "reads": ["exact"]}
            for case in make_cases(1, seed=6, split=["at once"], extra=["nothing"], body=["text"], **options):
                ask(port, case)
        assert any("hidden" in path for _, path, _ in fetch_seen(backend))
