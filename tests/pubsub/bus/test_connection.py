"""Connections: every kind of URL, what is refused, and that nothing but this greenlet waits, patched or not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.server import StreamServer
from kit.servers.ports import free_port
from kit.servers.redis import RedisServer
from redis.exceptions import AuthenticationError, BusyLoadingError

from geventws.pubsub.bus.connection import Address, NotTheMaster, UnsupportedServer


def ask(url: str, *words: str) -> Any:
    """Return the answer to a command over a connection to this URL."""
    connection = Address(url).connect()
    try:
        connection.send_command(*words)
        return connection.read_response()
    finally:
        connection.disconnect()


@pytest.fixture
def start() -> Iterator[Any]:
    """Start a Redis with settings of the test's own."""
    started: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        started.append(RedisServer(*options))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_over_tcp(serve: Any, redis: RedisServer, scheme: str) -> None:
    assert ask(f"{scheme}://localhost:{redis.port}/3", "CLIENT", "INFO").count(b" db=3 ") == 1


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_over_tls(serve: Any, start: Any, certificate: dict[str, str], scheme: str) -> None:
    paths = ["--tls-cert-file", certificate["certfile"], "--tls-key-file", certificate["keyfile"],
             "--tls-ca-cert-file", certificate["ca_certs"], "--tls-auth-clients", "no"]  # fmt: skip
    port = free_port()
    start(*paths, "--tls-port", str(port))
    url = f"{scheme}://127.0.0.1:{port}/0?ssl_ca_certs={certificate['ca_certs']}"
    assert ask(url, "ECHO", "hello") == b"hello"
    assert ask(f"{scheme}://127.0.0.1:{port}?ssl_cert_reqs=none", "ECHO", "hello") == b"hello"
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        ask(f"{scheme}://127.0.0.1:{port}", "PING")
    with pytest.raises(Exception, match="not valid for '127.1'"):  # the same address by another name
        ask(f"{scheme}://127.1:{port}/0?ssl_ca_certs={certificate['ca_certs']}", "PING")


def test_over_a_unix_socket(serve: Any, start: Any, tmp_path: Path) -> None:
    start("--unixsocket", str(tmp_path / "redis.sock"))
    assert ask(f"unix://{tmp_path}/redis.sock?db=1", "ECHO", "hello") == b"hello"


def test_with_a_password(serve: Any, start: Any) -> None:
    server = start()
    server.ask("ACL", "SETUSER", "ana", "on", ">se:cret", "+@all", "~*", "&*")
    assert ask(f"redis://ana:se%3Acret@127.0.0.1:{server.port}", "ACL", "WHOAMI") == b"ana"
    with pytest.raises(AuthenticationError):
        ask(f"redis://ana:wrong@127.0.0.1:{server.port}", "PING")


def test_the_password_is_not_shown() -> None:
    assert Address("redis://ana:secret@example.org:1/2?db=3").text == "redis://example.org:1/2"
    assert Address("unix:///run/redis.sock").text == "unix:///run/redis.sock"
    with pytest.raises(ValueError, match="not a text without ://") as found:
        Address("redis:ana:secret@example.org")
    assert "secret" not in str(found.value)


@pytest.mark.parametrize(("url", "told"), [
    ("http://127.0.0.1", "begins with redis://, rediss://, unix://, valkey://, valkeys://, not 'http'"),
    ("redis+sentinel://127.0.0.1", "Redis Cluster and Sentinel are not supported"),
    ("redis-cluster://127.0.0.1", "Redis Cluster and Sentinel are not supported"),
    ("127.0.0.1:6379", "the URL of a bus begins with redis://"),
    ("", "without a bus, in one process, the URL is None"),
    ("redis://127.0.0.1?no_such=option", "does not know this URL's options"),
    ("redis://127.0.0.1?db=x", "Invalid value for"),
])  # fmt: skip
def test_what_is_no_bus_is_refused_at_once(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("+", r"\+")):
        Address(url)


def test_options_of_a_pool_and_of_time_mean_nothing() -> None:
    Address("redis://127.0.0.1?socket_timeout=3&max_connections=7&health_check_interval=2&protocol=3&timeout=1")


def test_a_cluster_is_refused(serve: Any, start: Any, tmp_path: Path) -> None:
    bus_port = str(free_port())  # by default 10,000 above the other, which anybody may have
    server = start("--cluster-enabled", "yes", "--cluster-port", bus_port, "--dir", str(tmp_path), "--databases", "1")
    with pytest.raises(UnsupportedServer, match="is a Redis Cluster, which is not supported"):
        Address(f"redis://127.0.0.1:{server.port}").connect()


def test_a_sentinel_is_refused(serve: Any, start: Any, tmp_path: Path) -> None:
    path = tmp_path / "sentinel.conf"
    path.write_text("")
    server = RedisServer()
    server.use_configuration(path, "--sentinel")
    try:
        server.start()
        with pytest.raises(UnsupportedServer, match="is a Redis Sentinel, which is not supported"):
            Address(f"redis://127.0.0.1:{server.port}").connect()
    finally:
        server.stop()


def test_a_replica_is_no_master(serve: Any, redis: RedisServer) -> None:
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(NotTheMaster):
        Address(redis.url).connect()


def test_one_that_may_not_be_asked_is_taken_at_its_word(serve: Any, redis: RedisServer) -> None:
    redis.ask("ACL", "SETUSER", "default", "-hello")
    assert ask(redis.url, "ECHO", "hello") == b"hello"


def test_one_that_is_loading_is_not_there_yet(serve: Any) -> None:
    """The first answers are what a Redis says that reads its data."""

    def load(socket: Any, _address: Any) -> None:
        while socket.recv(4096):
            socket.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")

    server = StreamServer(("127.0.0.1", 0), load)
    server.start()
    try:
        with pytest.raises(BusyLoadingError):
            Address(f"redis://127.0.0.1:{server.server_port}").connect()
    finally:
        server.stop()


UNPATCHED = """
import sys, gevent, threading
from geventws.pubsub.bus.connection import Address

assert threading.get_ident is __import__("_thread").get_ident
redis_url, silent_url = sys.argv[1:]
assert Address(redis_url).connect().socket is not None

turns = 0
def count():
    global turns
    while True:
        turns += 1
        gevent.sleep(0)

gevent.spawn(count)
before = turns
try:
    with gevent.Timeout(0.3):
        Address(silent_url).connect()
except gevent.Timeout:
    print("turns" if turns - before > 100 else "blocked")
"""


def test_only_the_greenlet_waits_without_monkey_patching(redis: RedisServer) -> None:
    with gevent.socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        done = subprocess.run([sys.executable, "-c", UNPATCHED, redis.url, url], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("turns\n", "")
