"""A head becomes what pywsgi's handler knows of a request, on the short way and on the long one."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

from typing import Any

import pytest
from kit.sites.http import deadline, run  # noqa: F401

HEAD = [b"GET /a%20b?c=d HTTP/1.1", b"Host: a", b"X-Name: value", b"Connection: close", b"", b""]
SPELLINGS = {
    "plain": b"\r\n".join(HEAD),
    "no space after a colon": b"\r\n".join(HEAD).replace(b"X-Name: ", b"X-Name:"),
    "bare line feeds": b"\n".join(HEAD),
}


def tell(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    kept = {name: value for name, value in sorted(environ.items()) if isinstance(value, str) and name != "REMOTE_PORT"}
    return [repr(kept).encode()]


def test_all_spellings_make_the_same_environ(run: Any) -> None:
    running = run(tell)
    bodies = {running.ask(head).partition(b"\r\n\r\n")[2] for head in SPELLINGS.values()}
    (body,) = bodies
    assert b"'PATH_INFO': '/a b'" in body and b"'HTTP_X_NAME': 'value'" in body


@pytest.mark.parametrize("field", [b"Content-Length: 3", b"Content-Length:3"], ids=["plain", "odd"])
def test_a_head_request_has_no_body(run: Any, field: bytes) -> None:
    answer = run(tell).ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_the_host_of_an_absolute_target_counts(run: Any) -> None:
    answer = run(tell).ask(b"GET http://other/path HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"'HTTP_HOST': 'other'" in answer and b"'PATH_INFO': '/path'" in answer
