"""The program of tests/pubsub/test_forks.py: a room whose process forks with a message on its way.

It prints what it finds, a line for each process, and what its two clients got.
"""

from __future__ import annotations

import os

import gevent

from geventws import PubSub, WebSocketServer, WebSocketWSGI, connect

pubsub = PubSub()


@WebSocketWSGI
def room(ws) -> None:
    pubsub.subscribe(ws, "room")
    ws.wait()


def publish_and_look(whose: str) -> None:
    """Publish, as far as there is anybody, and print what became of it."""
    reached = pubsub.publish("room", whose)
    gevent.sleep(0.05)
    stats = pubsub.stats
    counts = (stats.published, stats.sent, stats.queued, stats.dropped, stats.abandoned, stats.subscriptions)
    os.write(1, f"{whose} {reached} {pubsub.count('room')} {counts}\n".encode())


def main() -> None:
    server = WebSocketServer(("127.0.0.1", 0), room, log=None)
    server.start()
    clients = [connect(f"ws://127.0.0.1:{server.server_port}") for _ in range(2)]
    while pubsub.count("room") < 2:
        gevent.sleep(0.001)
    pubsub.publish("room", "before")
    child = gevent.fork()
    if not child:
        publish_and_look("child")
        os._exit(0)
    gevent.os.waitpid(child, 0)
    publish_and_look("parent")
    print([[client.wait() for _ in range(2)] for client in clients], flush=True)


if __name__ == "__main__":
    main()
