"""A Flask developer's first hour: a chat with rooms over four workers, a test of it, and mistakes.

    python tools/newcomer/flask_developer.py dist

dist/ has what `make wheel` builds. Needs redis-server.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from steps import Environment, Journal, Wrong, find

APP = '''\
import os

from flask import Flask
from geventws import PubSub
from geventws.flask import Sock

app = Flask(__name__)
sock = Sock(app)
pubsub = PubSub(os.environ.get("REDIS_URL"))

@sock.route("/rooms/<name>")
def room(ws, name):
    pubsub.subscribe(ws, name)
    ws.send(f"worker {os.getpid()}")
    for message in ws:
        pubsub.publish(name, message)
'''
TEST = '''\
from app import app
from geventws.testing import connect

def test_a_room_hears_its_members_and_no_other():
    with connect(app, "/rooms/a") as ann, connect(app, "/rooms/a") as bob, connect(app, "/rooms/b") as eve:
        for ws in (ann, bob, eve):
            assert ws.wait(timeout=5).startswith("worker ")
        ann.send("hello")
        assert ann.wait(timeout=5) == bob.wait(timeout=5) == "hello"
        eve.send("only me")
        assert eve.wait(timeout=5) == "only me"
'''
TALK = '''\
import contextlib, sys, geventws

port, count = map(int, sys.argv[1:])
with contextlib.ExitStack() as stack:
    url = f"ws://127.0.0.1:{port}/rooms/"
    members = [stack.enter_context(geventws.connect(url + room)) for _ in range(count) for room in "ab"]
    workers = {ws.wait(timeout=10) for ws in members}
    ours, others = members[::2], members[1::2]
    ours[0].send("to a")
    assert [ws.wait(timeout=10) for ws in ours] == ["to a"] * count
    others[0].send("to b")
    assert [ws.wait(timeout=10) for ws in others] == ["to b"] * count
print(f"{len(members)} clients in 2 rooms, on {len(workers)} worker(s): each heard its own room, and no other")
'''
MISSPELT = "from geventws import WebSocketWSGI\nWebSocketWSGI(print, ping_intervall=20)\n"
KNOCK = '''\
import sys, geventws
try:
    geventws.connect(f"ws://127.0.0.1:{sys.argv[1]}/rooms/a")
except geventws.InvalidStatus as error:
    print(error)
'''


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Run a Redis server, and yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def write(environment: Environment) -> None:
    """Write the files that the developer writes."""
    for name, text in {"app.py": APP, "test_app.py": TEST, "talk.py": TALK, "knock.py": KNOCK}.items():
        (environment.work / name).write_text(text)


def run_servers(journal: Journal, environment: Environment) -> None:
    """Run the application in each way that the page on Flask names."""
    bind = "127.0.0.1:0"
    gunicorn = ["gunicorn", "-k", "geventws.gunicorn.Worker", "--bind", bind, "app:app"]
    for words in (["flask", "run", "--port", "0"], ["geventws", "serve", "app:app", "--bind", bind], gunicorn):
        with journal.step(f"{' '.join(words)}, one process") as seen, environment.serving(*words) as (port, said):
            seen.append(environment.python("talk.py", str(port), "2"))
            quiet(said)
    words = [*gunicorn, "--workers", "4"]
    with journal.step(f"{' '.join(words)}, over Redis") as seen, redis() as url:
        with environment.serving(*words, REDIS_URL=url) as (port, said):
            seen.append(environment.python("talk.py", str(port), "20"))
            if " on 1 worker" in seen[-1]:
                raise Wrong("one worker has served all")
            quiet(said)


def quiet(said: Path) -> None:
    """Raise Wrong where a server has said more than a newcomer should read."""
    text = said.read_text()
    if "Traceback" in text or "ERROR" in text:
        raise Wrong(text[-3000:])


def make_mistakes(journal: Journal, environment: Environment) -> None:
    """Do what newcomers do, and print what they are told."""
    with journal.step("a misspelt option") as seen:
        try:
            environment.python("-c", MISSPELT)
        except Wrong as error:
            seen.append(str(error).splitlines()[-1])
        if not seen or "ping_interval" not in seen[0]:
            raise Wrong("it was not told which option was meant")
    for worker in ("sync", "gthread"):
        words = ["gunicorn", "-k", worker, "--bind", "127.0.0.1:0", "app:app"]
        with journal.step(f"{' '.join(words)}, which cannot serve it") as seen:
            with environment.serving(*words) as (port, said):
                seen.append(environment.python("knock.py", str(port)))
            told = [line for line in said.read_text().splitlines() if "-k geventws.gunicorn.Worker" in line]
            seen += told
            if len(told) != 1:
                raise Wrong(said.read_text()[-3000:])


def main(dist: str) -> None:
    """Take all steps."""
    journal = Journal("A Flask developer")
    with tempfile.TemporaryDirectory() as folder:
        with journal.step("an empty environment: pip install 'geventws[flask,gunicorn,redis,testing]'") as seen:
            environment = Environment(Path(folder) / "venv")
            wheel = find(dist, "*-manylinux*.whl")
            environment.pip(f"geventws[flask,gunicorn,redis,testing] @ {wheel.as_uri()}")
            seen.append(environment.run("geventws", "--version"))
        write(environment)
        with journal.step("pytest, with geventws.testing") as seen:
            seen.append(environment.python("-m", "pytest", "-q", "-p", "no:cacheprovider").splitlines()[-1])
        run_servers(journal, environment)
        make_mistakes(journal, environment)
    journal.end()


if __name__ == "__main__":
    main(sys.argv[1])
