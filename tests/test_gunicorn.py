"""gunicorn with our worker: requests look and are logged as with gunicorn's own; settings hold, or are refused."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket
from gunicorn.config import Config
from kit import frames
from kit.clients import RawClient, handshake
from kit.programs.hosts import Host
from kit.programs.lowest import install_lowest, run_module

from geventws.gunicorn import Worker

OURS, THEIRS = "geventws.gunicorn.Worker", "gevent"
GUNICORN = [sys.executable, "-m", "gunicorn", "--graceful-timeout", "1", "kit.apps.worker", "--access-logfile", "-"]
SETTINGS = {
    "trusting": ["--bind", "127.0.0.1:0", "--workers", "2"],
    "distrusting": ["--bind", "127.0.0.1:0", "--forwarded-allow-ips", "10.0.0.0/8", "--header-map", "refuse"],
}
OWN = {"REMOTE_PORT", "SERVER_PORT", "SERVER_SOFTWARE", "GATEWAY_INTERFACE", "wsgi.early_hints"}


@pytest.fixture(scope="module")
def pairs() -> Iterator[dict[str, list[Host]]]:
    """Both workers, with each of the settings."""
    started = {
        name: [Host([*GUNICORN, *settings, "-k", worker]) for worker in (OURS, THEIRS)]
        for name, settings in SETTINGS.items()
    }
    for pair in started.values():
        for host in pair:
            host.listening()
    yield started
    for pair in started.values():
        for host in pair:
            host.terminate()
    assert {host.wait() for pair in started.values() for host in pair} == {0}


@pytest.fixture
def start() -> Iterator[Callable[..., Host]]:
    """Start our worker with settings of the test's own."""
    started: list[Host] = []

    def start(*settings: str) -> Host:
        started.append(Host([*GUNICORN, "-k", OURS, "--bind", "127.0.0.1:0", *settings]))
        return started[-1]

    yield start
    for host in started:
        host.terminate()
        host.wait()


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    with gevent.Timeout(30):
        yield


def ask(client: Any, target: str, *fields: str, body: str = "") -> tuple[str, str]:
    """Send a request with these fields; return the answer's status and body."""
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"GET {target} HTTP/1.1", "Host: a.example", "Connection: close", *fields, *length, "", body]
    client.send("\r\n".join(lines).encode())
    answer = client.read_head()
    return answer.status.split()[1], client.rest().decode()


def ask_both(pair: list[Host], target: str, *fields: str, **options: Any) -> list[tuple[str, Any]]:
    """Return what each of two servers makes of a request: the status, and where it is 200 the environ and the body."""
    results = []
    for host in pair:
        with RawClient(host.port) as client:
            status, text = ask(client, target, *fields, **options)
        if status == "200":
            environ, body = json.loads(text)
            results.append((status, [{key: environ[key] for key in environ if key not in OWN}, body]))
        else:
            results.append((status, None))
    return results


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/a%20b?c=%20d", []),
        ("/", ["X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.1"]),
        ("/", ["X-Forwarded-Ssl: off"]),
        ("/", ["X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"]),
        ("/", ["X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"]),
        ("/below/it", ["SCRIPT_NAME: /below"]),
        ("/below/it", ["Script-Name: /below"]),
        ("/", ["X_Forwarded_For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"]),
    ],
)
def test_a_request_is_the_same(pairs: Any, settings: str, target: str, fields: list[str]) -> None:
    ours, theirs = ask_both(pairs[settings], target, *fields)
    assert ours == theirs


def test_a_body_is_read(pairs: Any) -> None:
    ours, theirs = ask_both(pairs["trusting"], "/", body="the body")
    assert ours == theirs and ours[1][1] == "the body"


@pytest.mark.skipif("forwarder_headers" not in Config().settings, reason="gunicorn before 22.1 drops SCRIPT_NAME")
def test_a_path_that_is_not_below_the_proxys(pairs: Any) -> None:
    with RawClient(pairs["trusting"][0].port) as client:
        assert ask(client, "/it", "SCRIPT_NAME: /below")[0] == "400"


def test_a_script_name_of_the_environment(start: Any) -> None:
    host = start("--env", "SCRIPT_NAME=/below").listening()
    with RawClient(host.port) as client:
        environ = json.loads(ask(client, "/below/it")[1])[0]
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["RAW_URI"]) == ("/below", "/it", "/below/it")
    with RawClient(host.port) as client:
        assert ask(client, "/it")[0] == "400"


def test_a_multiprocess_server_is_one(pairs: Any) -> None:
    many, one = (ask_both(pairs[settings], "/")[0][1][0]["wsgi.multiprocess"] for settings in SETTINGS)
    assert (many, one) == (True, False)


def test_the_access_log_is_gunicorns(pairs: Any) -> None:
    lines = []
    for host in pairs["trusting"]:
        with RawClient(host.port) as client:
            ask(client, '/log?"', "User-Agent: it", 'Referer: /"there')
        lines.append(host.wait_for(r'^(127.0.0.1 - - \[).*(\] "GET /log\S+ HTTP/1.1" 200 )\d+( .*)$').groups())
    assert lines[0] == lines[1]


def test_a_websocket_is_logged_once(pairs: Any) -> None:
    host = pairs["trusting"][0]
    for path in ("/echo", "/callbacks", "/view"):
        with RawClient(host.port) as client:
            client.open(frames.text("?"), path)
            assert client.read_message() == "?"
            client.leave()
        host.wait_for(f'"GET {path} HTTP/1.1" 101 ')
        assert host.statuses(path) == ["101"]


