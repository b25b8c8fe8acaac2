"""The program of tests/pubsub/test_faces.py: a monkey-patched process, with a room behind each face.

It prints the name of each face whose room was as it should be.
"""

from __future__ import annotations

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()

import threading

import gevent
from gevent.pywsgi import WSGIServer
from kit.clients import RawClient
from kit.sites.faces import FACES, Members, visit

DEADLINE = 20.0


def main() -> None:
    assert threading.current_thread() is threading.main_thread() and monkey.is_module_patched("threading")
    for name, face in FACES.items():
        members = Members()
        application, options = face(members)
        server = options.pop("server_class", WSGIServer)(("127.0.0.1", 0), application, log=None, **options)
        server.start()

        def connect(port: int = server.server_port) -> RawClient:
            client = RawClient(port)
            client.open()
            return client

        with gevent.Timeout(DEADLINE):
            visit(members.pubsub, connect)
        server.stop()
        print(name, flush=True)


if __name__ == "__main__":
    main()
