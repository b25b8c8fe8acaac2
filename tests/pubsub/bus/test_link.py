"""Link: it comes back for ever, asks for signs of life, and what is sent over it keeps nobody waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.server import StreamServer
from kit.servers.redis import RedisServer
from kit.sites.buses import wait_until

from geventws.client.backoff import Backoff
from geventws.engine.loop.poller import get_poller
from geventws.pubsub.bus import link as module
from geventws.pubsub.bus.connection import Address, UnsupportedServer
from geventws.pubsub.bus.link import Link
from geventws.pubsub.bus.wire.resp import pack


class End:
    """Notes what its link tells; `link` is set later."""

    def __init__(self) -> None:
        self.link: Any = None
        self.replies: list[Any] = []
        self.ups = 0
        self.errors: list[Exception] = []
        self.pings = 0

    def connected(self) -> None:
        self.ups += 1

    def receive(self, reply: Any) -> None:
        self.replies.append(reply)

    def ping(self) -> None:
        self.pings += 1
        self.link.send(pack(b"PING"))

    def lost(self, error: Exception) -> None:
        self.errors.append(error)

    failed = lost


@pytest.fixture
def dial(serve: Any, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., End]]:
    """Open a link to a Redis; return its end."""
    monkeypatch.setattr(module, "LAST_DELAY", 0.1)
    opened: list[Link] = []

    def dial(url: str = redis.url) -> End:
        end = End()
        end.link = Link(Address(url), get_poller(), end)
        end.link.start()
        opened.append(end.link)
        return end

    yield dial
    for link in opened:
        link.close()


def test_commands_are_answered_in_order(dial: Any) -> None:
    end = dial()
    end.link.send(pack(b"ECHO", b"too early"))
    wait_until(lambda: end.ups)
    for word in (b"one", b"two"):
        end.link.send(pack(b"ECHO", word))
    wait_until(lambda: len(end.replies) == 2)
    assert end.replies == [b"one", b"two"]
    assert end.link.up and end.link.connects == 1


def test_it_comes_back(dial: Any, redis: RedisServer) -> None:
    end = dial()
    wait_until(lambda: end.ups)
    assert redis.kill_clients("normal") == 1
    wait_until(lambda: end.ups == 2)
    redis.stop()
    wait_until(lambda: len(end.errors) > 3)
    assert not end.link.up
    redis.start()
    wait_until(lambda: end.ups == 3)
    assert end.link.connects == 3
    assert "Redis has closed the connection" in str(end.errors[0])


def test_more_than_the_kernel_takes_is_sent_later(dial: Any, redis: RedisServer) -> None:
    end = dial()
    wait_until(lambda: end.ups)
    redis.freeze()
    for number in range(20):
        end.link.send(pack(b"ECHO", b"%d " % number + bytes(1_000_000)))
        gevent.sleep(0)
    redis.thaw()
    wait_until(lambda: len(end.replies) == 20)
    assert [int(reply.split()[0]) for reply in end.replies] == list(range(20))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of this loop's poller, to be set."""
    now = [1000.0]
    monkeypatch.setattr(get_poller().clock, "monotonic", lambda: now[0])
    return now


def test_a_sign_of_life_is_asked_for(dial: Any, redis: RedisServer, clock: list[float]) -> None:
    end = dial()
    wait_until(lambda: end.ups)
    for _ in range(3):
        clock[0] += module.PING_INTERVAL - 1
        end.link.check()
        assert end.pings == 0
        end.link.send(pack(b"ECHO", b"heard"))
        wait_until(lambda: end.replies.pop() if end.replies else None)
    clock[0] += module.PING_INTERVAL
    end.link.check()
    end.link.check()
    assert end.pings == 1
    wait_until(lambda: end.replies == [b"PONG"])
    clock[0] += module.ANSWER_TIMEOUT
    end.link.check()
    assert end.pings == 2 and end.ups == 1 and not end.errors


def test_whoever_gives_none_is_given_up(dial: Any, redis: RedisServer, clock: list[float]) -> None:
    end = dial()
    wait_until(lambda: end.ups)
    redis.freeze()
    clock[0] += module.PING_INTERVAL
    end.link.check()
    clock[0] += module.ANSWER_TIMEOUT - 1
    end.link.check()
    gevent.idle()
    assert not end.errors
    clock[0] += 1
    end.link.check()
    wait_until(lambda: end.errors)
    redis.thaw()
    wait_until(lambda: end.ups == 2)


def test_who_does_not_answer_is_not_waited_for(serve: Any, dial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.05)
    with gevent.socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        end = dial(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        wait_until(lambda: len(end.errors) >= 2)
    assert str(end.errors[0]) == "no answer within 0.05 s"


def test_what_is_no_redis_is_tried_again(dial: Any) -> None:
    accepted = 0

    def speak(socket: Any, _address: Any) -> None:
        nonlocal accepted
        accepted += 1
        socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = StreamServer(("127.0.0.1", 0), speak)
    server.start()
    end = dial(f"redis://127.0.0.1:{server.server_port}")
    wait_until(lambda: accepted > 2)
    server.stop()
    assert end.errors and not end.ups


def test_what_is_not_supported_is_not(dial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: Any) -> Any:
        raise UnsupportedServer("a cluster")

    monkeypatch.setattr(Address, "connect", refuse)
    end = dial()
    wait_until(lambda: end.link.closed)
    assert [str(error) for error in end.errors] == ["a cluster"]


def test_a_reply_that_is_none_ends_it(dial: Any, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    end = dial()
    wait_until(lambda: end.ups)
    monkeypatch.setattr(end, "receive", lambda reply: 1 // 0)
    end.link.send(pack(b"PING"))
    wait_until(lambda: end.ups == 2)
    assert str(end.errors[0]).startswith("Redis has sent what was not expected (ZeroDivisionError(")


@pytest.mark.parametrize("refuses", [False, True])
def test_only_one_that_has_lasted_is_tried_again_at_once(
    dial: Any, clock: list[float], monkeypatch: pytest.MonkeyPatch, refuses: bool
) -> None:
    """As where a user may connect, but not subscribe: each attempt would be refused, without a pause between them."""
    resets: list[int] = []
    monkeypatch.setattr(Backoff, "reset", lambda backoff: resets.append(1))
    end = dial()
    for number in range(1, 5):
        wait_until(lambda number=number: end.ups == number)
        clock[0] += 0 if refuses else module.LASTING
        end.link.abort("NOPERM")
    assert len(resets) in ((0,) if refuses else (3, 4))


def test_closed_is_closed(dial: Any, redis: RedisServer) -> None:
    end = dial()
    wait_until(lambda: end.ups)
    end.link.close()
    end.link.close()
    wait_until(lambda: not end.link.up)
    end.link.send(pack(b"PING"))
    assert not end.errors
    wait_until(lambda: redis.count_clients("normal") == 0)
