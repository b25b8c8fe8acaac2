"""What all hosts have in common, and how one is found."""

from __future__ import annotations

import inspect

import pytest

from geventws.hosts import HOSTS, find_host
from geventws.hosts.host import Host, read_target
from geventws.hosts.unknown import UnknownHost

INTERFACE = [name for name in vars(Host) if not name.startswith("_")]


def count_arguments(function):
    return len(inspect.signature(function).parameters)


@pytest.mark.parametrize("host", [*HOSTS, UnknownHost])
def test_a_host_has_all_that_is_asked_of_it(host):
    assert not inspect.isabstract(host)
    for name in INTERFACE:
        asked, given = getattr(Host, name), getattr(host, name)
        assert not inspect.isfunction(asked) or count_arguments(given) == count_arguments(asked), name


@pytest.mark.parametrize("host", HOSTS)
def test_no_host_takes_a_stranger_for_its_own(host):
    assert not host.recognises(None) and not host.recognises(object())


def test_a_request_of_no_host_is_unknown():
    assert isinstance(find_host({}, print), UnknownHost)


@pytest.mark.parametrize(
    ("environ", "target"),
    [({}, None), ({"RAW_URI": "/a?"}, "/a?"), ({"RAW_URI": "", "REQUEST_URI": "/b"}, "/b")],
)
def test_the_target_stands_in_the_environ_of_some(environ, target):
    assert read_target(environ) == target
