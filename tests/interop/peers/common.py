"""What every Python peer shares: the messages, the verdict on an echo, and telling the port.

A client is called with a URL and a setting. It sends each message, waits for its echo, and prints `ok` at the end, or
the first difference. A server is called with a setting, prints its port, and echoes until it is ended.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import sys
import traceback

HOST = "127.0.0.1"
LARGEST = 4 << 20
PING = b"between"

Message = str | bytes


def read_messages() -> list[Message]:
    """The messages of messages.py, which the runner has written down for peers in every language."""
    rows = json.loads(pathlib.Path(os.environ["INTEROP_MESSAGES"]).read_text())
    return [row["text"] if "text" in row else base64.b64decode(row["binary"]) for row in rows]


def wants_ping(number: int) -> bool:
    """Whether a ping comes before this message, or amid its fragments."""
    return number % 4 == 1


def cut(number: int, message: Message) -> list[Message] | None:
    """The message in three fragments, where it is one of those that are sent so."""
    if number % 3 != 2:
        return None
    third = len(message) // 3
    return [message[:third], message[third : 2 * third], message[2 * third :]]


def to_bytes(message: Message) -> bytes:
    return message.encode() if isinstance(message, str) else bytes(message)


def check(number: int, sent: Message, echo: object) -> None:
    """Exit with what is different about an echo, if anything is."""
    if isinstance(echo, bytearray | memoryview):
        echo = bytes(echo)
    if type(echo) is not type(sent):
        raise SystemExit(f"message {number + 1}: {type(sent).__name__} came back as {echo!r:.80}")
    if echo != sent:
        raise SystemExit(f"message {number + 1}: {len(sent)} came back as {len(echo)} that differ")


def tell_port(port: int) -> None:
    print(port, flush=True)


def setting() -> str:
    return sys.argv[-1]


def run(talk, *args: object) -> None:
    """Call what talks to the server, and print how it went as the last line."""
    try:
        talk(*args)
    except SystemExit as difference:
        print(difference)
    except BaseException as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}".splitlines()[0])
    else:
        print("ok")
    sys.stdout.flush()
    os._exit(0)  # no matter what threads and loops there still are
