"""What is said to the programs of the how-tos, and what they have to answer."""

from __future__ import annotations

import contextlib
import json
import pathlib
import time
import urllib.request
from typing import Any

from kit.documents.talks import ANSWER, Place, close_of, echoes, hear, refusal


def post(place: Place, path: str, body: str) -> str:
    """Return what an ordinary route answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{place.port}{path}", body.encode())
    with urllib.request.urlopen(request, timeout=ANSWER) as answer:
        return answer.read().decode()


# Callbacks


def greets(place: Place) -> None:
    with place.connect(additional_headers={"X-User": "ann"}) as client:
        client.send("hello")
        assert client.recv(timeout=ANSWER) == "ann said hello"
    place.asks({"hello": "somebody said hello"})


def tells_all(place: Place) -> None:
    with place.connect() as ann, place.connect() as ben:
        ben.ping().wait(ANSWER)  # its handshake is over, so it is connected
        ann.send("news")
        for client in (ann, ben):
            assert client.recv(timeout=ANSWER) == "news"


def adds(place: Place) -> None:
    place.asks({"1 2 3": "6", "one": '{"error":"send numbers"}', "4": "4"})


# Access control


def welcomes_pages(place: Place) -> None:
    for origin in ("https://www.example.org", None):
        with place.connect(origin=origin) as client:
            assert client.recv(timeout=ANSWER) == "welcome"
    assert refusal(place, origin="https://elsewhere.example").status_code == 403


def knows_cookies(place: Place) -> None:
    with place.connect(additional_headers={"Cookie": "theme=dark; session=8f14e45fceea"}) as client:
        assert client.recv(timeout=ANSWER) == "hello ann"
    for cookies in ({}, {"Cookie": "session=another"}):
        answer = refusal(place, additional_headers=cookies)
        assert (answer.status_code, answer.body) == (401, b"log in first\n")


def knows_bearers(place: Place) -> None:
    with place.connect(subprotocols=["bearer.c2VjcmV0", "chat"]) as client:
        assert client.recv(timeout=ANSWER) == "hello ann, you speak chat"
    for offered in (["chat"], ["chat", "bearer.guessed"]):
        assert refusal(place, subprotocols=offered).status_code == 401


def waits_for_a_token(place: Place) -> None:
    with place.connect() as client:
        client.send("c2VjcmV0")
        assert client.recv(timeout=ANSWER) == "hello ann"
    with place.connect() as guesser, place.connect() as silent:
        guesser.send("guessed")
        assert close_of(guesser) == close_of(silent) == (4003, "send a valid token first")


def expires(place: Place) -> None:
    with place.connect(additional_headers={"Authorization": "Bearer secret"}) as client:
        client.send("hello")
        assert client.recv(timeout=ANSWER) == "hello"
        assert close_of(client) == (4001, "the token has expired")
    assert refusal(place, additional_headers={"Authorization": "Bearer guessed"}).status_code == 401


def knows_members(place: Place) -> None:
    def enter(room: str, user: str) -> Any:
        return place.connect(room, additional_headers={"X-User": user})

    with enter("/lobby", "ann") as ann, enter("/lobby", "ben") as ben:
        for client, user in ((ann, "ann"), (ben, "ben")):
            client.send("hello")
            hear(client, f"{user}: hello")
        hear(ann, "ben: hello")
    for room, user in (("/board", "ben"), ("/nowhere", "ann")):
        with enter(room, user) as stranger:
            assert close_of(stranger) == (4003, "you are not a member")


# Files


def keeps(place: Place) -> None:
    with place.connect() as client:
        for name, data in (("a.bin", b"\x00\xff" * 1_500_000), ("empty", b"")):
            client.send(json.dumps({"name": name}))
            client.send(data)
            answer = json.loads(client.recv(timeout=ANSWER))
            assert answer["name"] == name and pathlib.Path(answer["stored as"]).read_bytes() == data


def receives_slices(place: Place) -> None:
    with place.connect() as client:
        for message in (b"12345", b"67", "end"):
            client.send(message)
        assert client.recv(timeout=ANSWER) == "7 bytes"


# Sending from elsewhere


def notifies(place: Place) -> None:
    with place.connect("/events/ann") as one, place.connect("/events/ann") as two, place.connect("/events/ben") as ben:
        deadline = time.monotonic() + 5
        while post(place, "/notify/ann", "hello") != "on its way to 2 connections\n":
            assert time.monotonic() < deadline
        assert post(place, "/announce", "bye") == "announced\n"
        for client in (one, two):
            hear(client, "hello")
            hear(client, "bye")
        assert ben.recv(timeout=ANSWER) == "bye"
    assert post(place, "/notify/nobody", "hello") == "on its way to 0 connections\n"


def has_one_connection(place: Place) -> None:
    with place.connect("/?ann") as first, place.connect("/?ben") as ben:
        first.send("hello")
        assert first.recv(timeout=ANSWER) == "1: hello"
        with place.connect("/?ann"):
            assert close_of(first) == (4009, "connected elsewhere")
        ben.send("hello")
        assert ben.recv(timeout=ANSWER) == "1: hello"


def squares(place: Place) -> None:
    place.asks({"12": "the square is 144", "3": "the square is 9"})


# Behind a proxy, rate limits


def knows_addresses(place: Place) -> None:
    for sent, told in (({}, "127.0.0.1"), ({"X-Forwarded-For": "forged, 192.0.2.7"}, "192.0.2.7")):
        with place.connect(additional_headers=sent) as client:
            assert client.recv(timeout=ANSWER) == told


def is_slowed_down(place: Place) -> None:
    with place.connect() as client:
        began = time.monotonic()
        for _ in range(25):
            client.send("hello")
        for _ in range(25):
            assert client.recv(timeout=ANSWER) == "hello"
        assert time.monotonic() - began > 0.45  # five over the burst of twenty, at ten in a second


def has_three_connections(place: Place) -> None:
    with contextlib.ExitStack() as three:
        for _ in range(3):
            client = three.enter_context(place.connect("/?ann"))
            client.send("hello")
            assert client.recv(timeout=ANSWER) == "hello"
        with place.connect("/?ann") as fourth:
            assert close_of(fourth) == (4008, "too many connections")
    echoes(place, "/?ann")


# The FAQ


def is_watched(place: Place) -> None:
    with place.connect() as client:
        client.close(4000, "enough")
    place.host.wait_for("^ended with 4000 enough$")
