"""One connection at work on gevent's loop: readiness, the stream, the clocks, the end."""
