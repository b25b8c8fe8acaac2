"""The application of test_forks.py: its handlers fork, and the children try whatever may harm their parent.

    python -m kit.apps.forks SERVER [--patched] [--hook] [--bound] [CERTFILE KEYFILE]

SERVER is pywsgi, own, or thread: our own one in a thread, while the main thread forks. With --bound, three processes
serve on one socket. gunicorn serves `kit.apps.forks:application`. Each child's pid is printed, and what it finds, in
lines that begin with "child".
"""

# ruff: noqa: E402

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__" and "--patched" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import gevent

if "--hook" in sys.argv or os.environ.get("FORK_HOOK"):  # before ours, so that it runs before ours in a child
    os.register_at_fork(after_in_child=lambda: gevent.sleep(0.01))

import gc
import multiprocessing
import queue
import threading
import time

import gevent.os
import gevent.ssl
from gevent import pywsgi, subprocess

import geventws
from geventws import WebSocketApplication, WebSocketMiddleware, WebSocketServer, WebSocketWSGI

CLOCKS = {"ping_interval": 0.05, "ping_timeout": 2.0, "close_timeout": 0.2}
AWHILE = 0.25
"""Seconds for a child's clocks to strike, if they do."""

main_thread: queue.SimpleQueue = queue.SimpleQueue()
servers: list[pywsgi.WSGIServer] = []


def say(*words: object) -> None:
    """Print a line in one piece, whoever else prints."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def fork(way: str, lasts: bool = False) -> int:
    """Fork as `way` says; return 0 in the child, which ends after a while unless it `lasts`."""
    pid = os.fork() if way == "os" else gevent.os.fork_gevent() if way == "raw" else gevent.fork()
    if pid:
        say("child", "that lasts" if lasts else "is", pid)
    elif not lasts:
        gevent.spawn(end)
    return pid


def end() -> None:
    """End a child after a while, without anything that ends with a process."""
    gevent.sleep(AWHILE)
    os._exit(0)


def last() -> None:
    """Live until somebody ends this child, or the test was given up."""
    gevent.sleep(20)
    os._exit(0)


def misbehave(ws: geventws.WebSocket) -> None:
    """Do all that might reach the peer, and say what came of it."""
    found = [ws.closed, ws.wait(timeout=1)]
    for act in (lambda: ws.send("from the child"), ws.ping, lambda: ws.send(part for part in ("a", "b"))):
        try:
            found.append(act())
        except geventws.ConnectionClosed as error:
            found.append(error.code)
    ws.close(4000)
    say("child found", *found)


def run_process(ws: geventws.WebSocket) -> None:
    """Do what a child of multiprocessing does."""
    misbehave(ws)
    gevent.sleep(AWHILE)


def serve_and_connect() -> None:
    """Open connections of the child's own, from both sides."""
    server = WebSocketServer(("127.0.0.1", 0), WebSocketWSGI(lambda ws: [ws.send(message) for message in ws]), log=None)
    server.start()
    with geventws.connect(f"ws://127.0.0.1:{server.server_port}/", proxy=None) as ws:
        ws.send("own")
        answer = ws.wait(timeout=5)
        if not os.fork():
            say("child has one itself", ws.closed, ws.wait())
            os._exit(0)
        ws.send("again")
        say("child has its", answer, ws.wait(timeout=5))


def fork_for(ws: geventws.WebSocket, way: str, what: str) -> str:
    """Fork; return in the parent, and in the child do as `what` says."""
    if way == "process":
        process = multiprocessing.get_context("fork").Process(target=run_process, args=(ws,))
        process.start()
        say("child is", process.pid)
    elif way == "subprocess":
        subprocess.check_call(["true"])
    elif way == "main":
        main_thread.put("fork")
    elif not fork(way, what in ("start", "terminate")):
        if what == "terminate":
            last()
        elif what == "own":
            serve_and_connect()
        elif what == "start":
            servers[0].start()
            say("child serves", servers[0].started)
            last()
        elif what == "exit":
            misbehave(ws)
            gevent.sleep(AWHILE / 2)
            sys.exit(0)
        elif what == "raise":
            with ws:
                misbehave(ws)
                raise LookupError("the child leaves")
        else:
            misbehave(ws)
        return "from the child"
    return "forked"


