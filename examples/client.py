"""A client that stays connected: what comes is printed, a line every second is sent, and a lost server is redialed.

    python examples/echo.py &
    python examples/client.py ws://127.0.0.1:8000/
"""

import itertools
import logging
import sys

import gevent

import geventws


def talk(ws):
    for number in itertools.count():
        ws.send(f"message {number}")
        gevent.sleep(1)


def main(uri):
    for ws in geventws.reconnect(uri, max_delay=10):
        print("connected to", uri)
        talker = gevent.spawn(talk, ws)
        for message in ws:
            print("<", message)
        talker.kill()
        print("closed:", ws.close_code, ws.close_reason)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # tells what it waits for
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/")
    except KeyboardInterrupt:
        pass
