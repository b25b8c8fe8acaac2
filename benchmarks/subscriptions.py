"""What a subscription of a PubSub takes: memory, and CPU to come and to leave.

10,000 connections subscribe to 100 of 10,000 topics each. The connections are sockets that lead nowhere, so that what
grows is the subscriptions alone.

    python benchmarks/subscriptions.py
"""

from __future__ import annotations

import gc
import os
import random
import resource
import socket
import time
from collections.abc import Callable

from geventws.pubsub.branches.topics import Topics

CONNECTIONS, TOPICS, EACH = 10_000, 10_000, 100
PAGE = os.sysconf("SC_PAGE_SIZE")


class Subscriber:
    """What topics know of a connection."""

    extension = None

    def __init__(self) -> None:
        self._socket = socket.socket()
        self.fileno: Callable[[], int] = self._socket.fileno
        self.sharing = "plain"


def resident() -> int:
    """Return the bytes that are resident, once there is no garbage."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    subscribers = [Subscriber() for _ in range(CONNECTIONS)]
    names, dice = [f"topic-{number}" for number in range(TOPICS)], random.Random(1)
    plan = [dice.sample(names, EACH) for _ in subscribers]
    topics = Topics(EACH, lambda name, begun: None)
    count, before, began = CONNECTIONS * EACH, resident(), time.process_time()
    for subscriber, chosen in zip(subscribers, plan, strict=True):
        for name in chosen:
            topics.subscribe(subscriber, name, "close")
    subscribed = time.process_time() - began
    grown, began = resident() - before, time.process_time()
    for subscriber in subscribers:
        topics.leave(subscriber)
    left = time.process_time() - began
    print(f"{count:,} subscriptions: {grown / count:.0f} bytes each")
    print(f"{1e6 * subscribed / count:.2f} us to subscribe, {1e6 * left / count:.2f} us to leave")


if __name__ == "__main__":
    main()