@WebSocketWSGI(**CLOCKS)
def forks(ws):
    """Fork in a handler when told to; echo everything else."""
    for message in ws:
        way, _, what = message.partition(" ")
        ws.send(fork_for(ws, way, what) if what else message)


@WebSocketWSGI(**CLOCKS)
def tick(ws):
    """Send without being asked."""
    while not ws.closed:
        gevent.sleep(0.02)
        ws.send("tick")


class Callbacks(WebSocketApplication):
    """The same in callbacks, all of which may reply."""

    def on_message(self, ws, message):
        """Fork when told to; echo everything else."""
        way, _, what = message.partition(" ")
        if not what:
            return message
        if fork(way):
            return "forked"
        say("child found", ws.closed, self.connections)
        if what == "raise":
            raise LookupError("the child leaves")
        return "from the child"

    def on_close(self, ws, code, reason):
        """Tell."""
        say("child was told" if os.getpid() != PROCESS else "closed with", code)


PROCESS = os.getpid()


def framework(environ, start_response):
    """Use the connection that the middleware has put there, and fork before the handshake is answered."""
    ws = environ["wsgi.websocket"]
    if not fork("os"):
        ws.send("from the child")
    forks.handler(ws)
    return []


def refuse_in_child(environ):
    """Fork in the middle of the handshake, and refuse it in the child."""
    if not fork("os"):
        raise geventws.HandshakeError(403, "the child refuses")
    return ()


ROUTES = {
    "forks": forks,
    "tick": tick,
    "callbacks": Callbacks(**CLOCKS),
    "middleware": WebSocketMiddleware(framework, **CLOCKS),
    "handshake": WebSocketWSGI(forks.handler, headers=refuse_in_child, **CLOCKS),
}


def keep_client(uri: str) -> None:
    """Be a client, too, and one that comes back."""
    context = gevent.ssl._create_unverified_context() if uri.startswith("wss") else None
    for ws in geventws.reconnect(uri, proxy=None, ssl=context, initial_delay=0.01, **CLOCKS):
        for message in ws:
            ws.send(message)


def application(environ, start_response):
    """Dispatch on the first part of the path."""
    route = ROUTES.get(environ["PATH_INFO"][1:])
    if route is not None:
        return route(environ, start_response)
    if environ["PATH_INFO"] == "/client":
        gevent.spawn(keep_client, environ["QUERY_STRING"])
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def main() -> None:
    """Serve, and say where."""
    kind, *rest = (word for word in sys.argv[1:] if not word.startswith("--"))
    if kind == "thread":
        threading.Thread(target=serve, args=("own", *rest), daemon=True).start()
        while main_thread.get() == "fork":
            if pid := os.fork():
                say("child is", pid)
            else:
                gc.collect()
                time.sleep(AWHILE)
                sys.exit()
    else:
        serve(kind, *rest)


def serve(kind: str, *keys: str) -> None:
    """Serve for ever."""
    tls = dict(zip(("certfile", "keyfile"), keys, strict=False))
    server = (WebSocketServer if kind == "own" else pywsgi.WSGIServer)(("127.0.0.1", 0), application, log=None, **tls)
    servers.append(server)
    server.init_socket()
    say(f"Listening at: http://127.0.0.1:{server.socket.getsockname()[1]}")
    if "--bound" in sys.argv and (fork("os", lasts=True) == 0 or fork("gevent", lasts=True) == 0):
        say("child starts", server.started)
    if kind == "pywsgi":
        gevent.signal_handler(signal.SIGTERM, server.stop)
    server.serve_forever()
    say("stopped in", os.getpid())


if __name__ == "__main__":
    main()