def test_what_is_refused_is_logged(pairs: Any) -> None:
    host = pairs["trusting"][0]
    with RawClient(host.port) as client:
        assert ask(client, "/kept")[0] == "200"
    with RawClient(host.port) as client:
        assert ask(client, "/faulty", "Content-Length: many")[0] == "400"
    host.wait_for(r'^127.0.0.1 - - .* "GET /faulty HTTP/1.1" 400 ')
    host.wait_for(r"\[WARNING\] .*Invalid request .*'many'")


def test_what_the_application_raises_is_in_gunicorns_log(pairs: Any) -> None:
    host = pairs["trusting"][0]
    with RawClient(host.port) as client:
        assert ask(client, "/fail")[0] == "500"
    host.wait_for(r"\[ERROR\] Error handling request 'GET /fail HTTP/1.1'")
    host.wait_for(r"^LookupError: the application's own")
    host.wait_for(r'"GET /fail HTTP/1.1" 500 ')


def test_who_is_over_worker_connections_is_answered_503(start: Any) -> None:
    host = start("--worker-connections", "2").listening()
    first = [RawClient(host.port) for _ in range(2)]
    for client in first:
        client.open(path="/echo")
    with RawClient(host.port) as third:
        third.send(handshake("/echo"))
        assert third.read_head().status == "HTTP/1.1 503 Service Unavailable"
    first.pop().leave()
    with RawClient(host.port) as third:
        third.open(path="/echo")
    first.pop().close()


def test_a_connection_is_kept_as_long_as_gunicorn_says(start: Any) -> None:
    host = start("--keep-alive", "1").listening()
    with RawClient(host.port) as client:
        for _ in range(2):
            client.send(b"GET /process HTTP/1.1\r\nHost: a\r\n\r\n")
            client.read(int(client.read_head().get("content-length") or 0))
        assert client.rest() == b""


def test_requests_are_counted(start: Any) -> None:
    """A new worker follows each that has served two requests."""
    host = start("--max-requests", "2").listening()
    served = []
    for _ in range(5):
        with RawClient(host.port) as client:
            served.append(ask(client, "/process")[1])
    assert served[0] == served[1] != served[2] == served[3] != served[4]
    host.wait_for("Autorestarting worker after current request")


def test_a_unix_socket(tmp_path: Any) -> None:
    results = []
    for worker in (OURS, THEIRS):
        path = str(tmp_path / worker)
        host = Host([*GUNICORN, "-k", worker, "--bind", f"unix:{path}"])
        host.wait_for(f"Listening at: unix:{path}", 15)
        host.wait_for("Booting worker", 15)
        client = RawClient.__new__(RawClient)
        client.socket, client._data = socket.socket(socket.AF_UNIX), bytearray()
        client.socket.connect(path)
        status, text = ask(client, "/", "X-Forwarded-Proto: https")
        assert status == "200"
        results.append({key: value for key, value in json.loads(text)[0].items() if key not in OWN - {"SERVER_PORT"}})
        client.close()
        host.terminate()
        assert host.wait() == 0
    assert results[0] == results[1] and results[0]["wsgi.url_scheme"] == "https"


def test_gunicorn_does_not_start_with_what_it_does_not_speak(start: Any) -> None:
    host = start("--proxy-protocol")
    host.wait_for("Error: geventws.gunicorn.Worker does not speak the PROXY protocol", 15)
    assert host.wait() == 1


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [("protocol", "uwsgi", "speaks HTTP only"), ("http_protocols", "h2,h1", "speaks HTTP/1.1 only")],
)
def test_what_it_does_not_speak_is_refused(setting: str, value: str, why: str) -> None:
    cfg = Config()
    if setting in cfg.settings:  # of this gunicorn
        cfg.set(setting, value)
        with pytest.raises(RuntimeError, match=why):
            Worker.check_config(cfg, None)


def test_hooks_that_it_does_not_call_are_named(start: Any, tmp_path: Any) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text("def pre_request(worker, request):\n    pass\n")
    host = start("--config", str(config)).listening()
    host.wait_for(r"\[WARNING\] .*calls neither pre_request nor post_request")


@pytest.mark.parametrize(("timeout", "pause"), [(0, 1.0), (1, 0.5), (30, 1.0)])
def test_a_sign_of_life_comes_in_time(timeout: int, pause: float) -> None:
    worker = Worker(1, 0, [], None, timeout / 2, Config(), None)  # as gunicorn makes it
    assert worker.pause == pause
    worker.tmp.close()


@pytest.mark.timeout(120)
def test_it_works_on_the_lowest_gunicorn(tmp_path: Any) -> None:
    """Requests, and the ends of workers."""
    lowest = install_lowest("gunicorn", tmp_path)
    names = "a_few_are_told or requests_are_counted"
    files = ["tests/test_gunicorn.py", "tests/system/test_drain.py"]
    done = run_module(lowest, "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", names, *files)
    assert re.search("4 passed", done)
    assert run_module(lowest, "gunicorn", "--version") != run_module(dict(os.environ), "gunicorn", "--version")


def test_the_package_does_not_import_gunicorn() -> None:
    code = "import sys, geventws, geventws.cli.main; print('gunicorn' in sys.modules)"
    host = Host([sys.executable, "-c", code])
    assert re.search("False", host.wait_for("True|False", 15)[0])
    assert host.wait() == 0
