"""The fuzzing client or server of the Autobahn test suite, on Python 3: run by the interpreter that suite.py installs.

    fuzz.py client SPEC.json      against spec["servers"]
    fuzz.py server SPEC.json      at spec["url"], until it is ended; a client at /updateReports has the verdicts written

To a case, octets are text: each character stands for one, as in Python 2's `str`. They become bytes on the way to the
protocol, and text again on the way back. The verdicts go to index.json in spec["outdir"].
"""

import binascii
import functools
import json
import pathlib
import sys
import types

from autobahn.websocket import utf8validator


def to_bytes(octets):
    return octets.encode("latin-1") if isinstance(octets, str) else octets


def to_text(octets):
    return octets if octets is None or isinstance(octets, str) else bytes(octets).decode("latin-1")


def to_hex(octets):
    return binascii.hexlify(to_bytes(octets)).decode()


class Validator(utf8validator.Utf8Validator):
    """The suite's own validator, for octets that are text."""

    def validate(self, octets):
        return super().validate(to_bytes(octets))


def import_suite():
    """Import the suite, with a binascii and a validator that take text."""
    sys.modules["binascii"] = types.SimpleNamespace(**{**vars(binascii), "b2a_hex": to_hex, "hexlify": to_hex})
    kept, utf8validator.Utf8Validator = utf8validator.Utf8Validator, Validator
    try:
        from autobahntestsuite import fuzzing
        from autobahntestsuite.case.case import Case
    finally:
        sys.modules["binascii"] = binascii
        utf8validator.Utf8Validator = kept
    return fuzzing, Case


def sending(name):
    """A method that sends: whatever of its arguments is text is sent as the octets that it stands for."""

    def send(self, *arguments, **options):
        method = getattr(super(fuzzing.FuzzingProtocol, self), name)
        return method(*map(to_bytes, arguments), **{key: to_bytes(value) for key, value in options.items()})

    return send


def receive_message(self, message, binary):
    """A compressed case compares bytes."""
    if self.runCase:
        self.runCase.onMessage(message if hasattr(self.runCase, "TESTDATA") else to_text(message), binary)


def receive_pong(self, payload):
    if self.runCase:
        self.runCase.onPong(to_text(payload))


def shorten(octets, maxlen=64, replace=False):
    """Octets as a report shows them."""
    return repr(to_text(octets)[:maxlen])


def log_frame(self, header, payload):
    """Count a frame that came, and note it in the case's log."""
    self.rxFrameStats[header.opcode] = self.rxFrameStats.get(header.opcode, 0) + 1
    if self.createWirelog:
        octets = b"".join(payload)
        self.wirelog.append(("received", header.opcode, header.fin, header.rsv, len(octets), shorten(octets)))


def write_verdicts(factory):
    pathlib.Path(factory.outdir).mkdir(parents=True, exist_ok=True)
    factory.createMasterReportJSON(factory.outdir)
    for agent, results in factory.agents.items():
        lines = {case: {name: result[name] for name in DETAILS} for case, result in results.items()}
        path = pathlib.Path(factory.outdir, f"{agent}.json")
        path.write_text(json.dumps(lines, indent=1, default=repr))


DETAILS = ("behavior", "behaviorClose", "expected", "received", "result", "resultClose", "localCloseCode",
           "remoteCloseCode", "remoteCloseReason", "wasClean", "wasNotCleanReason", "wirelog")  # fmt: skip

fuzzing, Case = import_suite()
from twisted.internet import reactor  # noqa: E402  the suite's own comes first

SENDERS = ("Frame", "Message", "Ping", "Pong", "CloseFrame", "MessageFrame", "MessageFrameData")
for name in (f"send{what}" for what in SENDERS):
    setattr(fuzzing.FuzzingProtocol, name, sending(name))
fuzzing.FuzzingProtocol.onMessage = receive_message
fuzzing.FuzzingProtocol.onPong = receive_pong
fuzzing.FuzzingProtocol.logRxFrame = log_frame
fuzzing.FuzzingFactory.createReports = write_verdicts
fuzzing.asciiLogData = fuzzing.binLogData = shorten
fuzzing.listenWS = functools.partial(fuzzing.listenWS, interface="127.0.0.1")
Case.compare = lambda self, one, other: one == other  # pickles of what is equal may differ


def main():
    role, path = sys.argv[1:]
    spec = json.loads(pathlib.Path(path).read_text())
    if role == "server":
        fuzzing.startServer(spec, None)
        print("ready", flush=True)
    else:
        fuzzing.startClient(spec)
    reactor.run()


if __name__ == "__main__":
    main()
