"""The gunicorn worker of gevent-websocket."""
