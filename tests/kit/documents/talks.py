"""What is said to the programs and the handlers of the documents, and what they have to answer."""

from __future__ import annotations

import pathlib
import re
import socket
import ssl
from typing import Any

import pytest
from kit.clients import make_thread_context
from kit.programs.hosts import Host
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

ANSWER = 15.0
"""Seconds for an answer, on a busy machine; only a test that fails takes them."""


class Place:
    """Where something is served, and the process that serves it."""

    def __init__(self, port: int, host: Host) -> None:
        self.port = port
        self.host = host

    def connect(self, path: str = "/", tls: ssl.SSLContext | None = None, **options: Any) -> Any:
        """Return a client; `with` closes it."""
        url = f"{'wss' if tls else 'ws'}://127.0.0.1:{self.port}{path}"
        return connect(url, ssl=tls, proxy=None, open_timeout=ANSWER, **options)

    def asks(self, messages: dict[Any, Any], path: str = "/", **options: Any) -> None:
        """Send each message, and compare its answer."""
        with self.connect(path, **options) as client:
            for message, answer in messages.items():
                client.send(message)
                assert client.recv(timeout=ANSWER) == answer


def hear(client: Any, message: str, timeout: float = ANSWER) -> None:
    """Receive until a message comes."""
    while client.recv(timeout=timeout) != message:
        pass


