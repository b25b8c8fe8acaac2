"""What an echo of one large message holds in memory: peak of the server above its baseline, per byte of the message.

    python benchmarks/large_messages.py            64 MB: streamed, whole, and compressed, which does not shrink it

The server is a process of its own, and the kernel's high-water mark of its resident memory is read before and after.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys

import gevent

import geventws

SERVER = """
import sys
from gevent import pywsgi
from geventws import WebSocketWSGI

@WebSocketWSGI(max_message_size=int(sys.argv[1]) + 1)
def whole(ws):
    for message in ws:
        ws.send(message)
        del message

@WebSocketWSGI(streaming=True)
def streamed(ws):
    while (pieces := ws.wait_pieces()) is not None:
        ws.send(pieces)

def app(environ, start_response):
    return (streamed if environ["PATH_INFO"] == "/streamed" else whole)(environ, start_response)

server = pywsgi.WSGIServer(("127.0.0.1", 0), app, log=None)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
"""


def peak(pid: int) -> int:
    """The most memory that a process has had resident, in bytes."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) * 1024


def echo(ws: geventws.WebSocket, size: int, streaming: bool) -> int:
    """Send `size` bytes in one message, and return how many come back."""
    block = os.urandom(1 << 16)
    sender = gevent.spawn(ws.send, (block for _ in range(size // len(block))))
    received = ws.wait_pieces(timeout=60) if streaming else [ws.wait(timeout=60)]
    size = sum(map(len, received))
    sender.get(timeout=60)
    return size


def measure(path: str, size: int, streaming: bool) -> float:
    """The server's peak above its baseline, as a multiple of the message's size."""
    with subprocess.Popen([sys.executable, "-c", SERVER, str(size)], stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline())
            uri = f"ws://127.0.0.1:{port}/{path}"
            with geventws.connect(uri, streaming=streaming, max_message_size=size, proxy=None) as ws:
                assert echo(ws, 1 << 16, streaming) == 1 << 16  # everything is imported and warm
                before = peak(server.pid)
                assert echo(ws, size, streaming) == size
                return (peak(server.pid) - before) / size
        finally:
            server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64 << 20, help="bytes of the message")
    size = parser.parse_args().size
    # A client that streams negotiates no compression.
    for name, path, streaming, limit in (
        ("streamed", "streamed", True, 1.2),
        ("whole", "whole", True, 2.2),
        ("compressed", "whole", False, 2.2),
    ):
        found = measure(path, size, streaming)
        print(f"{name:10} {size >> 20} MB: {found:.2f} x the message above baseline (limit {limit})")


if __name__ == "__main__":
    main()
