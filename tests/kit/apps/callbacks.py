"""The callback application that gunicorn serves in test_callbacks_hosts.py."""

from __future__ import annotations

from geventws import WebSocketApplication


class Echo(WebSocketApplication):
    """Sends everything back."""

    def on_open(self, ws):
        """Greet."""
        return "open"

    def on_message(self, ws, message):
        """Send it back."""
        return message

    on_bytes = on_message

    def on_close(self, ws, code, reason):
        """Tell."""
        print("closed", ws.path, code, reason, flush=True)


echo = Echo()


def application(environ, start_response):
    """Serve /wrapped behind a middleware of which gunicorn knows nothing."""
    if environ["PATH_INFO"].startswith("/wrapped/"):
        return echo(environ, lambda *arguments: start_response(*arguments))
    return echo(environ, start_response)
