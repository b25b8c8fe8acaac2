"""JSON for `send_json` and `wait_json`: by orjson if that is installed, otherwise by the standard library.

It is the JSON of RFC 8259: sent without spaces, and received without NaN and infinities, which Python's parser allows.
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

__all__ = ["decode", "encode"]


def encode(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Return a value as JSON: see `WebSocket.send_json`."""
    if orjson is not None:
        try:
            fast: str = orjson.dumps(value, default, orjson.OPT_NON_STR_KEYS).decode()
            return fast
        except TypeError:
            pass  # such as an integer of more than 64 bits; what the standard library refuses, too, raises below
    try:
        text = json.dumps(value, default=default, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None
    return text


def decode(message: str | bytes) -> Any:
    """Return a message decoded from JSON; ValueError if it is not JSON."""
    if orjson is not None:
        return orjson.loads(message)
    try:
        return json.loads(message if isinstance(message, str) else message.decode(), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("the message is nested too deeply") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
