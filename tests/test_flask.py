"""geventws.flask: routes after Flask-Sock's conventions, on every server, with Flask's own things in place."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Blueprint, Flask
from kit import frames
from kit.apps.flask_site import app, raised
from kit.programs.hosts import Host

from geventws import ConnectionClosed, InvalidStatus, WebSocketServer, connect
from geventws.flask import Sock

NAME = "kit.apps.flask_site:app"
GUNICORN = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--graceful-timeout", "1", NAME, "-k"]
SERVERS = {
    "gunicorn -k gevent": ([*GUNICORN, "gevent"], r"Listening at: http://127\.0\.0\.1:(\d+)"),
    "gunicorn, our worker": ([*GUNICORN, "geventws.gunicorn.Worker"], r"Listening at: http://127\.0\.0\.1:(\d+)"),
    "geventws serve": (
        [sys.executable, "-m", "geventws", "serve", NAME, "--bind", "127.0.0.1:0"],
        r"http://127\.0\.0\.1:(\d+)",
    ),
    "flask run": ([sys.executable, "-m", "flask", "--app", NAME, "run", "--port", "0"], r"http://127\.0\.0\.1:(\d+)"),
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Host, int]]:
    command, pattern = SERVERS[request.param]
    host = Host(command)
    yield host, int(host.wait_for(pattern, 15.0)[1])
    host.terminate()
    host.wait()


def test_a_route_serves_on(server: tuple[Host, int]) -> None:
    host, port = server
    for _ in range(2):
        with connect(f"ws://127.0.0.1:{port}/echo") as ws:
            ws.send("hello")
            ws.send(b"bytes")
            assert [ws.wait(), ws.wait()] == ["hello", b"bytes"]
        with connect(f"ws://127.0.0.1:{port}/rooms/plus/3") as ws:
            ws.send("4")
            assert ws.wait() == "7"
    with connect(f"ws://127.0.0.1:{port}/fail") as ws:
        assert ws.wait() is None
        assert ws.close_code == 1011
    host.wait_for("LookupError: a fault of the route")
    host.terminate()
    host.wait()
    text = "\n".join(host.lines)
    assert text.count("Traceback") == 1 and "read of closed file" not in text


def test_threads_and_routes_send_to_any_connection_on(server: tuple[Host, int]) -> None:
    host, port = server
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(f"ws://127.0.0.1:{port}/all")) for _ in range(3)]
        for ws in clients:
            ws.send("in")
            assert ws.wait(5) == "in"
        for number, ws in enumerate(clients):
            ws.send(str(number))
        for ws in clients:
            said: list[str] = []
            while len(said) < 3:
                message = ws.wait(5)
                said += [message] if message != "in" else []
            assert sorted(said) == ["0", "1", "2"]
    with connect(f"ws://127.0.0.1:{port}/clock") as ws:
        assert (list(ws), ws.close_code, ws.close_reason) == (["0", "1", "2"], 4000, "time is up")
    assert "Traceback" not in "\n".join(host.lines)


PATCHED = "from gevent import monkey; monkey.patch_all(); from kit.apps.flask_site import app"


def test_flask_run_serves_on_where_the_program_is_monkey_patched(tmp_path: Path) -> None:
    (tmp_path / "patched.py").write_text(PATCHED)
    words = [sys.executable, "-m", "flask", "--app", str(tmp_path / "patched.py"), "run", "--port", "0"]
    host = Host(words)
    port = int(host.wait_for(r"http://127\.0\.0\.1:(\d+)", 15.0)[1])
    for number in range(3):
        with connect(f"ws://127.0.0.1:{port}/echo") as ws:
            ws.send(str(number))
            assert ws.wait() == str(number)
    host.terminate()
    host.wait()
    assert "Traceback" not in "\n".join(host.lines)


def test_frames_that_follow_the_handshake_at_once_are_not_lost(serve) -> None:
    client = serve(app).dial()
    client.open(frames.text("early"), "/echo")
    client.expect(b"\x81\x05early")
    client.leave()


@pytest.fixture
def site(serve):
    return serve(app, server_class=WebSocketServer)


def open_page(site, path: str) -> str:
    """Open a page, and return the session's cookie."""
    client = site.dial()
    client.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    cookies = [value for name, value in client.read_head().headers if name == "Set-Cookie"]
    assert len(cookies) == 1
    return cookies[0].partition(";")[0]


def test_hooks_login_and_session_are_there(site) -> None:
    cookie = open_page(site, "/login/ann")
    with connect(f"ws://127.0.0.1:{site.port}/who", headers={"Cookie": cookie}) as ws:
        assert ws.wait() == "ann 2 /who before"
        headers = dict(ws.response_headers)
    assert headers["X-After"] == "1"
    assert headers["Set-Cookie"].startswith("session=")
    assert "Content-Type" not in headers and "Content-Length" not in headers


