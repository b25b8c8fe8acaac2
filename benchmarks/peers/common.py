"""What every Python peer shares: the settings out of the environment, and telling the port."""

from __future__ import annotations

import os
import ssl
import warnings

warnings.simplefilter("ignore", DeprecationWarning)

HOST = "127.0.0.1"
CERTIFICATE = os.environ.get("BENCH_CERTIFICATE")
KEY = os.environ.get("BENCH_KEY")
DEFLATE = os.environ.get("BENCH_DEFLATE") == "1"

#: Whether each message is to be published to all who are connected.
FANOUT = os.environ.get("BENCH_FANOUT") == "1"

#: Larger than any message of any scenario.
LARGEST = 4 << 20


def tls_context() -> ssl.SSLContext | None:
    """The server's TLS context, or None for plain TCP."""
    if CERTIFICATE is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context


def announce(port: int) -> None:
    """Tell the runner that the server listens."""
    print(f"PORT {port}", flush=True)
