"""The server of gevent-websocket."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gevent.pywsgi import WSGIServer

from .handler import Client, WebSocketHandler
from .websocket import logger

__all__ = ["WebSocketServer"]


class WebSocketServer(WSGIServer):  # type: ignore[misc]
    """A `gevent.pywsgi.WSGIServer` whose handler is `WebSocketHandler`, with two more arguments.

    Args:
        debug: whether to log more, and to stderr.
        pre_start_hook: called with the handler of each request; if it returns something true, the request is served as
            plain HTTP.

    Attributes:
        clients: the connections, as `Client` by address.
    """

    handler_class: type[WebSocketHandler] = WebSocketHandler

    def __init__(
        self,
        *args: Any,
        debug: bool = False,
        pre_start_hook: Callable[[WebSocketHandler], object] | None = None,
        **options: Any,
    ) -> None:
        self.debug = debug
        self.pre_start_hook = pre_start_hook
        self.clients: dict[Any, Client] = {}
        self.logger: logging.Logger = logger
        if debug:
            logging.getLogger("geventws").setLevel(logging.DEBUG)
            logging.basicConfig()
        super().__init__(*args, **options)
