"""JSON messages, by orjson where that is installed, and by the standard library otherwise.

`send_json` and `wait_json` are methods of `WebSocket`, which takes them from here. JSON is that of RFC 8259: sent in
text messages, compact; received without NaN and infinities, which Python's parser would let in.
"""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

orjson: Any
try:
    orjson = importlib.import_module("orjson")
except ImportError:
    orjson = None

__all__ = ["decode", "encode", "send_json", "wait_json"]


def send_json(
    self: Any, value: Any, default: Callable[[Any], Any] | None = None, compress: bool | None = None
) -> None:
    """Send a value as JSON, in a text message. Blocks, and may be called, as `send`.

    Args:
        value: what JSON has: dict, list, tuple, str, int, float, bool, None. With orjson also dataclasses, datetimes,
            UUIDs and enums.
        default: called with what is of another type; returns what stands for it.
        compress: as for `send`.

    Raises:
        TypeError, ValueError: the value cannot be said in JSON. Nothing is sent.
        ConnectionClosed: the connection is over, or has begun to close.
    """
    self.send(encode(value, default), compress)


def wait_json(self: Any, timeout: float | None = None) -> Any:
    """Return what the oldest message not yet taken says in JSON. Blocks as `wait` does.

    Args:
        timeout: seconds to block at the most; None for as long as the connection lives.

    Returns:
        The value; None once the connection is over, as from `wait`. A message `null` is None, too.

    Raises:
        ValueError: the message, which is taken, is not JSON.
        TimeoutError: nothing came in time; nothing is lost.
        ConcurrencyError: another greenlet is receiving.
    """
    message = self.wait(timeout)
    return None if message is None else decode(message)


def encode(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Return a value as JSON: see `send_json`."""
    if orjson is not None:
        try:
            fast: str = orjson.dumps(value, default, orjson.OPT_NON_STR_KEYS).decode()
            return fast
        except TypeError:
            pass  # an integer of more than 64 bits, for one; what nobody takes raises below
    try:
        text = json.dumps(value, default=default, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None
    return text


def decode(message: str | bytes) -> Any:
    """Return what a message says in JSON; ValueError where it says nothing."""
    if orjson is not None:
        return orjson.loads(message)
    try:
        return json.loads(message if isinstance(message, str) else message.decode(), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("the message is nested too deeply") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
