"""Figures for Prometheus: as many connections as are open, and what PubSubs count, over a scrape."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent._hub_local import get_hub_if_exists
from kit.clients import RawClient
from kit.programs.lowest import install_lowest, run_module
from kit.servers.redis import RedisServer
from kit.sites.echoes import HOSTS
from kit.sites.rooms import SMALL, Room, message
from kit.sources import PROJECT
from prometheus_client import CollectorRegistry, Metric, make_wsgi_app

from geventws import PubSub, connect
from geventws.metrics import Collector

CHAT = {"pubsub": "chat"}


@pytest.fixture
def room(serve: Any) -> Room:
    return Room(serve)


def register(**pubsubs: PubSub) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Collector(**pubsubs))
    return registry


class Connections:
    """The connections that were opened since this was made, and have not ended."""

    def __init__(self) -> None:
        self._registry = register()
        self._before = self._read()

    def _read(self) -> float:
        value = self._registry.get_sample_value("geventws_connections")
        assert value is not None
        return value

    @property
    def count(self) -> float:
        return self._read() - self._before


def scrape(site: Any) -> dict[str, float]:
    """Return what a scrape finds, by the text of each line up to the number."""
    client: RawClient = site.dial()
    client.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    answer = client.read_head()
    assert answer.status == "HTTP/1.1 200 OK" and str(answer.get("Content-Type")).startswith("text/plain; version=")
    lines = [line for line in client.rest().decode().splitlines() if not line.startswith("#")]
    client.close()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


# Connections


@pytest.mark.parametrize("host", HOSTS)
def test_open_connections_count_on_both_sides(room: Room, host: str, secure: Any, certificate: Any) -> None:
    now = Connections()
    room.open(host, secure)
    clients = [room.connect() for _ in range(3)]
    assert now.count == 3
    context = gevent.ssl.create_default_context(cafile=certificate["ca_certs"]) if host == "tls" else None
    scheme = "wss" if context else "ws"
    ours = connect(f"{scheme}://127.0.0.1:{room.site.port}/?room", ssl=context)
    room.wait_until(lambda: len(room.members) == 4)
    assert now.count == 5  # the server's end, and the client's
    ours.close()
    room.wait_until(lambda: now.count == 3)
    clients.pop().leave()
    room.wait_until(lambda: now.count == 2)
    clients.pop().reset()
    room.wait_until(lambda: now.count == 1)
    clients.pop().close()
    room.site.settle()
    room.wait_until(lambda: now.count == 0)


def test_a_handshake_is_no_connection_yet(room: Room) -> None:
    now = Connections()
    room.open()
    client = room.site.dial()
    client.send(b"GET / HTTP/1.1\r\n")
    gevent.sleep(0.01)
    assert now.count == 0
    client.close()


def test_those_of_all_threads_count_until_their_loops_are_destroyed(room: Room, in_thread: Any) -> None:
    now = Connections()
    room.open()
    done, ready, kept, counts = threading.Event(), threading.Event(), [], []

    def run_there() -> None:
        kept.extend(connect(f"ws://127.0.0.1:{room.site.port}/?none") for _ in range(2))
        ready.set()
        done.wait()
        counts.append(now.count)
        gevent.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=run_there, daemon=True)
    thread.start()
    in_thread(ready.wait)
    theirs = [room.clients_without_topic() for _ in range(2)]
    here = room.connect()
    assert now.count == 5
    done.set()
    in_thread(thread.join)
    assert counts == [5] and all(ws.closed for ws in kept)
    room.wait_until(lambda: now.count == 1)
    assert all(ws.closed for ws in theirs)
    here.leave()
    room.wait_until(lambda: now.count == 0)


def test_a_thread_without_a_loop_reads_them_and_gets_none(room: Room) -> None:
    now, found = Connections(), []
    room.open()
    client = room.connect()
    thread = threading.Thread(target=lambda: found.extend([now.count, get_hub_if_exists()]))
    thread.start()
    thread.join()  # this loop stands still, and nobody waits for it
    assert found == [1, None]
    client.leave()


def test_a_loop_with_more_than_one_poller_counts_all(room: Room) -> None:
    """As with a clock of the test's own."""
    from geventws.testing import hand_clock

    now = Connections()
    room.open()
    before = room.connect()
    with hand_clock():
        assert now.count == 1
        within = room.connect()
        assert now.count == 2
        within.leave()
    before.leave()
    room.wait_until(lambda: now.count == 0)


FORK = """
import os
from gevent import pywsgi
from geventws import WebSocketWSGI, connect
from geventws.metrics import Collector

server = pywsgi.WSGIServer(("127.0.0.1", 0), WebSocketWSGI(lambda ws: ws.wait()), log=None)
server.start()
ws = connect(f"ws://127.0.0.1:{server.server_port}/")
child = os.fork()
if child:
    os.waitpid(child, 0)
print("parent" if child else "child", next(Collector().collect()).samples[0].value, flush=True)
if not child:
    os._exit(0)
"""


def test_the_child_of_a_fork_has_none() -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", FORK], env=environment, capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines() == ["child 0", "parent 2"], done.stderr


# PubSubs


