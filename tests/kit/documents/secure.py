"""Runs blocks of the documents that need certificates."""

from __future__ import annotations

import os
import signal
import ssl
import time

import trustme
from kit.clients import make_thread_context
from kit.documents.blocks import Block, program
from kit.documents.talks import ANSWER, Place, echoes, knows_robots


def tls_program(block: Block) -> None:
    """Run a block beside the certificate that it names."""
    make_certificate()
    program(lambda place: echoes(place, tls=make_thread_context("authority.pem")))(block)


def tls_program_for_robots(block: Block) -> None:
    """Run a block beside the certificates that it names."""
    authority = make_certificate()
    authority.cert_pem.write_to_path("clients.pem")
    for name in ("robot.example", "human.example"):
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(name)
    program(knows_robots)(block)


def make_certificate() -> trustme.CA:
    """Write a certificate for this host, and return the authority."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path("privkey.pem")
    issued.cert_chain_pems[0].write_to_path("fullchain.pem")
    authority.cert_pem.write_to_path("authority.pem")
    return authority


def renews(block: Block) -> None:
    """Run a block, and give it another certificate while it serves."""
    make_certificate()
    program(_renews)(block)


def _renews(place: Place) -> None:
    first = make_thread_context("authority.pem")
    with place.connect(tls=first) as client:
        make_certificate()
        os.kill(place.host.pid, signal.SIGHUP)
        second, deadline = make_thread_context("authority.pem"), time.monotonic() + 5
        while not _trusts(place, second):
            assert time.monotonic() < deadline
        assert not _trusts(place, first)
        client.send("still here")
        assert client.recv(timeout=ANSWER) == "still here"


def _trusts(place: Place, context: ssl.SSLContext) -> bool:
    try:
        echoes(place, tls=context)
    except ssl.SSLCertVerificationError:
        return False
    return True
