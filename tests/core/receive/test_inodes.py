"""inodes.py: sockets that a forked child holds, and the files that have their numbers later."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from geventws._core.receive.inodes import Inodes


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def note(*sockets: socket.socket) -> Inodes:
    inodes = Inodes(os.fstat)
    inodes.note([None, *(SimpleNamespace(fd=one.fileno()) for one in sockets)])
    return inodes


def test_a_socket_that_was_noted_is_no_stranger(pair):
    inodes = note(pair[0])
    assert not inodes.is_stranger(pair[0].fileno())
    assert not inodes.is_stranger(pair[1].fileno())  # nobody has noted that one


def test_a_number_that_is_free_or_another_files_is_a_strangers(pair, tmp_path):
    inodes = note(*pair)
    near, far = (one.detach() for one in pair)
    with open(tmp_path / "file", "w") as file, socket.socket() as other:
        os.close(near)
        assert inodes.is_stranger(near) and not inodes.is_stranger(far)
        os.dup2(file.fileno(), near)
        os.dup2(other.fileno(), far)
        assert inodes.is_stranger(near) and inodes.is_stranger(far)
    os.close(near)
    os.close(far)


def test_what_is_dropped_is_not_known(pair):
    inodes, fd = note(pair[0]), pair[0].fileno()
    assert inodes.drop(fd) and not inodes.drop(fd)
    pair[0].close()
    assert not inodes.is_stranger(fd)


def test_a_socket_that_is_closed_when_the_fork_comes_is_not_noted(pair):
    inodes, closed = Inodes(os.fstat), SimpleNamespace(fd=pair[0].fileno())
    pair[0].close()
    assert inodes.note([closed]) == {}
