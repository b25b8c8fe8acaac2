"""The watchdog tells what holds the loop up, once each time, and nothing else; --patch has blocking code cooperate."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from kit.programs.command import COMMAND, environment
from kit.programs.hosts import Host
from kit.servers.ports import free_port

from geventws import connect
from geventws.cli import watchdog
from geventws.cli.watchdog import Watchdog

APPLICATION = """
import socket, time
from geventws import WebSocketWSGI

def query_for_long():
    time.sleep(1.5)

@WebSocketWSGI
def application(ws):
    ws.send(socket.socket.__module__)
    for message in ws:
        query_for_long()
        ws.send(message)
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "MOST", 0.05)
    monkeypatch.setattr(watchdog, "LOOK", 0.01)


def hold_up(log) -> None:
    """Hold the loop up until that is told, and then for a while longer."""
    while not log():
        time.sleep(0.01)
    time.sleep(0.2)


def test_what_holds_the_loop_up_is_told_once(quick, log) -> None:
    with Watchdog():
        hold_up(log)
        (record,) = log()
    assert "in hold_up" in record.getMessage() and "every connection" in record.getMessage()


def test_nothing_is_told_afterwards(quick, log) -> None:
    with Watchdog():
        pass
    time.sleep(0.2)
    assert log() == []


@pytest.mark.parametrize(("options", "module"), [((), "socket"), (("--patch",), "gevent._socket3")])
def test_serve_tells_unless_it_is_patched(tmp_path: Path, options: tuple[str, ...], module: str) -> None:
    (tmp_path / "slow_app.py").write_text(APPLICATION)
    port = free_port()
    command = [*COMMAND, "serve", "slow_app", "--bind", f"127.0.0.1:{port}", *options]
    path = environment()["PYTHONPATH"]
    host = Host(command, more={"PYTHONPATH": f"{tmp_path}:{path}"})
    host.wait_for("serving slow_app", 15.0)
    with connect(f"ws://127.0.0.1:{port}/") as ws:
        assert ws.wait(timeout=5) == module
        ws.send("hello")
        assert ws.wait(timeout=5) == "hello"
    host.terminate()
    host.wait()
    told = [line for line in host.lines if "held up" in line or "in query_for_long" in line]
    assert len(told) == (0 if options else 2), host.lines
