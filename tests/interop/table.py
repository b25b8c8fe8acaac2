"""Who talks to us, in which settings, and what we know about a pair that fails."""

from __future__ import annotations

from typing import NamedTuple

#: Our own settings, as peers/geventws_settings.py has them.
OURS = ["default", "client keeps context", "both keep context"]


class Peer(NamedTuple):
    """One peer: its scripts are peers/NAME_client and peers/NAME_server, where it has settings for them."""

    name: str
    runtime: str  # "python", "node", "bun" or "chromium"
    between: str  # what its API can send besides whole messages, and does
    client: list[str]  # its settings, the default first
    server: list[str] = []

    def script(self, role: str) -> str:
        ending = "cjs" if self.runtime in ("node", "bun") else "py"
        return f"{self.name.lower().replace('-', '_')}_{role}.{ending}"


WEBSOCKETS = ["default", "no compression", "no context"]
WSPROTO = ["default", "deflate", "no context"]
DEFLATE = ["default", "deflate"]
TORNADO = ["default", "compression_options={}"]
PICOWS = ["default", "picows.websockets"]
PEERS = [
    Peer("websockets", "python", "fragments, pings", WEBSOCKETS, WEBSOCKETS),
    Peer("aiohttp", "python", "pings", ["default", "compress=15"], ["default", "compress=False"]),
    Peer("Tornado", "python", "pings", TORNADO, TORNADO),
    Peer("Autobahn", "python", "fragments, pings", DEFLATE, DEFLATE),
    Peer("wsproto", "python", "fragments, pings", WSPROTO, WSPROTO),
    Peer("websocket-client", "python", "fragments, pings", ["default"]),
    Peer("picows", "python", "fragments, pings", PICOWS, PICOWS),
    Peer("ws", "node", "fragments, pings", WEBSOCKETS, ["default", "perMessageDeflate: true"]),
    Peer("undici", "node", "", ["default"]),
    Peer("Bun", "bun", "pings", ["default", "perMessageDeflate: false"], ["default", "perMessageDeflate: true"]),
    Peer("Chromium", "chromium", "", ["default"]),
]


class Known(NamedTuple):
    """A pair that fails for a reason that is known: who is server, the peer, its setting, ours, and why."""

    role: str
    name: str
    setting: str
    ours: str
    reason: str


KNOWN = [
    Known(
        "server", "Tornado", "compression_options={}", "default",
        "It ends with 1007 at the second message that is compressed: Tornado's client keeps its context though it "
        "agreed not to. "
        "A server that has such clients lets them keep it: "
        "``compression=PerMessageDeflate(client_no_context_takeover=False)``.",
    ),
]  # fmt: skip


def why(role: str, name: str, setting: str, ours: str) -> str | None:
    """The reason for which a pair is known to fail, or None."""
    return next((known.reason for known in KNOWN if known[:4] == (role, name, setting, ours)), None)
