"""The page on internals: the functions on the way of a message are there, and are those that it passes."""

from __future__ import annotations

import importlib
import operator
import re
import sys
from types import FrameType
from typing import Any

import gevent
import greenlet
import pytest
from kit import frames
from kit.documents.blocks import ROOT

from geventws.engine.loop.watchers import HAVE_EPOLL
from geventws.frames import HAVE_C

PACKAGE = ROOT / "geventws"
STEP = re.compile(r"^\d+\. .*?``([\w.]+)`` \(``([\w/]+\.(?:py|c))``\)", re.MULTILINE)


def read_way() -> list[tuple[str, str]]:
    """Return the functions on the way of a message, each with its file, as the page lists them."""
    text = (ROOT / "docs" / "internals.rst").read_text()
    section = text.partition("\nOne message\n")[2].partition("\nThe end\n")[0]
    return [(path, name) for name, path in STEP.findall(section)]


def test_the_functions_on_the_way_of_a_message_are_there() -> None:
    assert len(read_way()) == 10
    for path, name in read_way():
        if path.endswith(".c"):
            assert f" {name}(" in (PACKAGE / path).read_text()
        else:
            module = importlib.import_module("geventws." + path.removesuffix(".py").replace("/", "."))
            assert callable(operator.attrgetter(name)(module))


@pytest.mark.skipif(not (HAVE_C and HAVE_EPOLL), reason="the page has the way through epoll and the C core")
def test_a_message_passes_them_in_this_order(join: Any) -> None:
    way: list[tuple[str, str]] = []
    watching = False

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        """Note what is called on the way, and the calls that were left when the message came, as they return."""
        path = frame.f_code.co_filename
        step = path.removeprefix(f"{PACKAGE}/"), frame.f_code.co_name
        if watching and event in ("call", "return") and path.startswith(f"{PACKAGE}/") and step not in way:
            way.append(step)

    client = join(lambda ws: [ws.send(message) for message in ws])
    for _ in range(3):
        client.send(frames.frame(frames.BINARY, b"hello"))
        client.expect(b"\x82\x05hello")
    gevent.sleep(0.1)
    before = greenlet.settrace(lambda _event, _greenlets: sys.setprofile(watch))
    try:
        gevent.sleep(0)
        watching = True
        client.send(frames.frame(frames.BINARY, b"hello"))
        client.expect(b"\x82\x05hello")
        watching = False
    finally:
        greenlet.settrace(before)
        sys.setprofile(None)
    listed = [(path, name.rpartition(".")[2]) for path, name in read_way() if path.endswith(".py")]
    assert way[: len(listed)] == listed
