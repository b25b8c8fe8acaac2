"""The options of `connect`: each has a default and a description, and those of a connection are the endpoints' own."""

from __future__ import annotations

import inspect
import re

import geventws
from geventws.client.options import CONNECT_DEFAULTS, ConnectOptions, OpeningOptions, WholeOptions
from geventws.endpoints.endpoint import ENDPOINT_DEFAULTS
from geventws.engine.options import DEFAULTS


def test_each_has_a_default_and_a_description() -> None:
    own = set(ConnectOptions.__annotations__) - set(DEFAULTS)
    assert set(CONNECT_DEFAULTS) == own | set(DEFAULTS)
    described = re.findall(r"^    (\w+):", OpeningOptions.__doc__ or "", re.MULTILINE)
    assert described == [name for name in CONNECT_DEFAULTS if name in own]


def test_only_streaming_decides_on_the_type() -> None:
    assert set(ConnectOptions.__annotations__) - set(WholeOptions.__annotations__) == {"streaming"}


def test_those_of_a_connection_are_the_same_on_both_sides() -> None:
    for name, value in DEFAULTS.items():
        assert CONNECT_DEFAULTS.get(name) == ENDPOINT_DEFAULTS.get(name) == value


def test_reconnect_takes_all_of_them() -> None:
    taken = inspect.signature(geventws.reconnect).parameters
    assert set(inspect.signature(geventws.connect).parameters) <= set(taken)
