"""Programs as users of the other systems write them, of which only the imports were changed, over real sockets."""

from __future__ import annotations

import json
import os
import runpy

import pytest
from gevent.pywsgi import WSGIServer
from kit.frames import PING, PONG, Frame, frame, text

from geventws.compat.geventwebsocket import WebSocketServer as ChatServer
from geventws.server.server import WebSocketServer

PROGRAMS = os.path.join(os.path.dirname(__file__), "programs")

on_both = pytest.mark.parametrize("server_class", [WSGIServer, WebSocketServer])


def load(name):
    """Run a program as an import would, and return its names."""
    return runpy.run_path(os.path.join(PROGRAMS, name + ".py"))


def get(site, path):
    """Return status and body of a page."""
    client = site.dial()
    client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    return client.read_head().status, client.rest()


def say(client, *message):
    client.send(text(json.dumps(message if len(message) > 1 else message[0])))


def hear(client):
    return json.loads(client.read_message())


@on_both
def test_game_of_eventlet(serve, server_class):
    game = load("eventlet_game")
    site = serve(game["dispatch"], server_class=server_class)
    status, page = get(site, "/")
    assert status == "HTTP/1.1 200 OK" and b"<canvas></canvas>" in page
    first, second = site.connect("/game"), site.connect("/game")
    say(first, "join", None)
    assert hear(first) == ["you", 1]
    say(second, "join", None)
    start = {"x": 100, "y": 100, "angle": 0, "speed": 0}
    assert hear(second) in (["ship", {"id": 1, **start}], ["you", 2])
    for client, number in ((first, 1), (first, 2)):
        assert hear(client) == ["ship", {"id": number, **start}]
    say(first, "key", "up")
    assert hear(first) == ["ship", {"id": 1, **start, "speed": 1}]
    second.reset()
    assert hear(first) == ["gone", 2]
    say(first, "leave", None)
    first.expect_close(None)
    site.settle()
    assert not game["players"] and not game["ships"]


@pytest.fixture(scope="module")
def chat():
    """The chat, loaded before a test counts descriptors: Werkzeug's debugger takes some for good."""
    return load("geventwebsocket_chat")


def test_chat_of_gevent_websocket(chat, serve):
    site = serve(chat["resource"], server_class=ChatServer)
    assert get(site, "/") == ("HTTP/1.1 200 OK", b"<h1>chat</h1>")
    ann, bob = site.connect("/chat"), site.connect("/chat")
    say(ann, {"kind": "name", "name": "ann"})
    assert hear(ann) == hear(bob) == {"kind": "members", "names": ["ann"]}
    say(bob, {"kind": "name", "name": "bob"})
    assert hear(ann) == hear(bob) == {"kind": "members", "names": ["ann", "bob"]}
    say(bob, {"kind": "text", "text": "hi"})
    assert hear(ann) == hear(bob) == {"kind": "text", "from": "bob", "text": "hi"}
    bob.leave()
    assert hear(ann) == {"kind": "members", "names": ["ann"]}
    ann.leave()
    site.settle()
    assert site.server.clients == {}


@on_both
def test_site_of_wsocket(serve, server_class, log):
    site = serve(load("wsocket_site")["create_app"]("hello"), server_class=server_class)
    assert get(site, "/site/") == ("HTTP/1.1 200 OK", b"hello")
    assert get(site, "/site/ask/ann")[0] == "HTTP/1.1 400 Bad Request"
    client = site.connect("/site/ask/ann", text("why"))
    assert client.read_message() == "hello, ann: you asked 'why'"
    client.leave()
    site.settle()
    assert not [record for record in log() if record.exc_info]


@on_both
def test_feed_of_cyclone(serve, server_class):
    names = load("cyclone_feed")
    site = serve(names["Application"](), server_class=server_class)
    feed, control = site.connect("/state"), site.connect("/control/kitchen")
    assert hear(feed) == {"song": None, "position": 0}
    control.send(text("Blue"))
    assert control.read_message() == "kitchen plays Blue"
    assert hear(feed) == {"song": "Blue", "position": 0}
    control.reset()
    feed.leave()
    site.settle()
    assert not names["Control"].everybody


@on_both
def test_graph_of_pulsar(serve, server_class):
    names = load("pulsar_graph")
    site = serve(names["outer"], server_class=server_class)
    assert names["site"].made == 0
    assert get(site, "/") == ("HTTP/1.1 200 OK", b"outer")
    assert get(site, "/graph/") == ("HTTP/1.1 200 OK", b"graph")
    graph = site.connect("/graph/data")
    assert len(hear(graph)) == 100
    graph.send(text("more"))
    assert [x for x, _ in hear(graph)] == list(range(100))
    graph.leave()
    commands = site.connect("/graph/commands", text("ping now") + text("echo"))
    assert commands.read_frame() == Frame(PING, b"now")
    commands.send(frame(PONG, b"now"))
    assert commands.read_message() == "echo"
    commands.send(text("close 1001"))
    commands.expect_close(1001, None)
    assert names["site"].made == 1
