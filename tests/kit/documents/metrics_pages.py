"""How the blocks of the page on metrics are run."""

from __future__ import annotations

import contextlib
import pathlib
import re
import time
import urllib.request

from kit.documents.blocks import GUNICORN, START, Block, read_blocks, running
from kit.documents.talks import ANSWER, Place
from kit.servers.ports import free_port

SUBSCRIPTIONS = 'geventws_pubsub_subscriptions{pubsub="chat"}'


def scrape(port: int) -> dict[str, str]:
    """Return the numbers that Prometheus would read."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=ANSWER) as answer:
        lines = answer.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines)


def is_measured(place: Place) -> None:
    with place.connect("/chat") as client:
        for _ in range(2):
            client.send("hello")
            assert client.recv(timeout=ANSWER) == "hello"
        found = scrape(place.port)
    assert found["geventws_connections"] == found[SUBSCRIPTIONS] == "1.0"
    assert found['geventws_pubsub_messages_total{pubsub="chat",result="sent"}'] == "2.0"


def workers(block: Block) -> None:
    """Serve the page's application with the block and two workers, and add up what they tell."""
    first, port = free_port(), free_port()
    text = block.text.replace("range(9100, 9108)", f"range({first}, {first + 8})")
    assert text != block.text
    pathlib.Path("gunicorn.conf.py").write_text(text)
    pathlib.Path("package").mkdir()
    (application,) = [other.text for other in read_blocks(block.page) if "def chat(" in other.text]
    served, _, _ = application.rpartition("\n")  # without the line that serves it
    pathlib.Path("package/module.py").write_text(served + '\nprint("loaded", flush=True)\n')
    command = [*GUNICORN, f"127.0.0.1:{port}", "-k", "geventws.gunicorn.Worker", "--workers", "2"]
    with running([*command, "package.module:application"], port, 2) as place, contextlib.ExitStack() as clients:
        for _ in range(8):
            client = clients.enter_context(place.connect())
            client.send("hello")
            assert client.recv(timeout=ANSWER) == "hello"
        found = [scrape(port) for port in find_ports(place, 2)]
    assert sum(float(one["geventws_connections"]) for one in found) == 8
    assert [one["geventws_connections"] for one in found] == [one.get(SUBSCRIPTIONS) for one in found]


def find_ports(place: Place, count: int) -> list[int]:
    """Block until so many workers have told their port for metrics."""
    deadline = time.monotonic() + START
    while True:
        ports = [int(port) for port in re.findall(r"metrics on port (\d+)", "\n".join(place.host.lines))]
        if len(ports) == count:
            return ports
        assert time.monotonic() < deadline, place.host.lines
        time.sleep(0.02)
