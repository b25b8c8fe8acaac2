"""A room behind each face: how its connections come to a PubSub, and two of them that come, hear, and go.

What a connection sends is published; at "leave" it leaves the room, and stays connected.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import flask
import gevent
from kit import frames
from kit.clients import RawClient

from geventws import PubSub, WebSocketApplication, WebSocketMiddleware, WebSocketServer, WebSocketWSGI
from geventws.compat import cyclone, eventlet, pulsar, pulsar04, wsocket
from geventws.compat.geventwebsocket import Resource
from geventws.compat.geventwebsocket import WebSocketApplication as ChatApplication
from geventws.compat.geventwebsocket.handler import WebSocketHandler
from geventws.flask import Sock

Face = Callable[["Members"], "tuple[Any, dict[str, Any]]"]


class Members:
    """What every face does with a connection; `member` is what `subscribe` is given."""

    def __init__(self) -> None:
        self.pubsub = PubSub()

    def join(self, member: Any) -> None:
        self.pubsub.subscribe(member, "room")

    def hear(self, member: Any, message: Any) -> None:
        if message == "leave":
            assert self.pubsub.unsubscribe(member, "room")
        elif message is not None:
            self.pubsub.publish("room", message)

    def serve(self, member: Any, receive: Callable[[], Any]) -> None:
        """Do both, until there is no further message."""
        self.join(member)
        for message in iter(receive, None):
            self.hear(member, message)


def blocking(members: Members) -> tuple[Any, dict[str, Any]]:
    return WebSocketWSGI(lambda ws: members.serve(ws, ws.wait)), {}


def callbacks(members: Members) -> tuple[Any, dict[str, Any]]:
    class Room(WebSocketApplication):
        on_open = staticmethod(members.join)
        on_message = staticmethod(members.hear)

    return Room(), {"server_class": WebSocketServer}


def view(members: Members) -> tuple[Any, dict[str, Any]]:
    def application(environ: Any, start_response: Any) -> Any:
        ws = environ["wsgi.websocket"]
        members.serve(ws, ws.receive)
        return []

    return WebSocketMiddleware(application), {}


def flask_sock(members: Members) -> tuple[Any, dict[str, Any]]:
    app = flask.Flask(__name__)
    Sock(app).route("/")(lambda ws: members.serve(ws, ws.wait))
    return app, {}


def of_eventlet(members: Members) -> tuple[Any, dict[str, Any]]:
    return eventlet.WebSocketWSGI(lambda ws: members.serve(ws, ws.wait)), {}


def of_geventwebsocket(members: Members) -> tuple[Any, dict[str, Any]]:
    def application(environ: Any, start_response: Any) -> Any:
        ws = environ["wsgi.websocket"]
        members.serve(ws, ws.receive)
        return []

    return application, {"handler_class": WebSocketHandler}


def of_geventwebsocket_applications(members: Members) -> tuple[Any, dict[str, Any]]:
    class Room(ChatApplication):
        def on_open(self) -> None:
            members.join(self.ws)

        def on_message(self, message: Any, *args: Any, **kwargs: Any) -> None:
            members.hear(self.ws, message)

    return Resource([("/", Room)]), {"handler_class": WebSocketHandler}


def of_wsocket(members: Members) -> tuple[Any, dict[str, Any]]:
    app = wsocket.WSocketApp()
    app.onconnect += members.join
    app.onmessage += lambda message, client: members.hear(client, message)
    return app, {}


def of_pulsar(members: Members) -> tuple[Any, dict[str, Any]]:
    class Room(pulsar.WS):
        def on_open(self, websocket: Any) -> None:
            members.join(websocket.connection)

        def on_message(self, websocket: Any, message: str) -> None:
            members.hear(websocket.connection, message)

    return pulsar.wsgi.WsgiHandler(middleware=(pulsar.WebSocket("/", Room()),)), {}


def of_pulsar04(members: Members) -> tuple[Any, dict[str, Any]]:
    class Room(pulsar04.WS):
        def on_open(self, environ: Any) -> None:
            members.join(environ["wsgi.websocket"])

        def on_message(self, environ: Any, message: Any) -> None:
            members.hear(environ["wsgi.websocket"], message)

    return pulsar04.wsgi.WsgiHandler(middleware=(pulsar04.WebSocket(Room()),)), {}


def of_cyclone(members: Members) -> tuple[Any, dict[str, Any]]:
    class Room(cyclone.WebSocketHandler):
        def connectionMade(self, *args: Any, **kwargs: Any) -> None:
            members.join(self.ws_protocol.ws)

        def messageReceived(self, message: Any) -> None:
            members.hear(self.ws_protocol.ws, message)

    return cyclone.Application([(r"/", Room)]), {}


FACES: dict[str, Face] = {
    face.__name__: face
    for face in (
        blocking, callbacks, view, flask_sock, of_eventlet, of_geventwebsocket, of_geventwebsocket_applications,
        of_wsocket, of_pulsar, of_pulsar04, of_cyclone,
    )
}  # fmt: skip


def visit(pubsub: PubSub, connect: Callable[[], RawClient]) -> None:
    """Two clients come, hear what is published from everywhere, and go; see that all is as it should be."""
    ann = connect()
    wait_for(pubsub, 1)
    bob = connect()
    wait_for(pubsub, 2)
    ann.send(frames.text("from ann"))
    assert [client.read_message() for client in (ann, bob)] == ["from ann"] * 2
    assert pubsub.publish("room", "for bob", exclude=pubsub.subscribers("room")[0]) == 1
    assert gevent.get_hub().threadpool.apply(pubsub.publish, ("room", "from a native thread")) == 2
    thread = threading.Thread(target=pubsub.publish, args=("room", b"from a thread"))
    thread.start()
    assert [bob.read_message() for _ in range(2)] == ["for bob", "from a native thread"]
    assert [client.read_message() for client in (ann, ann, bob)][::2] == ["from a native thread", b"from a thread"]
    thread.join()
    bob.send(frames.text("leave"))
    wait_for(pubsub, 1)
    bob.send(frames.text("for ann"))
    assert ann.read_message() == "for ann"
    bob.reset()
    ann.close()
    wait_for(pubsub, 0)
    stats = pubsub.stats
    assert (stats.published, stats.sent, stats.topics) == (8, 8, 0)


def wait_for(pubsub: PubSub, count: int) -> None:
    """Have the loop turn until there are so many members; whoever calls has a deadline."""
    while pubsub.count("room") != count:
        gevent.sleep(0.001)
