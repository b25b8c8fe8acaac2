"""RedisBus: from any thread and any greenlet, in a process that serves or does not, and in its children."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import gevent
import pytest
from kit.sites.buses import RULE, wait_until

from geventws.engine.loop.poller import get_thread
from geventws.pubsub.bus import bus as module
from geventws.pubsub.bus.connection import UnsupportedServer

TESTS = Path(__file__).parents[2]


def home_of(party: Any) -> Any:
    return party.bus._lodging.home


# Where it lives


def test_subscribers_have_it_in_their_loop(party: Any) -> None:
    one = party()
    one.join("room")
    assert home_of(one).is_here and not home_of(one).is_rented


def test_a_greenlet_that_publishes_has_it_in_its_loop(party: Any) -> None:
    one = party()
    gevent.spawn(one.say, "room", "hello").get()
    assert home_of(one).is_here
    assert one.bus.flush(5)


def test_a_main_greenlet_has_it_in_a_thread(party: Any) -> None:
    """It may never give its loop a turn."""
    there, one = party(), party()
    there.join("room")
    one.say("room", "hello")
    assert home_of(one).is_rented
    wait_until(lambda: there.ear.plain)


def test_it_moves_in_with_the_first_subscriber(party: Any) -> None:
    there, one = party(), party()
    there.join("room")
    one.say("room", "first")
    rented = home_of(one)
    one.join("another")
    one.say("room", "second")
    assert not home_of(one).is_rented
    wait_until(lambda: len(there.ear.plain) == 2)
    assert sorted(payload for _, payload, _ in there.ear.plain) == [b"first", b"second"]
    wait_until(lambda: rented.closed)
    stats = one.bus.stats
    assert (stats.published, stats.sent, stats.queued, stats.dropped) == (2, 2, 0, 0)


def test_its_own_messages_stay_its_own_after_a_move(party: Any) -> None:
    one = party()
    one.say("room", "first")
    one.bus.flush(5)
    rented = one.bus._lodging.core
    one.join("room")
    data = module_pack(rented._node)
    one.bus._lodging.core.take("room", data)
    assert one.ear.plain == []


def destroy_hub() -> None:
    gevent.get_hub().destroy(destroy_loop=True)


@pytest.mark.parametrize("end", [destroy_hub, lambda: None], ids=["destroyed", "its thread ends"])
def test_it_goes_on_when_its_loop_is_over(party: Any, end: Callable[[], None]) -> None:
    """Topics are received again without a publish, and told to have a gap; what nobody has done there is done."""
    there, one = party(), party()

    loops: list[Any] = []

    def use() -> None:
        """Publish more than Redis has answered before the loop ends, and what its loop never gets to see."""
        loops.append(gevent.get_hub().loop)
        gevent.spawn(one.join, "room").get()
        one.bus.subscribe("kept", RULE)
        one.say("room", "unanswered")
        run_in_thread(lambda: one.say("room", "handed over"))
        end()

    there.join("room")
    run_in_thread(use)
    assert home_of(one).is_rented
    wait_until(lambda: {"room", "kept"} <= one.confirmed and one.ear.gaps)
    there.say("room", "hello")
    wait_until(lambda: one.ear.plain)
    assert one.ear.gaps == ["room"] and one.ear.plain == [("room", b"hello", None)]
    assert one.bus.flush(5)
    wait_until(lambda: there.ear.plain)
    assert there.ear.plain == [("room", b"handed over", None)]
    assert one.bus.stats[1:5] == (2, 1, 0, 1)
    loops[0].destroy()


def run_in_thread(function: Callable[[], None]) -> None:
    """Run a function in a native thread that nobody else uses."""
    thread = Thread(target=function)
    thread.start()
    thread.join()


def module_pack(node: bytes) -> bytes:
    from geventws.protocol.prepared import PreparedMessage
    from geventws.pubsub.bus.wire.messages import pack_message

    return pack_message(node, 9, PreparedMessage("late"), None)


def test_any_thread_may_publish(party: Any, in_thread: Any) -> None:
    here, there = party(), party()
    here.join("mine")
    there.join("room")
    there.join("kept", RULE)

    def publish() -> int:
        for number in range(100):
            here.say("room", str(number))
            here.say("kept", str(number), RULE)
        return int(get_thread())

    assert in_thread(publish) != get_thread()
    wait_until(lambda: len(there.ear.plain) == len(there.ear.placed) == 100)
    assert [int(payload) for _, payload, _ in there.ear.plain] == list(range(100))
    assert [int(payload) for _, payload, _ in there.ear.placed] == list(range(100))


def test_what_threads_leave_has_a_bound(party: Any, in_thread: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 10)
    one = party()
    one.join("mine")

    def publish() -> list[bool]:
        gate.wait()
        return [one.say("room", "x") for _ in range(15)]

    with LoopBusy() as gate:
        said = gevent.get_hub().threadpool.spawn(publish)
        gate.run()
    assert said.get() == [True] * 10 + [False] * 5
    assert one.bus.flush(5)
    stats = one.bus.stats
    assert (stats.published, stats.sent, stats.dropped) == (15, 10, 5)


class LoopBusy:
    """Keeps this loop from its turn until a thread has done its work."""

    def __enter__(self) -> LoopBusy:
        import gevent.monkey

        self._sleep = gevent.monkey.get_original("time", "sleep")
        self._open = False
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def wait(self) -> None:
        """Block the thread until the loop is kept busy."""
        while not self._open:
            self._sleep(0.001)

    def run(self) -> None:
        """Keep it busy for a moment."""
        gevent.sleep(0)
        self._open = True
        self._sleep(0.1)


# Topics


def test_a_topic_that_is_left_and_joined_again(party: Any) -> None:
    here, there = party(), party()
    there.join("room")
    there.join("kept", RULE)
    for topic in ("room", "kept"):
        there.bus.unsubscribe(topic)
    here.say("kept", "meanwhile", RULE)
    here.bus.flush(5)
    there.join("room")
    there.join("kept", RULE)
    here.say("room", "hello")
    wait_until(lambda: there.ear.plain and there.ear.placed)
    assert there.ear.placed == [(1, b"meanwhile", None)], "it was heard still"


def test_unsubscribing_where_there_is_nothing(party: Any) -> None:
    party().bus.unsubscribe("room")


# Reading


def test_many_who_read_at_once_ask_once(party: Any, redis: Any) -> None:
    one = party()
    gevent.spawn(one.bus.subscribe, "room", RULE).get()
    readers = [gevent.spawn(one.bus.read, "room", RULE) for _ in range(500)]
    gevent.joinall(readers, raise_error=True)
    for _ in range(100):
        one.bus.read("room", RULE)
    assert count_calls(redis, "evalsha") == 1 and len(one.ear.fills) == 1


def count_calls(redis: Any, command: str) -> int:
    lines = redis.ask("INFO", "commandstats").decode().splitlines()
    found = [line for line in lines if line.startswith(f"cmdstat_{command}:calls=")]
    return int(found[0].partition("calls=")[2].partition(",")[0]) if found else 0


def test_any_thread_reads(party: Any, in_thread: Any) -> None:
    here, there = party(), party()
    here.say("room", "hello", RULE)
    here.bus.flush(5)
    in_thread(there.bus.subscribe, "room", RULE)
    assert home_of(there).is_rented, "the thread has no loop"
    in_thread(there.bus.read, "room", RULE)
    there.bus.read("room", RULE)
    assert [payloads for _, payloads in there.ear.fills] == [[b"hello"]]


def test_what_cannot_be_read_is_told(party: Any, in_thread: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.05)
    one = party("redis://127.0.0.1:1")
    one.bus.subscribe("room", RULE)

    def read() -> None:
        with pytest.raises(TimeoutError, match="the history of 'room' cannot be read"):
            one.bus.read("room", RULE)

    gevent.spawn(read).get()
    in_thread(read)


def test_a_callback_does_not_wait(party: Any) -> None:
    one = party()
    gevent.spawn(one.bus.subscribe, "room", RULE).get()
    errors: list[Exception] = []

    def read() -> None:
        try:
            one.bus.read("room", RULE)
        except TimeoutError as error:
            errors.append(error)

    gevent.get_hub().loop.run_callback(read)
    wait_until(lambda: errors)


# The end


def test_flush_and_close(party: Any, redis: Any) -> None:
    one = party()
    assert one.bus.flush(0) and one.bus.close(0)
    one.join("room")
    one.say("room", "hello")
    assert not one.bus.flush(0)
    assert one.bus.close(5)
    wait_until(lambda: redis.count_clients("pubsub") + redis.count_clients("normal") == 0)
    assert one.bus.stats[:5] == (False, 1, 1, 0, 0)
    one.join("room")
    assert one.bus.stats.up


def test_its_counts_outlive_its_connections(party: Any) -> None:
    """What was not answered is dropped, and nothing else is left of them."""
    one = party()
    for number in range(20):
        gevent.spawn(one.say, "room", "hello").get()
        assert one.bus.close(5 if number % 2 else 0) == bool(number % 2)
    assert one.bus.flush(0)
    assert one.bus.stats[1:5] == (20, 10, 0, 10) and one.bus._past == []


def test_flush_gives_up(party: Any) -> None:
    one = party("redis://127.0.0.1:1")
    gevent.spawn(one.say, "room", "hello").get()
    assert not one.bus.flush(0.01)
    said: list[bool] = []
    gevent.get_hub().loop.run_callback(lambda: said.append(one.bus.flush(5)))
    wait_until(lambda: said)
    assert said == [False], "the hub cannot wait"


def test_a_cluster_is_told_aloud(party: Any, monkeypatch: pytest.MonkeyPatch, log: Any) -> None:
    def refuse(address: Any) -> Any:
        raise UnsupportedServer("redis://here is a Redis Cluster, which is not supported")

    monkeypatch.setattr("geventws.pubsub.bus.connection.Address.connect", refuse)
    one = party()
    gevent.spawn(one.say, "room", "hello").get()
    wait_until(lambda: one.ear.ups)
    for call in (lambda: one.say("room", "hello"), lambda: one.bus.subscribe("room", None)):
        with pytest.raises(RuntimeError, match="is a Redis Cluster"):
            call()
    gevent.sleep(0)
    assert "is a Redis Cluster" in log()[0].getMessage()


# Programs


def run(program: str, *arguments: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


JOB = """
import sys
from kit.sites.buses import RULE, Party
party = Party(sys.argv[1])
for number in range(100):
    party.say("room", str(number))
    party.say("kept", str(number), RULE)
