"""Text of a peer in the log: the lines that it forges, and the escapes that get through."""

from __future__ import annotations

import re

from .. import dial, wire
from ..hosts import Victim
from .memory import Measure

FORGED = "forged by a peer"
PATH = "/echo/%0aforged%20by%20a%20peer%1b[31m"
REASON = f"bye\n{FORGED}\x1b[31m".encode()


def forge(victim: Victim) -> Measure:
    """Paths, headers and close reasons with a newline and an escape, in every kind of line there is."""
    if not victim.is_client:
        for path in (PATH, PATH.replace("/echo", "/page")):
            attempt(victim, path)
        for line in (b"Origin: http://x\x1b[31m", b"Sec-WebSocket-Version: 9\x1b[31m", b"X-Forwarded-For: \x1b[31m"):
            refused(victim, line)
    for path in ("/echo", "/pour", "/busy"):
        for opcode, payload in ((wire.CLOSE, b"\x0f\xa0" + REASON), (wire.TEXT, b"\xff"), (3, b"")):
            peer = victim.meet(path)
            peer.send(peer.frame(opcode, payload))
            peer.drain(0.1)
            peer.close()
    victim.settle()
    log = victim.log()
    return {"forged": log.count("\x1b") + len(re.findall(rf"^{FORGED}", log, re.MULTILINE))}


def attempt(victim: Victim, path: str) -> None:
    """Shake hands, if that is possible, and break a rule."""
    peer = dial.connect(victim.port, tls=victim.tls)
    peer.send(wire.request(path) + b"\x83\x80\0\0\0\0")
    peer.drain(0.2)
    peer.close()


def refused(victim: Victim, line: bytes) -> None:
    """Send a handshake with one more header."""
    peer = dial.connect(victim.port, tls=victim.tls)
    peer.send(wire.request(PATH)[:-2] + line + b"\r\n\r\n")
    peer.drain(0.2)
    peer.close()
