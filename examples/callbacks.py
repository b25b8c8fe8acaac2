"""A shared counter in callbacks: every tab sees it, and a click in one counts in all.

    python examples/callbacks.py            then connect to ws://127.0.0.1:8000

A text message is a number to add; the answer, a JSON object, goes to everybody. An idle tab has no greenlet.
"""

import gevent
from gevent import pywsgi

from geventws import ConnectionClosed, HandshakeError, WebSocketApplication


class Counter(WebSocketApplication):
    """What all connections share is an attribute of the application; what belongs to one is in `ws.data`."""

    def __init__(self, **options):
        super().__init__(**options)
        self.total = 0

    def on_handshake(self, environ, headers):
        """Refuse with an HTTP status, or add to the headers of the answer."""
        if environ["PATH_INFO"] != "/":
            raise HandshakeError(404, "the counter is at /")
        headers.append(("X-Counter", str(self.total)))

    def on_open(self, ws):
        """Greet: what a callback returns is sent, a dict as JSON."""
        ws.data = 0
        return {"total": self.total, "yours": ws.data}

    def on_message(self, ws, message):
        """Add, and tell everybody. What is no number raises ValueError: see on_error."""
        number = int(message)
        ws.data += number
        self.total += number
        for other in self.connections:
            gevent.spawn(self.tell, other)  # so that a peer that does not read holds up nobody

    def tell(self, ws):
        """Send one connection the state of things."""
        try:
            ws.send_json({"total": self.total, "yours": ws.data})
        except ConnectionClosed:
            pass  # on_close is called for it

    def on_error(self, ws, error):
        """Let a bad number pass; close for everything else, as the default does."""
        if isinstance(error, ValueError):
            ws.send_json({"error": str(error)})
        else:
            super().on_error(ws, error)

    def on_close(self, ws, code, reason):
        """Take back what this one has added."""
        self.total -= ws.data


application = Counter()

if __name__ == "__main__":
    server = pywsgi.WSGIServer(("127.0.0.1", 8000), application)
    print("ws://127.0.0.1:8000")
    server.serve_forever()
