"""The echo server that the conformance suite judges.

    server.py [CERTIFICATE KEY]        with both it speaks TLS; the port it picked is its only line

As a user would write it, but for the limit: case 9.1.6 sends a message of 16 MiB.
"""

import sys

from gevent import pywsgi

from geventws import WebSocketWSGI


@WebSocketWSGI(max_message_size=16 << 20)
def echo(ws):
    for message in ws:
        ws.send(message)


def main():
    tls = dict(zip(("certfile", "keyfile"), sys.argv[1:3], strict=False))
    server = pywsgi.WSGIServer(("127.0.0.1", 0), echo, log=None, **tls)
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
