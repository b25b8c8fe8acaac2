"""The protocol classes of gevent-websocket, of which `base.BaseProtocol` is the only one that runs on Python 3."""
