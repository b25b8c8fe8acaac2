"""The smallest server: every message goes back as it came.

    python examples/echo.py
    python -m websockets ws://127.0.0.1:8000/
"""

from gevent import pywsgi

from geventws import WebSocketWSGI


@WebSocketWSGI
def echo(ws):
    for message in ws:
        ws.send(message)


if __name__ == "__main__":
    pywsgi.WSGIServer(("127.0.0.1", 8000), echo).serve_forever()