"""


@pytest.mark.parametrize("patch", ["", "import gevent.monkey; gevent.monkey.patch_all()\n"], ids=["plain", "patched"])
def test_a_job_that_ends_at_once_loses_nothing(redis: Any, patch: str) -> None:
    with redis.subscribed(b"gws:t:room") as receive:
        assert run(patch + JOB, redis.url) == []
        assert [int(receive()[18:]) for _ in range(100)] == list(range(100))
    assert redis.ask("XLEN", "gws:h:kept") == 100


BLOCKED = """
import sys, time
from kit.sites.buses import Party
party = Party(sys.argv[1])
party.say("room", "hello")
time.sleep(1.0)  # a job that knows nothing of gevent
print(party.bus.stats.sent)
"""


def test_a_job_that_never_gives_its_loop_a_turn(redis: Any) -> None:
    assert run(BLOCKED, redis.url) == ["1"]


FORKING = """
import os, sys, gevent
from kit.sites.buses import Party, RULE, wait_until

party = Party(sys.argv[1])
party.join("room")
party.say("room", "of the parent")
assert party.bus.flush(5)
child = os.fork()
if not child:
    assert party.bus.stats[:5] == (False, 0, 0, 0, 0), party.bus.stats
    party.join("room")
    party.say("room", "of the child")
    assert party.bus.close(5)
    print("child", party.ear.gaps, party.ear.ups, flush=True)
    os._exit(0)
os.waitpid(child, 0)
wait_until(lambda: party.ear.plain)
gevent.sleep(0)
print("parent", party.ear.plain, party.ear.gaps, party.ear.ups, party.bus.stats.reconnects, flush=True)
"""


def test_a_child_has_connections_of_its_own(redis: Any) -> None:
    assert run(FORKING, redis.url) == [
        "child [] [True, True]", "parent [('room', b'of the child', None)] [] [True] 0"
    ]  # fmt: skip
