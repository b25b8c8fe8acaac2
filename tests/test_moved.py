"""The paths of 1.0: each gives the module that took its place, and says so."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings

import pytest

from geventws._moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_warns_and_gives_the_module(old: str) -> None:
    sys.modules.pop(f"geventws.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"geventws.{old} is geventws.{MOVED[old]} now"):
        module = importlib.import_module(f"geventws.{old}")
    assert module is importlib.import_module(f"geventws.{MOVED[old]}")
    assert module.__name__ == module.__spec__.name == f"geventws.{MOVED[old]}"


def test_names_of_an_old_path_can_be_imported() -> None:
    code = "from geventws.permessage_deflate import PerMessageDeflate; from geventws import uri; print(uri.__name__)"
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "geventws.http.uri\n"
    assert done.stderr.count("<string>:1: DeprecationWarning") == 2


def test_a_name_of_1_0_warns_and_gives_the_class_that_took_its_place() -> None:
    endpoint = importlib.import_module("geventws.endpoints.endpoint")
    with pytest.warns(DeprecationWarning, match="Route is geventws.endpoints.endpoint.Endpoint now"):
        assert endpoint.Route is endpoint.Endpoint
    with pytest.raises(AttributeError, match="nothing"):
        _ = endpoint.nothing


def test_other_missing_modules_are_missing() -> None:
    with warnings.catch_warnings(), pytest.raises(ModuleNotFoundError, match="geventws.nothing"):
        warnings.simplefilter("error")
        importlib.import_module("geventws.nothing")


NAMES = ["protocol:WebSocketProtocol", "handshake:accept", "handshake:check_response", "handshake:Extension",
         "handshake:GUID", "server:WebSocketServer", "client:connect", "frames:Frame", "exceptions:WebSocketError",
         "compat.eventlet:WebSocketWSGI"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_became_a_package_has_its_names(name: str) -> None:
    module, _, attribute = name.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hasattr(importlib.import_module(f"geventws.{module}"), attribute)
