"""From the bytes of a head to the request as pywsgi's handler knows it.

A plain head becomes an environ at once (see http/request.py). Any other goes through pywsgi's own `read_request` and
`get_environ`, and is refused if two servers on one path could read it in two ways.
"""

from __future__ import annotations

import io
import time
from typing import Any
from urllib.parse import unquote

from ..http import request as http_head
from .http_body import NO_BODY, EmptyBody, RequestBody
from .http_stream import HeadError


def receive_head(handler: Any, idle_timeout: float) -> bool:
    """Receive and read a head; return whether one came. Blocks. The head does not stay in memory.

    Args:
        handler: the connection's `RequestHandler`.
        idle_timeout: seconds for the first byte.

    Raises:
        HeadError: it is too large, too slow or no head from its first bytes on; or there are too many connections.
        ValueError: it breaks a rule of HTTP.
        HTTPException: the standard library refuses its fields.
    """
    head = handler.stream.receive_head(idle_timeout, handler.server.head_timeout)
    if not head:
        return False
    handler.idle, handler.time_start = False, time.time()
    if head.find(b"\n", 0, http_head.MAX_REQUEST_LINE - 1) < 0:
        raise HeadError("414 Request URI Too Long", head)
    if handler.surplus:
        raise HeadError("503 Service Unavailable", head)
    environ = handler.server.get_environ()
    plain = http_head.parse(head, environ)
    if plain is None:
        _read_odd(handler, head)
    else:
        read_plain(handler, environ, *plain)
    return True


def read_plain(handler: Any, environ: dict[str, Any], method: str, target: str, version: str) -> None:
    """Complete the environ of a plain head, with the same result as pywsgi's `read_request` and `get_environ`."""
    handler.requestline = f"{method} {target} {version}"
    handler.command, handler.path, handler.request_version = method, target, version
    connection = environ.get("HTTP_CONNECTION", "").lower()
    handler.close_connection = connection == "close" if version == "HTTP/1.1" else connection != "keep-alive"
    path, _, environ["QUERY_STRING"] = target.partition("?")
    environ["PATH_INFO"] = unquote(path, "latin-1") if "%" in path else path
    environ["SCRIPT_NAME"] = ""
    environ["REQUEST_METHOD"] = method
    environ["SERVER_PROTOCOL"] = version
    if isinstance(handler.client_address, tuple):
        environ["REMOTE_ADDR"] = handler.client_address[0]
        environ["REMOTE_PORT"] = str(handler.client_address[1])
    handler.content_length = int(environ["CONTENT_LENGTH"]) if "CONTENT_LENGTH" in environ else None
    if handler.content_length and method == "HEAD":
        raise ValueError("Unexpected Content-Length")
    add_input(handler, environ)
    handler.plain_environ = environ


def _read_odd(handler: Any, head: bytes) -> None:
    """Read any other head as pywsgi does, and refuse it if other servers could read it differently."""
    handler.rfile = io.BytesIO(head)
    handler.requestline = handler.read_requestline().rstrip()
    http_head.check_request_line(handler.requestline)
    handler.read_request(handler.requestline)
    http_head.check_framing(head, handler.headers.items(), handler.request_version)
    handler.path, host = http_head.read_target(handler.path, handler.command)
    if host is not None:
        del handler.headers["Host"]
        handler.headers["Host"] = host


def add_input(handler: Any, environ: dict[str, Any]) -> None:
    """Add the body to the environ. It has an end, whether or not the request offers an upgrade."""
    chunked = "HTTP_TRANSFER_ENCODING" in environ  # it can be nothing else: see check_framing
    if chunked or handler.content_length:
        awaited = environ.get("HTTP_EXPECT", "").lower() == "100-continue" and handler.request_version != "HTTP/1.0"
        length = None if chunked else handler.content_length
        handler.wsgi_input = RequestBody(handler.stream, length, handler.server, awaited)
    else:
        handler.wsgi_input = EmptyBody(handler.stream) if "HTTP_UPGRADE" in environ else NO_BODY
    environ["wsgi.input"] = handler.wsgi_input
    environ["wsgi.input_terminated"] = True
