"""The echo server that the conformance suite judges.

    server.py blocking|callbacks [CERTIFICATE KEY]      with both it speaks TLS; the port it picked is its only line

As a user would write it, but for the limit: case 9.1.6 sends a message of 16 MiB.
"""

import sys

from gevent import pywsgi

from geventws import WebSocketApplication, WebSocketWSGI

LIMIT = 16 << 20


@WebSocketWSGI(max_message_size=LIMIT)
def echo(ws):
    for message in ws:
        ws.send(message)


class Echo(WebSocketApplication):
    def on_message(self, ws, message):
        return message

    def on_bytes(self, ws, data):
        return data


STYLES = {"blocking": echo, "callbacks": Echo(max_message_size=LIMIT)}


def main():
    style, *pair = sys.argv[1:]
    tls = dict(zip(("certfile", "keyfile"), pair, strict=False))
    server = pywsgi.WSGIServer(("127.0.0.1", 0), STYLES[style], log=None, **tls)
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