def close_of(client: Any) -> tuple[int, str]:
    """Return how the server closed."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(timeout=ANSWER)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def refusal(place: Place, **options: Any) -> Any:
    """Return the answer to a handshake that is refused."""
    with pytest.raises(InvalidStatus) as caught, place.connect(**options):
        pass
    return caught.value.response


def echoes(place: Place, path: str = "/", **options: Any) -> None:
    place.asks({"hello": "hello", b"\x00\xff": b"\x00\xff", "": ""}, path, **options)


def is_drained(place: Place, greeting: str = "") -> None:
    with place.connect() as client:
        assert not greeting or client.recv(timeout=ANSWER) == greeting
        client.send("hello")
        assert client.recv(timeout=ANSWER) == "hello"
        place.host.terminate()
        assert close_of(client) == (1001, "")
    assert place.host.wait() == 0


def echoes_beside_a_page(place: Place) -> None:
    echoes(place, "/echo")
    with socket.create_connection(("127.0.0.1", place.port), timeout=ANSWER) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"".join(iter(lambda: plain.recv(4096), b"")).endswith(b"\r\n\r\nhello\n")


def counts_messages(place: Place) -> None:
    place.asks({"hello": "1: hello", "again": "2: again"})


def counts(place: Place) -> None:
    place.asks({"hello": "str of length 5", b"": "bytes of length 0"})


def adds(place: Place) -> None:
    place.asks({"[1, 2]": '{"sum":3}', "[]": '{"sum":0}'})


def guesses(place: Place) -> None:
    with place.connect() as client:
        client.send("41")
        client.send("42")
        assert close_of(client) == (4000, "found")
    place.host.wait_for("^ended with 4000 found$")


def thinks(place: Place) -> None:
    place.asks({"the question": "42", "again": "42"})


def knows_robots(place: Place) -> None:
    contexts = {}
    for name in ("robot.example", "human.example"):
        contexts[name] = make_thread_context("authority.pem")
        contexts[name].load_cert_chain(name)
    with place.connect(tls=contexts["robot.example"]) as client:
        assert client.recv(timeout=ANSWER) == "hello, robot"
    assert refusal(place, tls=contexts["human.example"]).status_code == 403


def learns_of_the_end(place: Place) -> None:
    with place.connect():
        pass
    place.host.wait_for("^left with 1000$")


def is_killed(place: Place) -> None:
    with place.connect("/bench"):
        pass
    place.host.wait_for("^nobody works at /bench$")


def is_patient(place: Place) -> None:
    with place.connect() as client:
        assert client.recv(timeout=ANSWER) == "are you still there?"
        client.send("yes")
        hear(client, "yes")


def is_brief(place: Place) -> None:
    with place.connect() as client:
        client.send("hello")
        assert client.recv(timeout=ANSWER) == "hello"
        assert close_of(client) == (4001, "time is up")


def chooses(place: Place) -> None:
    with place.connect(subprotocols=["chat.v1", "chat.v2"], origin="https://example.org") as client:
        assert client.recv(timeout=ANSWER) == "you speak chat.v1"
    with place.connect() as client:
        assert client.recv(timeout=ANSWER) == "you speak None"
    assert refusal(place, origin="https://elsewhere.example").status_code == 403


def authenticates(place: Place) -> None:
    with place.connect(additional_headers={"Authorization": "Bearer secret"}) as client:
        assert client.recv(timeout=ANSWER) == "welcome"
        assert client.response.headers["X-Served-By"] == "geventws"
    answer = refusal(place)
    assert (answer.status_code, answer.body) == (401, b"a token is needed\n")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def ticks(place: Place) -> None:
    with place.connect() as client:
        assert client.recv(timeout=ANSWER) == "tick"
        client.send("hello")
        hear(client, "hello")
        assert client.recv(timeout=ANSWER) == "tick"
    with place.connect() as client:
        assert client.recv(timeout=ANSWER) == "tick"
    assert "Traceback" not in "\n".join(place.host.lines)


def broadcasts(place: Place, path: str = "/") -> None:
    with place.connect(path) as ada, place.connect(path) as ben:
        for client, message in ((ada, "ada"), (ben, "ben"), (ada, "hello")):
            client.send(message)
            hear(client, message)  # whoever hears an own message is in the room
        hear(ben, "hello")


def tells_others(place: Place) -> None:
    with place.connect() as ada, place.connect() as ben:
        for author, other in ((ben, ada), (ada, ben)):  # who gets no answer to a ping is not in the room yet
            author.ping().wait(ANSWER)
            author.send("hello")
            hear(other, "hello")


def prepares(place: Place) -> None:
    with place.connect() as client:
        assert client.recv(timeout=ANSWER) == "Be kind. " * 100


def quotes(place: Place) -> None:
    place.asks({"ABC 1.25": "ABC 1.25", "XYZ 7": "XYZ 7"})


def catches_up(place: Place) -> None:
    with place.connect() as ada:
        for number in range(30):
            ada.send(str(number))
        hear(ada, "29")
        with place.connect() as ben:
            assert [ben.recv(timeout=ANSWER) for _ in range(20)] == [str(number) for number in range(10, 30)]
            ben.send("hello")
            assert ben.recv(timeout=ANSWER) == "hello"
        hear(ada, "hello")


def meets(place: Place) -> None:
    with place.connect("/?ada") as ada:
        assert [ada.recv(timeout=ANSWER) for _ in range(2)] == ["ada is here", "there: ada"]
        with place.connect("/?ben") as ben:
            assert [ben.recv(timeout=ANSWER) for _ in range(2)] == ["ben is here", "there: ada, ben"]
            assert ada.recv(timeout=ANSWER) == "ben is here"
            ada.send("away")
            hear(ben, "ada is away")
        hear(ada, "ada is away")
        assert ada.recv(timeout=ANSWER) == "ben has left"


def measures(place: Place) -> None:
    with place.connect() as client:
        client.send("now")
        assert re.fullmatch(r"\d+\.\d{3} ms", client.recv(timeout=ANSWER))


def downloads(place: Place) -> None:
    pathlib.Path("report.csv").write_bytes(b"1;2\n" * 50_000)
    with place.connect() as client:
        parts = list(client.recv_streaming())
        assert len(parts) >= 4 and b"".join(parts) == b"1;2\n" * 50_000


def uploads(place: Place) -> None:
    with place.connect() as client:
        for message, size in ((b"x" * 3_000_000, 3_000_000), ("", 0), (["in ", "parts"], 8)):
            client.send(message)
            assert client.recv(timeout=ANSWER) == f"{size} bytes"


def compresses_for_others(place: Place) -> None:
    for agent, agreed in (("Version/18 Safari/605.1", False), ("Chrome/150 Safari/537.36", True)):
        with place.connect(user_agent_header=agent) as client:
            assert ("Sec-WebSocket-Extensions" in client.response.headers) is agreed
            client.send("x" * 1000)
            assert client.recv(timeout=ANSWER) == "x" * 1000


def compresses(place: Place) -> None:
    with place.connect() as client:
        agreed = client.response.headers["Sec-WebSocket-Extensions"]
        assert "permessage-deflate" in agreed and "server_no_context_takeover" not in agreed
        client.send("x" * 100)
        assert [client.recv(timeout=ANSWER) for _ in range(2)] == ["x" * 100] * 2
