"""The options of `connect`, besides those of every connection."""

from __future__ import annotations

import os
import ssl as _ssl
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

from ..engine.options import COMPRESSION, DEFAULTS, ConnectionOptions, SharedOptions
from ..protocol.extension import Negotiator


class OpeningOptions(TypedDict, total=False):
    """Options of `connect` for the way to the 101.

    subprotocols: those to offer, best first. `ws.protocol` tells which one the server took, if any.
    headers: further headers of the request, as pairs or a dict. A Host, Origin, User-Agent or Authorization among them
        replaces ours.
    origin: the Origin header. Only browsers must send one.
    compression: what to offer of permessage-deflate (RFC 7692); None offers nothing.
    ssl: the TLS context for wss. By default, servers are verified by the system's certificates.
    server_hostname: the name that the server's certificate must have; the URI's host by default.
    proxy: the URI of a proxy, such as "http://name:password@host:3128" or "socks5h://host"; True to use the one that
        the environment names (https_proxy, all_proxy, no_proxy and others); None or False to connect directly.
    unix_path: the path of a Unix socket to connect to, a `pathlib.Path` or text. The URI then only says what to
        request there.
    socket: a socket that is connected to the server already. The connection owns it from then on.
    max_redirects: how many redirects to follow. No redirect is followed from wss to ws, and of `headers` only Accept,
        Accept-Language, Origin and User-Agent are sent to another origin.
    open_timeout: seconds for the whole opening, from the name lookup to the 101; None for no limit.
    """

    subprotocols: Sequence[str]
    headers: Iterable[tuple[str, str]] | dict[str, str]
    origin: str | None
    compression: Negotiator | None
    ssl: _ssl.SSLContext | None
    server_hostname: str | None
    proxy: str | bool | None
    unix_path: str | os.PathLike[str] | None
    socket: Any
    max_redirects: int
    open_timeout: float | None


class ConnectOptions(OpeningOptions, ConnectionOptions, total=False):
    """All options of `connect`."""


class WholeOptions(OpeningOptions, SharedOptions, total=False):
    """All but `streaming`."""


CONNECT_DEFAULTS: ConnectOptions = {
    "subprotocols": (),
    "headers": (),
    "origin": None,
    "compression": COMPRESSION,
    "ssl": None,
    "server_hostname": None,
    "proxy": True,
    "unix_path": None,
    "socket": None,
    "max_redirects": 10,
    "open_timeout": 10.0,
    **DEFAULTS,
}
