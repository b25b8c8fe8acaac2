"""The settings of ours that peers meet."""

from geventws import PerMessageDeflate

OPTIONS = {
    "default": {},
    "client keeps context": {"compression": PerMessageDeflate(client_no_context_takeover=False)},
    "both keep context": {
        "compression": PerMessageDeflate(server_no_context_takeover=False, client_no_context_takeover=False)
    },
}
