"""The lenient `start_response` and results of WSocket's framework: see geventws.compat.wsocket."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...handshake.origins import Environ
    from ...hosts.host import StartResponse

CONTENT_TYPE = "text/html; charset=UTF-8"
BODYLESS = (204, 304)


class Response:
    """The answer of a route's function.

    Args:
        environ: the request.
        start_response: the server's.
    """

    def __init__(self, environ: Environ, start_response: StartResponse) -> None:
        self._environ = environ
        self._start_response = start_response
        self._started = False  # `start_response` has been called

    def run(self, function: Callable[..., Any]) -> Iterable[bytes]:
        """Call a function, and return what it returns as WSGI wants it."""
        result = function(self._environ, self.start_response)
        if isinstance(result, (bytes, bytearray)):
            parts: Iterable[bytes] = [bytes(result)]
        elif result is None:
            parts = []
        elif isinstance(result, str) or not hasattr(result, "__iter__"):
            parts = [str(result).encode()]
        else:
            return self._iterate(result)
        self._start()
        return parts

    def start_response(self, status: str | int = "200 OK", headers: Any = (), exc_info: Any = None) -> Any:
        """Begin the answer, as in PEP 3333, once; a status may be a number, and headers a dict."""
        if self._started and exc_info is None:
            return None
        line = _status_line(status)
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        if int(line[:3]) not in BODYLESS and not any(name.lower() == "content-type" for name, _ in pairs):
            pairs.append(("Content-Type", CONTENT_TYPE))
        self._started = True
        if exc_info is not None:
            return self._start_response(line, pairs, exc_info)
        return self._start_response(line, pairs)

    def _start(self) -> None:
        if not self._started:
            self.start_response()

    def _iterate(self, result: Any) -> Iterator[bytes]:
        """Yield the parts of a result; one that comes before `start_response` was called begins a 200."""
        try:
            for part in result:
                self._start()
                yield part if isinstance(part, bytes) else str(part).encode()
            self._start()
        finally:
            if hasattr(result, "close"):
                result.close()


def not_found(environ: Environ, start_response: Callable[..., Any]) -> str:
    """Answer for a path that no route has."""
    start_response(404)
    return f"<h1>Page Not Found(404)</h1><p><b>{html.escape(environ.get('PATH_INFO', ''))}</b></p>"


def _status_line(status: str | int) -> str:
    """Return code and reason, of a code alone, too.

    Raises:
        ValueError: it is no status.
    """
    code, _, reason = str(status).strip().partition(" ")
    if not (code.isascii() and code.isdigit() and len(code) == 3) or not f"{code}{reason}".isprintable():
        raise ValueError(f"{status!r} is no HTTP status")
    try:
        reason = reason or HTTPStatus(int(code)).phrase
    except ValueError:
        reason = "Unknown"
    return f"{code} {reason}"
