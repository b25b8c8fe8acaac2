"""The settings of websockets, and of what has its API."""

from __future__ import annotations

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory

NO_CONTEXT = {"server_no_context_takeover": True, "client_no_context_takeover": True}
CLIENT = {
    "default": {},
    "no compression": {"compression": None},
    "no context": {"compression": None, "extensions": [ClientPerMessageDeflateFactory(**NO_CONTEXT)]},
}
SERVER = {
    "default": {},
    "no compression": {"compression": None},
    "no context": {"compression": None, "extensions": [ServerPerMessageDeflateFactory(**NO_CONTEXT)]},
}
