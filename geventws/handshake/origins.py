"""Which pages may connect: the Origin of a request, and whether a server allows it (RFC 6455 10.2). No I/O."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from typing import Any, Final, Literal, NoReturn, TypeAlias

from ..exceptions import HandshakeError
from ..text import quoted

DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class SameOrigin(enum.Enum):
    """The default of `origins`: a page may connect to the server it came from, and to no other."""

    SAME_ORIGIN = "same origin"


SAME_ORIGIN: Final = SameOrigin.SAME_ORIGIN
Environ: TypeAlias = dict[str, Any]
OriginChecker: TypeAlias = Callable[["str | None", Environ], object]
Origins: TypeAlias = Literal[SameOrigin.SAME_ORIGIN] | Collection[str | None] | OriginChecker | None


def read_origin(environ: Environ, version: int) -> str | None:
    """Return the Origin of a request, or None; version 8 has another name for this header (hybi-08 5.1).

    A browser sets Origin itself, and lets no page set it. Today's browsers do not protect the other name, so that one
    is only looked at if there is no Origin.
    """
    origin: str | None = environ.get("HTTP_ORIGIN")
    if origin is None and version == 8:
        origin = environ.get("HTTP_SEC_WEBSOCKET_ORIGIN")
    return origin


def check_origin(origin: str | None, environ: Environ, origins: Origins) -> None:
    """Raise a 403 unless `origins`, as `accept` takes it, lets `origin` in (RFC 6455 10.2)."""
    if origins is None:
        return
    if isinstance(origins, SameOrigin):
        if origin is not None and not _is_listed(origin, own := _own_origins(environ)):
            _refuse(f"the Origin {quoted(origin)} is not the request's own, {quoted(own[0])}")
    elif callable(origins):
        if not origins(origin, environ):
            _refuse(f"the function given as origins refuses {_describe(origin)}")
    elif isinstance(origins, str):
        raise TypeError(f"origins takes a list, a function, None or SAME_ORIGIN, not the text {origins!r}")
    elif not _is_listed(origin, origins):
        _refuse(f"origins does not list {_describe(origin)}")


def _own_origins(environ: Environ) -> tuple[str, str]:
    """Return the origins of pages that may have come from this very server.

    Behind a proxy that ends TLS, the request arrives as http although the page's Origin is https: so https is always
    allowed. If TLS ends here, a page over http is another origin (RFC 6454 5).
    """
    host = environ.get("HTTP_HOST") or "?"  # the Origin of no page
    return f"{environ.get('wsgi.url_scheme', 'http')}://{host}", f"https://{host}"


def _is_listed(origin: str | None, origins: Collection[str | None]) -> bool:
    """Tell whether `origin` is in `origins`; case and default ports make no difference (RFC 6454 4 and 5)."""
    if origin in origins:
        return True
    return origin is not None and _normalize(origin) in [_normalize(other) for other in origins if other]


def _normalize(origin: str) -> str:
    scheme, separator, authority = origin.lower().partition("://")
    return scheme + separator + authority.removesuffix(DEFAULT_PORTS.get(scheme, ""))


def _describe(origin: str | None) -> str:
    return "a request without Origin" if origin is None else f"the Origin {quoted(origin)}"


def _refuse(why: str) -> NoReturn:
    raise HandshakeError(403, why, option="origins")
