"""Nobody forges an error's text, either: it is one printable line, and short, whatever a peer says."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import gevent
import pytest
from kit import frames
from kit.servers.scripted import answering
from kit.sites.forged import BOUND, FORGED, REASON, check

import geventws
from geventws import exceptions
from geventws.cli.main import main

ERRORS: dict[type[BaseException], tuple[Any, ...]] = {
    exceptions.WebSocketError: (FORGED * 100,),
    exceptions.ConnectionClosed: (1000, FORGED * 100),
    exceptions.ConcurrencyError: (FORGED * 100,),
    exceptions.ProtocolError: (FORGED * 100,),
    exceptions.InvalidData: (FORGED * 100,),
    exceptions.PayloadTooBig: (FORGED * 100,),
    exceptions.HandshakeError: (400, FORGED * 100, [("X", FORGED)]),
    exceptions.InvalidStatus: (400, [("X", FORGED)], FORGED.encode()),
    exceptions.ProxyError: (400, [("X", FORGED)], FORGED.encode(), FORGED * 100),
    exceptions.InvalidURI: (FORGED * 100,),
    exceptions.NoSocket: (FORGED * 100,),
    exceptions.RoomsError: (FORGED, FORGED * 100, FORGED),
}


def test_every_error_has_a_scenario() -> None:
    found = {kind for _, kind in inspect.getmembers(exceptions, inspect.isclass)}
    assert {kind for kind in found if kind.__module__ == exceptions.__name__} == set(ERRORS)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_errors_text_is_one_short_line(kind: type[BaseException]) -> None:
    error = kind(*ERRORS[kind])
    assert len(str(error)) <= 6 * BOUND and str(error).isprintable()
    assert f"{error}" == str(error)


def test_a_closed_connections_reason_stays_as_it_is() -> None:
    error = pickle.loads(pickle.dumps(geventws.ConnectionClosed(1000, REASON)))
    assert error.reason == REASON
    assert r"1000 \r\n2026-01-01 INFO forged\x1b[2J\x00\x85\u2028\u202e'" in str(error)


SWITCHING = "HTTP/1.1 101 a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
ANSWERS = {
    "status line": "HTTP/1.1 \x1b[2J nonsense\r\n\r\n",
    "reason": "HTTP/1.1 503 a\x1b[2J\x85\r\n\r\n",
    "status": "HTTP/1.1 403 a\x85b\xad\r\nX-Why: \x85\r\n\r\nno\x1b[2J\r\nmore",
    "field": "HTTP/1.1 101 a\r\nX\x1b[2J: b\r\n\r\n",
    "accept": SWITCHING + "Sec-WebSocket-Accept: \x85\xad" + "x" * 3000,
    "upgrade": "HTTP/1.1 101 a\r\nUpgrade: \x85\xad" + "x" * 3000,
    "location": "HTTP/1.1 302 a\r\nLocation: ftp://\x85\xad" + "x" * 3000,
    "far": "HTTP/1.1 302 a\r\nLocation: http://127.0.0.1:1/\x85\xad" + "x" * 3000,
    "nowhere": "HTTP/1.1 302 a\r\nLocation: http://\x85\xad.invalid/" + "x" * 3000,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_servers_answer_is_told_in_one_short_line(scripted, serve, name: str, capsys) -> None:
    answer = ANSWERS[name].encode("latin-1")
    server = scripted(answering(answer if b"\r\n\r\n" in answer else answer + b"\r\n\r\n"))
    with pytest.raises((OSError, geventws.WebSocketError)) as caught:
        geventws.connect(server.uri, proxy=None)
    check(str(caught.value))
    assert main(["connect", server.uri, "--no-proxy"]) == 1
    for line in capsys.readouterr().err.split("\n"):
        check(line)


def test_the_commands_last_word_is_one_short_line(scripted, serve, capsys, monkeypatch) -> None:
    def script(peer) -> None:
        peer.accept(b"\x88" + bytes([2 + len(REASON.encode())]) + frames.close_payload(1000, REASON))
        peer.rest()

    shown: list[str] = []
    monkeypatch.setattr("geventws.cli.terminal.Session._feed", lambda session: gevent.sleep(5))
    monkeypatch.setattr("geventws.cli.terminal.Session._tell", lambda session, text: shown.append(text))
    main(["connect", scripted(script).uri, "--no-proxy"])
    assert len(shown) == 2 and r"1000 \r\n2026" in shown[-1]
    for text in shown:
        check(text)
