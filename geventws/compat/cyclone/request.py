"""The request of cyclone's handlers, made from a WSGI environ: see geventws.compat.cyclone."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from ...handshake.origins import Environ


class Headers(dict[str, str]):
    """The headers of a request, by name in any case."""

    def __init__(self, environ: Environ) -> None:
        super().__init__(
            (_normalize(key[5:].replace("_", "-")), value) for key, value in environ.items() if key.startswith("HTTP_")
        )

    def __getitem__(self, name: str) -> str:
        """Return a header; KeyError if there is none."""
        return super().__getitem__(_normalize(name))

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a header."""
        return isinstance(name, str) and super().__contains__(_normalize(name))

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header, or the default."""
        return super().get(_normalize(name), default)


class Request:
    """The request that opened a connection.

    Attributes:
        environ: the WSGI environ, with everything that is known.
        method, uri, path, query, version: from the request line; `uri` is path and query.
        headers: a dict with names in any case.
        remote_ip: the client's address.
        protocol: "http" or "https".
        host: the Host header.
        arguments: the query's arguments, each name with the list of its values.
        body: b"".
    """

    body = b""

    def __init__(self, environ: Environ) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        self.query: str = environ.get("QUERY_STRING", "")
        self.uri: str = self.path + ("?" + self.query if self.query else "")
        self.version: str = environ.get("SERVER_PROTOCOL", "HTTP/1.1")
        self.headers: Headers = Headers(environ)
        self.remote_ip: str = environ.get("REMOTE_ADDR", "")
        self.protocol: str = environ.get("wsgi.url_scheme", "http")
        self.host: str = environ.get("HTTP_HOST", "")
        self.arguments: dict[str, list[str]] = parse_qs(self.query, keep_blank_values=True)

    def full_url(self) -> str:
        """Return the requested URL."""
        return f"{self.protocol}://{self.host}{self.uri}"


def _normalize(name: str) -> str:
    return "-".join([part.capitalize() for part in name.split("-")])
