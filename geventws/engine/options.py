"""The options of a connection: their types, defaults, checks and descriptions, each in one place.

`ConnectionOptions` are those that servers and clients have in common; endpoints and the client derive from it and add
their own. `complete` fills in the defaults and recognises a misspelt name; `takes` has help() list all options.
"""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, TypeVar, cast

from ..frames import DEFAULT_LIMIT, NO_LIMIT
from ..protocol import EXTENSIONS
from ..protocol.permessage_deflate import PerMessageDeflate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Thing = TypeVar("Thing", bound=Callable[..., Any])

Options = TypeVar("Options")

LINGER = 1.0
"""Seconds that a peer has, after we have ended our side of the stream, to read what we sent and to end its own side."""

COMPRESSION = PerMessageDeflate()
"""How messages are compressed by default."""


class Timing(NamedTuple):
    """The clocks of a connection, in seconds; None turns one off."""

    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    close_timeout: float | None = 5.0
    send_timeout: float | None = 30.0


class SharedOptions(TypedDict, total=False):
    """The `ConnectionOptions` without `streaming`, which decides on a connection's type."""

    max_message_size: int
    decode_text: bool
    ping_interval: float | None
    ping_timeout: float | None
    close_timeout: float | None
    send_timeout: float | None


class ConnectionOptions(SharedOptions, total=False):
    """Options of every connection.

    max_message_size: the largest message accepted, in bytes, after inflating; 1 MiB by default. A larger one closes the
        connection with 1009.
    decode_text: True, the default, to receive text as `str`; False for `bytes`, checked to be UTF-8 but not decoded.
    streaming: whether the connection is a `StreamingWebSocket`, which receives messages piece by piece; False by
        default. It negotiates no compression, with which a few bytes may stand for a piece of any size.
    ping_interval: seconds between keepalive pings, varied by 10 %; 20 by default; None sends none.
    ping_timeout: the connection ends with 1011 if nothing at all is received within this many seconds after a ping; 20
        by default; None waits for ever.
    close_timeout: seconds that `close` waits for the peer's answer; 5 by default; None waits for ever.
    send_timeout: the connection ends if the peer accepts less than 64 KB of what waits to be sent (or all that is left)
        in this many seconds; 30 by default; None waits for ever.
    """

    streaming: bool


DEFAULTS = cast(
    "ConnectionOptions",
    {"max_message_size": DEFAULT_LIMIT, "decode_text": True, "streaming": False, **Timing()._asdict()},
)


def make_timing(
    ping_interval: float | None, ping_timeout: float | None, close_timeout: float | None, send_timeout: float | None
) -> Timing:
    """Return the clocks of a connection, from options of these names.

    Raises:
        TypeError: one of them is neither a number nor None.
        ValueError: one of them is below 0, or one of the first two is 0: a connection would ping without a pause, or
            end before the peer had time to answer.
    """
    timing = Timing(ping_interval, ping_timeout, close_timeout, send_timeout)
    for name, value in timing._asdict().items():
        if not isinstance(value, (int, float, type(None))):
            raise TypeError(f"{name} takes seconds or None, not {value!r}")
    for name, value in (("ping_interval", ping_interval), ("ping_timeout", ping_timeout)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} has to be above 0, not {value!r}; None turns it off")
    for name, value in (("close_timeout", close_timeout), ("send_timeout", send_timeout)):
        if value is not None and not value >= 0:
            raise ValueError(f"{name} has to be at least 0, not {value!r}; None turns it off")
    return timing


def check_limits(max_message_size: object, compression: object) -> None:
    """Check the options that are not clocks.

    Raises:
        TypeError: `max_message_size` is no int, or `compression` neither a `PerMessageDeflate` nor None.
        ValueError: `max_message_size` is negative, or more than the header of a frame can say.
    """
    if not isinstance(max_message_size, int):
        raise TypeError(f"max_message_size takes an int, not {max_message_size!r}")
    if not 0 <= max_message_size <= NO_LIMIT:
        raise ValueError(f"max_message_size is a number of bytes from 0 to 2 ** 63 - 1, not {max_message_size}")
    if not (compression is None or isinstance(compression, EXTENSIONS)):
        raise TypeError(f"compression takes a PerMessageDeflate or None, not {compression!r}")


def complete(options: Mapping[str, object], defaults: Options, taker: str) -> Options:
    """Return options with the defaults of those that are not given.

    Raises:
        TypeError: an option is unknown; the error suggests one with a similar name.
    """
    known = cast("dict[str, object]", defaults)
    for name in options:
        if name not in known:
            alike = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {alike[0]}?" if alike else ""
            raise TypeError(f"{taker} takes no option {name!r}{hint}")
    return cast("Options", {**known, **options})


def takes(defaults: object, *kinds: type) -> Callable[[Thing], Thing]:
    """Return a decorator for a function or class with `**options`: help() lists them, with defaults and meanings.

    Args:
        defaults: the defaults of all its options.
        kinds: the classes like `ConnectionOptions` whose docstrings describe them. They follow the line of the
            docstring that begins with "options:".
    """
    described = [line for kind in kinds for line in inspect.cleandoc(kind.__doc__ or "").splitlines()[2:]]

    def describe(thing: Thing) -> Thing:
        functions = [thing.__dict__[name] for name in ("__new__", "__init__") if name in thing.__dict__] or [thing]
        signature = _expand(inspect.signature(functions[-1]), cast("dict[str, object]", defaults))
        for function in functions:
            getattr(function, "__func__", function).__signature__ = signature
        if thing.__doc__ is None:
            return thing  # python -OO
        lines = inspect.cleandoc(thing.__doc__).splitlines()
        after = next(number for number, line in enumerate(lines, 1) if line.startswith("    options:"))
        while after < len(lines) and lines[after].startswith("     "):
            after += 1
        thing.__doc__ = "\n".join([*lines[:after], *("    " + line for line in described), *lines[after:]])
        return thing

    return describe


def _expand(signature: inspect.Signature, defaults: dict[str, object]) -> inspect.Signature:
    """Return a signature with the options instead of `**options`."""
    named = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    taken = {one.name for one in named}
    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [inspect.Parameter(name, keyword, default=value) for name, value in defaults.items() if name not in taken]
    return signature.replace(parameters=[*named, *more])
