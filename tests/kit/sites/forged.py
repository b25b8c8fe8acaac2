"""What a peer puts wherever it may, to forge a line of a log or of an error."""

from __future__ import annotations

FORGED = "\r\n2026-01-01 INFO forged\x1b[2J\x00\x85\u2028\u202e'\" "
PATH = "/%0D%0A2026-01-01%20INFO%20forged%1B%5B2J%00%C2%85%E2%80%A8'%22" + "x" * 3000
REASON = FORGED + "x" * 80
BOUND = 2000
"""Characters of a log record, or of an error's text."""


def check(text: str) -> None:
    """Text is one printable line, and short."""
    assert text.isprintable(), text
    assert len(text) <= BOUND, len(text)
