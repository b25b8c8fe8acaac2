"""How blocks that need a Redis are run: with one of the test's own."""

from __future__ import annotations

from collections.abc import Callable

from kit.documents.blocks import Block, execute
from kit.servers.redis import RedisServer


def over_redis(run: Callable[[Block], None]) -> Callable[[Block], None]:
    """Run a block whose Redis is at the usual port."""

    def run_over_redis(block: Block) -> None:
        assert "127.0.0.1:6379" in block.text
        server = RedisServer()
        server.start()
        try:
            run(block._replace(text=block.text.replace("127.0.0.1:6379", f"127.0.0.1:{server.port}")))
        finally:
            server.stop()

    return run_over_redis


def publishes(block: Block) -> None:
    """Run a program to its end, and hear what it has published."""
    port = int(block.text.partition("127.0.0.1:")[2].partition("/")[0])
    with RedisServer.at(port).subscribed(b"gws:t:room") as receive:
        assert execute(["-c", block.text]) == ""
        assert receive().endswith(b"The shop is open.")
