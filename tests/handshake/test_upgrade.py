"""upgrade.py: the proof that a server understood, and lists that are no text."""

from __future__ import annotations

import pytest
from kit.handshakes import ACCEPT, KEY

from geventws.handshake.upgrade import accept_key, check_list


def test_the_sample_of_the_rfc() -> None:
    """RFC 6455 1.3: "the server would then [...] give the value "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="."""
    assert accept_key(KEY) == ACCEPT == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_text_is_no_list_of_subprotocols() -> None:
    check_list(["chat"])
    with pytest.raises(TypeError, match="not the text 'chat'"):
        check_list("chat")