def test_a_scrape_shows_what_was_published(room: Room, serve: Any) -> None:
    site = serve(make_wsgi_app(register(chat=room.pubsub, prices=PubSub())))
    now = Connections()
    room.open()
    clients = [room.connect(["room", "lobby"]), room.connect()]
    for number in range(3):
        room.pubsub.publish("room", str(number))
    assert [[client.read_message() for _ in range(3)] for client in clients] == [["0", "1", "2"]] * 2
    found = scrape(site)
    assert found.pop("geventws_connections") == found_connections(now)
    assert found == {**figures("chat", published=6, sent=6, topics=2, subscriptions=3), **figures("prices")}
    for client in clients:
        client.leave()
    room.site.settle()
    del (ended := scrape(site))["geventws_connections"]
    assert ended == {**figures("chat", published=6, sent=6), **figures("prices")}


def found_connections(now: Connections) -> float:
    assert now.count == 2
    return now.count + now._before


def figures(name: str, **counts: float) -> dict[str, float]:
    """Return the lines of a PubSub: those of Stats, and 0 for what is not named."""
    results = {f'messages_total{{pubsub="{name}",result="{one}"}}': one for one in ("sent", "dropped", "abandoned")}
    others = {f'{one}{{pubsub="{name}"}}': one.removesuffix("_total")
              for one in ("published_total", "queued", "topics", "subscriptions")}  # fmt: skip
    return {f"geventws_pubsub_{line}": counts.get(one, 0.0) for line, one in {**results, **others}.items()}


def test_what_is_queued_dropped_and_abandoned_shows(room: Room) -> None:
    room.pubsub = PubSub(max_queue=3, max_queue_bytes=1 << 20)
    room.policy = "drop_newest"
    room.open()
    slow, registry = room.connect(receive_buffer=SMALL), register(chat=room.pubsub)
    while not room.pubsub.stats.dropped:
        room.pubsub.publish("room", message(0, 1 << 16))
        gevent.sleep(0)

    def read() -> list[float | None]:
        results = [{**CHAT, "result": result} for result in ("sent", "dropped", "abandoned")]
        counts = [registry.get_sample_value("geventws_pubsub_messages_total", labels) for labels in results]
        return [*counts, registry.get_sample_value("geventws_pubsub_queued", CHAT)]

    sent, *others = read()
    assert others == [1, 0, 3] and registry.get_sample_value("geventws_pubsub_published_total", CHAT) == sent + 4
    slow.reset()
    room.site.settle()
    assert read() == [sent, 1, 3, 0]


def test_the_bus_shows_as_well(room: Room, redis: RedisServer, serve: Any) -> None:
    room.pubsub, other = PubSub(redis.url), PubSub(redis.url)
    site = serve(make_wsgi_app(register(chat=room.pubsub, local=PubSub())))
    room.open()
    client = room.connect()
    room.wait_until(lambda: redis.ask("PUBSUB", "NUMSUB", "gws:t:room")[1] == 1)
    for number in range(3):
        other.publish("room", str(number))
    assert [client.read_message() for _ in range(3)] == ["0", "1", "2"]
    room.pubsub.publish("elsewhere", "nobody hears it")
    assert room.pubsub.flush()
    bus = {name: value for name, value in scrape(site).items() if name.startswith("geventws_bus_")}
    counters = ("published", "sent", "dropped", "received", "repeated", "skipped", "gaps", "reconnects")
    counts = {f"{name}_total": 0.0 for name in counters} | {"up": 1.0, "queued": 0.0}
    counts |= {"published_total": 1.0, "sent_total": 1.0, "received_total": 3.0}
    assert bus == {f'geventws_bus_{name}{{pubsub="chat"}}': value for name, value in counts.items()}
    redis.stop()
    room.wait_until(lambda: not room.pubsub.stats.bus.up)
    assert scrape(site)['geventws_bus_up{pubsub="chat"}'] == 0
    room.pubsub.close(0)
    other.close(0)


# In a registry


def test_metrics_keep_the_conventions() -> None:
    for family in Collector().describe():
        assert isinstance(family, Metric) and family.type in ("counter", "gauge")
        assert family.name.startswith("geventws_") and not family.name.endswith("_total") and not family.samples
    names = [family.name for family in Collector().describe()]
    assert len(names) == len(set(names)) == 16
    assert [family.name for family in Collector().collect()] == ["geventws_connections"]


def test_what_is_collected_was_described_and_explains_itself() -> None:
    described = {family.name: family.type for family in Collector().describe()}
    for family in Collector(chat=PubSub()).collect():
        assert described[family.name] == family.type and family.documentation and family.samples


def test_to_register_reads_nothing_and_a_registry_takes_one() -> None:
    nothing: Any = None  # which has no figures
    registry, collector = CollectorRegistry(), Collector(chat=nothing)
    registry.register(collector)
    with pytest.raises(ValueError, match="geventws_connections"):
        registry.register(Collector(prices=PubSub()))
    registry.unregister(collector)
    registry.register(Collector(prices=PubSub()))
    assert registry.get_sample_value("geventws_pubsub_topics", {"pubsub": "prices"}) == 0


def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text("raise ImportError('it is missing')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
    words = [sys.executable, "-c", "import geventws.metrics"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30)
    last = "ImportError: geventws.metrics needs prometheus_client: pip install 'geventws[metrics]' (it is missing)"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == last


@pytest.mark.timeout(120)
def test_the_lowest_prometheus_client_will_do(tmp_path: Path) -> None:
    lowest = install_lowest("prometheus-client", tmp_path)
    done = run_module(lowest, "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "not lowest", __file__)
    assert " passed" in done
