"""The options of `connect`: what a client can be told besides the options of every connection."""

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
    headers: further headers of the request, as pairs or a dict. A Host, an Origin, a User-Agent or an Authorization
        among them takes the place of ours.
    origin: the Origin header. Only browsers must send one.
    compression: what to offer of permessage-deflate (RFC 7692); None offers nothing.
    ssl: the TLS context for wss. By default, servers are verified by the system's certificates.
    server_hostname: the name that the server's certificate must have; the URI's host by default.
    proxy: True asks the environment (https_proxy, all_proxy, no_proxy and others) for one; a URI such as
        "http://name:password@host:3128" or "socks5h://host" is one; None or False goes straight to the server.
    unix_path: the path of a Unix socket to connect to, a `pathlib.Path` or text. The URI then says what to ask for
        there.
    socket: a socket that is connected to the server already. It is the connection's from here on.
    max_redirects: redirects to follow. None leads from wss to ws, and of `headers` only Accept, Accept-Language, Origin
        and User-Agent go to another origin.
    open_timeout: seconds for all that, from the name lookup to the 101; None for no limit.
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