def test_a_session_that_is_changed_too_late_is_told(site, log) -> None:
    cookie = open_page(site, "/login/ann")
    for path, told in (("/who", []), ("/forget", ["127.0.0.1 /forget: the session was changed"])):
        with connect(f"ws://127.0.0.1:{site.port}{path}", headers={"Cookie": cookie}) as ws:
            list(ws)
        site.settle()
        assert [record.getMessage().partition(" after")[0] for record in log()] == told


def test_receive_returns_none_when_the_time_is_up(site) -> None:
    with connect(f"ws://127.0.0.1:{site.port}/patient") as ws:
        assert ws.wait() == "None"


def test_an_error_of_a_route_is_told_to_flask(site, log) -> None:
    raised.clear()
    with connect(f"ws://127.0.0.1:{site.port}/fail") as ws:
        assert ws.wait() is None
    assert [type(error) for error in raised] == [LookupError]
    assert [record.levelname for record in log()] == ["ERROR"]


@pytest.mark.parametrize("path", ["/echo", "/pour", "/rooms/plus/1"])
def test_a_client_that_leaves_is_no_error(site, log, path: str) -> None:
    raised.clear()
    client = site.connect(path)
    client.reset()
    site.settle()
    assert log() == [] and raised == [] and site.errors == []


def test_options_stand_in_the_configuration(serve) -> None:
    other = Flask("other")
    other.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": ["chat"], "max_message_size": 5}
    sock = Sock(other)

    @sock.route("/")
    def echo(ws):
        ws.send(ws.receive())

    site = serve(other)
    with connect(f"ws://127.0.0.1:{site.port}/", subprotocols=["chat"]) as ws:
        assert ws.protocol == "chat"
        ws.send("too long")
        assert ws.wait() is None
        assert ws.close_code == 1009


def test_what_is_wrong_is_told_before_anybody_connects() -> None:
    other = Flask("other")
    other.config["SOCK_SERVER_OPTIONS"] = {"ping_intervall": 5}
    with pytest.raises(TypeError, match=r"no option 'ping_intervall'; did you mean ping_interval\?"):
        Sock(other)
    with pytest.raises(TypeError, match=r'a route has a path: @sock.route\("/path"\)'):
        Sock().route(lambda ws: None)  # type: ignore[arg-type]


def test_a_page_is_no_websocket(site) -> None:
    client = site.dial()
    client.send(b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert client.read_head().status.startswith("HTTP/1.1 400 ")
    assert b"This path is a WebSocket, and the request asks for none" in client.rest()
    for path, status, told in (("nowhere", 404, b"not found"), ("login/ann", 400, b"and this path is none")):
        with pytest.raises(InvalidStatus) as caught:
            connect(f"ws://127.0.0.1:{site.port}/{path}")
        assert caught.value.status == status and told in caught.value.body


def test_a_server_without_sockets_is_told_how_to_run(log) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    answer = app.test_client().get("/echo", headers=headers)
    assert answer.status_code == 501
    assert "geventws serve module:app" in answer.text
    assert ["geventws serve module:app" in record.getMessage() for record in log()] == [True]


def test_routes_before_and_after_the_application() -> None:
    sock, bp, later = Sock(), Blueprint("bp", __name__), Flask("later", static_folder=None)
    names = {}
    for path, options in {"/early": {}, "/in": {"bp": bp}}.items():
        names[path] = sock.route(path, **options)(lambda ws: None)
    later.register_blueprint(bp, url_prefix="/bp")
    sock.init_app(later)
    sock.route("/late", endpoint="late")(lambda ws: None)
    rules = {rule.rule: rule.websocket for rule in later.url_map.iter_rules()}
    assert rules == {"/early": True, "/bp/in": True, "/late": True}
    assert callable(names["/early"])


def test_flask_socks_own_tests_pass(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    subprocess.run([*words, "-d", str(tmp_path), "flask-sock==0.7.0"], check=True, timeout=100, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        member = next(one for one in archive.getmembers() if re.search(r"tests/test_\w+\.py$", one.name))
        extracted = archive.extractfile(member)
        assert extracted is not None
        text = extracted.read().decode()
    assert text.count("import flask_sock") == 1
    (tmp_path / "test_theirs.py").write_text(text.replace("import flask_sock", "import geventws.flask as flask_sock"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_theirs.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout


def test_the_end_is_an_error_for_receive(serve) -> None:
    told = []
    ends = Flask("ends")

    @Sock(ends).route("/")
    def route(ws):
        try:
            ws.receive()
        except ConnectionClosed as error:
            told.append((error.code, error.reason))
            raise

    site = serve(ends)
    with connect(f"ws://127.0.0.1:{site.port}/") as ws:
        ws.close(4001, "done")
    site.settle()
    assert told == [(4001, "done")]
