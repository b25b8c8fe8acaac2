"""A chat, as users of gevent-websocket write it: an application by path, beside Flask behind Werkzeug's debugger."""

from __future__ import annotations

import json

from flask import Flask
from werkzeug.debug import DebuggedApplication

from geventws.compat.geventwebsocket import Resource, WebSocketApplication, WebSocketServer  # was: geventwebsocket

flask_app = Flask(__name__)
flask_app.debug = True


class Chat(WebSocketApplication):
    """A member of the chat; what it knows of the others stands in the server's clients."""

    def on_open(self):
        """Nothing is said of a member without a name."""
        self.ws.handler.active_client.nickname = None

    def on_message(self, message):
        """Dispatch on the kind of message."""
        if message is None:
            return
        message = json.loads(message)
        if message["kind"] == "name":
            self.ws.handler.active_client.nickname = message["name"]
            self.broadcast({"kind": "members", "names": self.get_names()})
        else:
            self.broadcast({"kind": "text", "from": self.ws.handler.active_client.nickname, "text": message["text"]})

    def on_close(self, reason):
        """Tell the others."""
        self.ws.handler.active_client.nickname = None
        self.broadcast({"kind": "members", "names": self.get_names()})

    def get_clients(self):
        """All members, this one too."""
        return list(self.ws.handler.server.clients.values())

    def get_names(self):
        """Their names."""
        return sorted(client.nickname for client in self.get_clients() if client.nickname)

    def broadcast(self, message):
        """Send to all that are there."""
        for client in self.get_clients():
            if not client.ws.closed:
                client.ws.send(json.dumps(message))


@flask_app.route("/")
def index():
    """The page of the chat."""
    return "<h1>chat</h1>"


resource = Resource([("^/chat", Chat), ("^/.*", DebuggedApplication(flask_app))])

if __name__ == "__main__":
    WebSocketServer(("127.0.0.1", 8000), resource, debug=False).serve_forever()
