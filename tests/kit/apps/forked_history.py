"""The program of tests/pubsub/branches/test_forks.py: a process that forks with a history and a member.

Another thread holds the lock of the PubSub meanwhile, and is not there in the child.
"""

from __future__ import annotations

import os
import threading

import gevent

from geventws import PubSub, WebSocketServer, WebSocketWSGI, connect

pubsub = PubSub(history={"room": (10, 60)}, presence_grace=0.01)


@WebSocketWSGI
def room(ws) -> None:
    pubsub.subscribe(ws, "room")
    pubsub.track(ws, "room", "ana")
    ws.wait()


def look(whose: str, since: str | None) -> None:
    """Publish, and print what is there."""
    pubsub.publish("room", whose)
    found = pubsub.history("room", since)
    os.write(1, f"{whose} {found.messages} {found.gap} {list(pubsub.presence('room'))}\n".encode())


def main() -> None:
    server = WebSocketServer(("127.0.0.1", 0), room, log=None)
    server.start()
    client = connect(f"ws://127.0.0.1:{server.server_port}")
    while not pubsub.presence("room"):
        gevent.sleep(0.001)
    since = pubsub.history("room").position
    pubsub.publish("room", "before")
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with pubsub._store.lock:
            held.set()
            go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = gevent.fork()
    if not child:
        look("child", since)
        os._exit(0)
    go.set()
    thread.join()
    gevent.os.waitpid(child, 0)
    look("parent", since)
    print([client.wait() for _ in range(2)], flush=True)


if __name__ == "__main__":
    main()
