"""The 17 messages of an exchange: text and binary, from 0 B to 700 KB, around each length where the header changes."""

from __future__ import annotations

import base64
import json
import pathlib
import random

TEXT = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 十二人のボクサー 🥊 "


def make_text(size: int) -> str:
    """Text of `size` bytes in UTF-8, ASCII where a character would be cut."""
    whole = (TEXT * (size // len(TEXT.encode()) + 1)).encode()[:size].decode(errors="ignore")
    return whole + "." * (size - len(whole.encode()))


def make_noise(size: int) -> bytes:
    """What cannot be compressed, the same in each run."""
    return random.Random(size).randbytes(size)


def make_rows(size: int) -> bytes:
    """What compresses well."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


MESSAGES: list[str | bytes] = [
    "",
    b"",
    "a",
    b"\x00",
    make_text(125),
    make_noise(126),
    make_text(127),
    make_rows(511),
    make_text(512),
    make_text(513),
    make_noise(4096),
    make_text(16_384),
    make_rows(65_535),
    make_text(65_536),
    make_noise(200_000),
    make_rows(300_000),
    make_text(700_000),
]


def write_messages(path: pathlib.Path) -> None:
    rows = [
        {"text": message} if isinstance(message, str) else {"binary": base64.b64encode(message).decode()}
        for message in MESSAGES
    ]
    path.write_text(json.dumps(rows))
