"""Judge our echo servers with the Autobahn test suite, the conformance suite of the field.

    make conformance                                         every server, every section: more than an hour
    make conformance ARGS='c-tcp-callbacks --cases 7.*'      one server, some cases

A server is the C core or the Python one, over TCP or over TLS, with a handler that blocks or with callbacks.
`wstest` is taken from the PATH, or else out of its usual container image. What must come out stands in
expectations.txt; the suite's own report of every case, with its wire log, goes to reports/conformance/NAME/index.html.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import trustme

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REPORTS = ROOT / "reports" / "conformance"
IMAGE = "crossbario/autobahn-testsuite"
SERVERS = ["c-tcp", "c-tls", "python-tcp", "python-tls", "c-tcp-callbacks", "python-tcp-callbacks"]
STALL = 120  # seconds without a new case after which the suite is stuck; the slowest case takes a fraction

Verdicts = dict[str, dict[str, Any]]


class Expectations(NamedTuple):
    """What expectations.txt says: the cases to run, how many those are, what else is allowed and why."""

    patterns: list[str]
    count: int
    allowed: dict[str, tuple[str, str]]

    @classmethod
    def read(cls, path: pathlib.Path) -> Expectations:
        patterns: list[str] = []
        count = 0
        allowed: dict[str, tuple[str, str]] = {}
        for line in path.read_text().splitlines():
            match line.split(None, 2):
                case [] | ["#", *_]:
                    pass
                case ["sections", *ranges]:
                    patterns = [f"{n}.*" for part in " ".join(ranges).split() for n in span(part)]
                case ["cases", number]:
                    count = int(number)
                case [name, verdict, reason]:
                    allowed[name] = verdict, reason
                case _:
                    raise ValueError(f"{path.name}: {line!r}")
        return cls(patterns, count, allowed)


def span(part: str) -> range:
    """The section numbers of `7` or of `1-7`."""
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


def suite(outdir: pathlib.Path) -> tuple[list[str], str]:
    """The command that runs wstest on outdir/spec.json, and the name that it knows outdir by."""
    arguments = ["-m", "fuzzingclient", "-s"]
    if path := os.environ.get("WSTEST") or shutil.which("wstest"):
        return [path, *arguments, str(outdir / "spec.json")], str(outdir)
    if docker := shutil.which("docker"):
        run = [docker, "run", "--rm", "--network=host", f"--volume={outdir}:/report", IMAGE]
        return [*run, "wstest", *arguments, "/report/spec.json"], "/report"
    sys.exit(f"neither wstest nor docker (for {IMAGE}) is on the PATH")


def empty_folder(name: str) -> pathlib.Path:
    """The folder of one server's report, empty."""
    shutil.rmtree(REPORTS / name, ignore_errors=True)
    (REPORTS / name).mkdir(parents=True)
    return REPORTS / name


@contextlib.contextmanager
def server(name: str, outdir: pathlib.Path, certificate: list[str]) -> Iterator[str]:
    """Start the server that `name` stands for, and give its URL; what it logs goes to `outdir`."""
    core, transport, style = (*name.split("-"), "blocking")[:3]
    environment = os.environ | {"GEVENTWS_PURE_PYTHON": "1" if core == "python" else "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(HERE / "server.py"), style, *(certificate if transport == "tls" else [])]
    with (
        (outdir / "server.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield f"{'wss' if transport == 'tls' else 'ws'}://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def judge(name: str, outdir: pathlib.Path, url: str, cases: list[str]) -> Verdicts:
    """Let the suite loose on one server, and return its verdict on every case."""
    command, inside = suite(outdir)
    spec = {"outdir": inside, "servers": [{"agent": name, "url": url}],
            "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}}
    (outdir / "spec.json").write_text(json.dumps(spec))
    run_to_end(command, outdir / "wstest.log")
    index = outdir / "index.json"
    return json.loads(index.read_text())[name] if index.exists() else {}


def run_to_end(command: list[str], log: pathlib.Path) -> None:
    """Run the suite until it is through, or until its log has not grown for too long."""
    environment = os.environ | {"PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as sink, subprocess.Popen(
        command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, env=environment
    ) as process:
        size, since = 0, time.monotonic()
        while process.poll() is None and time.monotonic() - since < STALL:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
            if log.stat().st_size != size:
                size, since = log.stat().st_size, time.monotonic()
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
    """Say how one server did; True where all is as it must be."""
    bad = list(complaints(verdicts, expected))
    if len(verdicts) < count:
        bad.append(f"only {len(verdicts)} of {count} cases ran, see {REPORTS / name / 'wstest.log'}")
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=f"of {', '.join(SERVERS)}; none: all")
    parser.add_argument("--cases", action="append", help="a pattern like 7.*; may be repeated")
    options = parser.parse_args()
    expected = Expectations.read(HERE / "expectations.txt")
    certificate = write_certificate(REPORTS / "tls")
    good = True
    for name in options.servers or SERVERS:
        outdir = empty_folder(name)
        with server(name, outdir, certificate) as url:
            started = time.monotonic()
            verdicts = judge(name, outdir, url, options.cases or expected.patterns)
        good &= report(name, verdicts, expected, 1 if options.cases else expected.count, time.monotonic() - started)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
