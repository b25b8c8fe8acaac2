"""Says what the installed gevent lacks of the private names that geventws uses:

    python -m kit.programs.privates
"""

from __future__ import annotations

import ssl
import sys
from typing import Any

import gevent
from gevent import pywsgi
from gevent import socket as gsocket
from gevent import ssl as gssl

PRIVATES = {
    "a socket": ("_accept", "_detach_socket", "_read_event", "_sock", "_write_event"),
    "a TLS socket": ("_sslobj",),
    "a loop": ("_callbacks",),
    "a server": ("_spawn", "_start_accepting_if_started", "_stop_event", "_watcher"),
    "a handler": (
        "_handle_client_error", "_orig_status", "_send_error_response_if_possible", "_sendall", "_write",
        "_write_with_headers",
    ),
    "pywsgi": ("_NoopLog",),
}  # fmt: skip
"""What is gevent's own, by what has it."""


def make_owners() -> dict[str, Any]:
    """Return one of each that `PRIVATES` names."""
    context = gssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    plain = gsocket.socket()
    tls = context.wrap_socket(gsocket.socket(), server_hostname="localhost", do_handshake_on_connect=False)
    server = pywsgi.WSGIServer(("127.0.0.1", 0))
    return {
        "a socket": plain,
        "a TLS socket": tls,
        "a loop": gevent.get_hub().loop,
        "a server": server,
        "a handler": pywsgi.WSGIHandler,
        "pywsgi": pywsgi,
    }


def find_missing() -> list[str]:
    """Return what is not there."""
    owners = make_owners()
    missing = [f"{owner}: {name}" for owner, names in PRIVATES.items() for name in names
               if not hasattr(owners[owner], name)]  # fmt: skip
    for name in ("a socket", "a TLS socket"):
        owners[name].close()
    return missing


if __name__ == "__main__":
    missing = find_missing()
    print(gevent.__version__, *missing, sep="\n")
    sys.exit(bool(missing))
