"""gunicorn's worker of ours in the test's own process: its server and its log, and none of its signals."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from gevent import socket
from gunicorn.config import Config
from gunicorn.glogging import Logger

from geventws.gunicorn import Server, Worker


@contextlib.contextmanager
def serving_as_worker(serve: Any, application: Any) -> Iterator[Any]:
    """Serve an application; what the worker logs goes to the root logger, too."""
    cfg = Config()
    log = Logger(cfg)
    worker = Worker(1, os.getppid(), [], None, cfg.timeout, cfg, log)
    worker.wsgi = application

    def make_server(address: Any, _application: Any, **_options: Any) -> Server:
        listener = socket.socket()
        listener.bind(address)
        listener.listen()
        return Server(worker, listener)

    log.error_log.propagate = True
    try:
        site = serve(application, server_class=make_server)
        yield site
        site.server.stop()
    finally:
        log.error_log.propagate = False
        worker.tmp.close()
