"""Judge our echo servers and our client with the Autobahn test suite, the conformance suite of the field.

    make conformance                                         every target: some 25 minutes
    make conformance ARGS='c-tcp-callbacks --cases 7.*'      one target, some cases

A server is the C core or the Python one, over TCP or over TLS, with a handler that blocks or with callbacks; a client
is the C core or the Python one. The suite is installed when it is first needed (suite.py). Which cases are run, and
what must come out, stands in expectations.txt. The verdicts, and what happened in each case, go to
reports/conformance/NAME.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import suite
import trustme

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REPORTS = ROOT / "reports" / "conformance"
SUITE = ROOT / "build" / "autobahn"
SERVERS = ["c-tcp", "c-tls", "python-tcp", "python-tls", "c-tcp-callbacks", "python-tcp-callbacks"]
CLIENTS = ["c-client", "python-client"]
STALL = 120  # seconds without a new case after which the suite is stuck; the slowest case takes a fraction
START = 20  # seconds for the suite to listen

Verdicts = dict[str, dict[str, Any]]


class Cases(NamedTuple):
    """Cases to run, as patterns, and how many these are."""

    patterns: list[str]
    count: int


class Expectations(NamedTuple):
    """What expectations.txt says: the cases of each target ("*" has those of all), what else is allowed, and why."""

    cases: dict[str, Cases]
    allowed: dict[str, tuple[str, str]]

    @classmethod
    def read(cls, path: pathlib.Path) -> Expectations:
        found = cls({}, {})
        for line in path.read_text().splitlines():
            match line.split(None, 2):
                case [] | ["#", *_]:
                    pass
                case ["run", target, rest]:
                    sections, _, count = rest.rpartition(":")
                    patterns = [f"{number}.*" for part in sections.split() for number in span(part)]
                    found.cases[target] = Cases(patterns, int(count))
                case [name, verdict, reason]:
                    found.allowed[name] = verdict, reason
                case _:
                    raise ValueError(f"{path.name}: {line!r}")
        return found


def span(part: str) -> range:
    """The section numbers of `7` or of `1-7`."""
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


def empty_folder(name: str) -> pathlib.Path:
    """The folder of one target's report, empty."""
    shutil.rmtree(REPORTS / name, ignore_errors=True)
    (REPORTS / name).mkdir(parents=True)
    return REPORTS / name


def fuzzer(role: str, outdir: pathlib.Path, cases: list[str], **spec: Any) -> list[str]:
    """The command of the suite's client or server."""
    path = outdir / "spec.json"
    path.write_text(json.dumps({"outdir": str(outdir), "cases": cases, "exclude-cases": [],
                                "exclude-agent-cases": {}, **spec}))  # fmt: skip
    return [str(suite.install(SUITE)), str(HERE / "fuzz.py"), role, str(path)]


def environment(core: str) -> dict[str, str]:
    """The environment of a target of ours."""
    return os.environ | {"GEVENTWS_PURE_PYTHON": "1" if core == "python" else "0", "PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def started(command: list[str], log: pathlib.Path, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process, ended afterwards; what it prints is to be read, what it logs goes to a file."""
    with (
        log.open("w") as sink,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True, env=env) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


def judge_server(name: str, outdir: pathlib.Path, cases: list[str], certificate: list[str]) -> Verdicts:
    """Let the suite loose on one server, and return its verdict on every case."""
    core, transport, style = (*name.split("-"), "blocking")[:3]
    command = [sys.executable, str(HERE / "server.py"), style, *(certificate if transport == "tls" else [])]
    with started(command, outdir / "server.log", environment(core)) as process:
        assert process.stdout is not None
        url = f"{'wss' if transport == 'tls' else 'ws'}://127.0.0.1:{int(process.stdout.readline())}"
        run_to_end(fuzzer("client", outdir, cases, servers=[{"agent": name, "url": url}]), outdir / "suite.log")
    return read_verdicts(name, outdir)


def judge_client(name: str, outdir: pathlib.Path, cases: list[str], _certificate: list[str]) -> Verdicts:
    """Have our client talk to the suite's server, and return its verdict on every case."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    quiet = os.environ | {"PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
    with started(fuzzer("server", outdir, cases, url=url), outdir / "suite.log", quiet) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "ready\n":
                break
        env = environment(name.partition("-")[0]) | {"AB_URL": url, "AB_AGENT": name}
        run_to_end([sys.executable, str(HERE / "client.py")], outdir / "client.log", env, process)
    return read_verdicts(name, outdir)


def read_verdicts(name: str, outdir: pathlib.Path) -> Verdicts:
    index = outdir / "index.json"
    return json.loads(index.read_text()).get(name, {}) if index.exists() else {}


def run_to_end(
    command: list[str], log: pathlib.Path, env: dict[str, str] | None = None, other: subprocess.Popen[str] | None = None
) -> None:
    """Run a command until it is through, or until neither it nor the `other` has printed anything for too long."""
    env = env or os.environ | {"PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as sink, subprocess.Popen(
        command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, env=env
    ) as process:
        seen: object = None
        since = time.monotonic()
        while process.poll() is None and time.monotonic() - since < STALL:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
            now = log.stat().st_size
            if now != seen:
                seen, since = now, time.monotonic()
        process.terminate()


def complaints(verdicts: Verdicts, expected: Expectations) -> Iterator[str]:
    """One line for every case that came out as it must not."""
    for case in sorted(verdicts, key=lambda case: [int(part) for part in case.split(".")]):
        found = verdicts[case]["behavior"], verdicts[case]["behaviorClose"]
        allowed, reason = expected.allowed.get(case, ("OK", ""))
        if not set(found) <= {"OK", allowed}:
            yield f"{case}: {found[0]}, closing {found[1]}, code {verdicts[case]['remoteCloseCode']}"
        elif set(found) != {"OK"}:
            print(f"    {case}: {allowed}, as expected: {reason}")


def report(name: str, verdicts: Verdicts, expected: Expectations, count: int, took: float) -> bool:
    """Say how one target did; True where all is as it must be."""
    bad = list(complaints(verdicts, expected))
    if len(verdicts) < count:
        bad.append(f"only {len(verdicts)} of {count} cases ran, see {REPORTS / name / 'suite.log'}")
    for line in bad:
        print(f"    {line}")
    print(f"{name}: {len(verdicts)} cases in {took:.0f} s, {'FAIL' if bad else 'pass'}", flush=True)
    return not bad


def write_certificate(folder: pathlib.Path) -> list[str]:
    """A certificate for 127.0.0.1 and its key, as the server's arguments; the suite verifies neither."""
    folder.mkdir(parents=True, exist_ok=True)
    issued = trustme.CA().issue_cert("127.0.0.1")
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return [str(chain), str(key)]


def main() -> int:
    targets = SERVERS + CLIENTS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(targets)}; none: all")
    parser.add_argument("--cases", action="append", help="a pattern like 7.*; may be repeated")
    options = parser.parse_args()
    expected = Expectations.read(HERE / "expectations.txt")
    certificate = write_certificate(REPORTS / "tls")
    suite.install(SUITE)
    good = True
    for name in options.targets or targets:
        patterns, count = expected.cases.get(name, expected.cases["*"])
        judge = judge_client if name in CLIENTS else judge_server
        started_at = time.monotonic()
        verdicts = judge(name, empty_folder(name), options.cases or patterns, certificate)
        good &= report(name, verdicts, expected, 1 if options.cases else count, time.monotonic() - started_at)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
