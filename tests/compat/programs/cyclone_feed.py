"""A feed, as users of cyclone write it: a loop of each connection's own, and a set of all that the class has."""

from __future__ import annotations

import gevent

from geventws.compat import cyclone  # was: import cyclone.web, cyclone.websocket


class Player:
    """What the feed is about."""

    def __init__(self):
        self.song = None
        self.position = 0

    def get_state(self):
        """The state as it is sent."""
        return {"song": self.song, "position": self.position}


class StateFeed(cyclone.WebSocketHandler):
    """Sends the state whenever it has changed since it was last sent."""

    interval = 0.002

    def connectionMade(self, *args, **kwargs):
        """Begin to look."""
        self.last = None
        self.loop()

    def loop(self):
        """Look, and look again later."""
        state = self.settings.player.get_state()
        if state != self.last:
            self.sendMessage(state)
            self.last = state
        if self.transport.connected:
            gevent.spawn_later(self.interval, self.loop)  # was: reactor.callLater


class Control(cyclone.WebSocketHandler):
    """Takes commands, and tells everybody who gives some."""

    everybody: set[Control] = set()

    def initialize(self, player):
        """Take what stands in the URL spec."""
        self.player = player

    def connectionMade(self, room):
        """Come in."""
        self.room = room
        self.everybody.add(self)

    def connectionLost(self, reason):
        """Go."""
        self.everybody.remove(self)

    def messageReceived(self, message):
        """Play a song."""
        self.player.song = message
        for other in self.everybody:
            other.sendMessage(f"{self.room} plays {message}")


class Application(cyclone.Application):
    """The feed, and its control by room."""

    def __init__(self):
        player = Player()
        handlers = [(r"/state", StateFeed), (r"/control/(\w+)", Control, {"player": player})]
        cyclone.Application.__init__(self, handlers, player=player)


if __name__ == "__main__":
    from geventws import WebSocketServer

    WebSocketServer(("127.0.0.1", 8888), Application()).serve_forever()  # was: reactor.listenTCP(8888, Application())
