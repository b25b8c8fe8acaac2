"""The program of tests/pubsub/presence/test_over_redis.py: a process with a member, until it is killed.

    python -m kit.apps.present URL MEMBER
"""

from __future__ import annotations

import sys

import gevent

from geventws import PubSub, WebSocketServer, WebSocketWSGI, connect
from geventws.pubsub.bus import core
from geventws.pubsub.bus.bus import RedisBus
from geventws.pubsub.bus.wire import members
from geventws.pubsub.presence import presence

members.ALIVE_SECONDS, presence.BEAT, core.TICK = 1.2, 0.2, 0.1
pubsub = PubSub()
pubsub.use(RedisBus(sys.argv[1], "gws:"))


@WebSocketWSGI
def room(ws) -> None:
    pubsub.track(ws, "room", sys.argv[2], {"process": "another"})
    print("tracked", flush=True)
    ws.wait()


def main() -> None:
    server = WebSocketServer(("127.0.0.1", 0), room, log=None)
    server.start()
    with connect(f"ws://127.0.0.1:{server.server_port}"):
        gevent.sleep(60)


if __name__ == "__main__":
    main()
