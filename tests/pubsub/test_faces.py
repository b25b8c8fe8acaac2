"""Rooms behind every face: handlers, callbacks, views, Flask's routes, and the names of other systems."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kit.sites.faces import FACES, Members, visit

from geventws import PubSub, WebSocketMiddleware, broadcast
from geventws.compat import cyclone, pulsar

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("face", FACES)
def test_members_of_each_face_come_hear_and_go(serve: Any, face: str) -> None:
    members = Members()
    application, options = FACES[face](members)
    visit(members.pubsub, serve(application, **options).connect)


def test_they_do_in_a_patched_process() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    command = [sys.executable, "-m", "kit.apps.patched_rooms"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(FACES)


def test_a_view_is_as_good_as_its_connection(serve: Any) -> None:
    pubsub, found = PubSub(), []

    def application(environ: Any, start_response: Any) -> Any:
        ws = environ["wsgi.websocket"]
        assert pubsub.topics(ws) == [] and not pubsub.unsubscribe(ws, "room")
        pubsub.subscribe(ws, "room")
        found.extend([pubsub.topics(ws), pubsub.subscribers("room") == [ws.accept()]])
        found.append(pubsub.publish("room", "for nobody", exclude=ws))
        found.append(broadcast([ws, ws.accept()], "once"))
        ws.receive()
        return []

    client = serve(WebSocketMiddleware(application)).connect()
    assert client.read_message() == "once"
    assert found == [["room"], True, 0, 1]
    client.leave()


@pytest.mark.parametrize("other", [None, "ws", cyclone.WebSocketHandler, pulsar.WebSocketProtocol])
def test_what_is_no_connection_is_told(other: Any) -> None:
    pubsub = PubSub()
    calls = [
        lambda: pubsub.subscribe(other, "room"),
        lambda: pubsub.unsubscribe(other, "room"),
        lambda: pubsub.topics(other),
        lambda: broadcast([other], "message"),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=f"a connection is a WebSocket, not {type(other).__name__}"):
            call()
