"""Installs the Autobahn test suite, which is written in Python 2, for Python 3: `install` returns its interpreter.

It gets an environment of its own, as it needs old releases of what it stands on. There fissix, which goes on with
lib2to3, rewrites its syntax, and a few lines are replaced. Where text has to become bytes, fuzz.py sees to it when it
runs.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

BASE = [
    "setuptools==80.9.0",  # the last with pkg_resources
    "wheel==0.45.1",
    "Twisted==24.11.0",
    "zope.interface<9",
    "six==1.17.0",
    "jinja2>=3,<4",
    "wsaccel==0.6.7",
    "pyOpenSSL>=24,<26",
    "service_identity>=24",
    "fissix==24.4.24",
]
SUITE = ["txaio==2.1.0", "autobahn==0.10.9", "autobahntestsuite==25.10.1"]  # what they require is Python 2's

FIXES = ["basestring", "dict", "except", "filter", "has_key", "import", "long", "map", "ne", "next", "numliterals",
         "print", "raise", "unicode", "xrange", "zip"]  # fmt: skip
LATIN_1 = "# -*- coding: latin-1 -*-\n"  # a literal's octets are its characters then, as they were in Python 2


def install(folder: pathlib.Path, python: str = sys.executable) -> pathlib.Path:
    """Return the interpreter of an environment that has the suite, made at first: that takes some 20 s."""
    interpreter, done = folder / "bin" / "python", folder / ".ported"
    if done.exists():
        return interpreter
    _run(python, "-m", "venv", "--clear", str(folder))
    pip = [str(interpreter), "-m", "pip", "install", "--quiet"]
    _run(*pip, *BASE)
    _run(*pip, "--no-deps", "--no-build-isolation", "--no-compile", *SUITE)
    (site,) = folder.glob("lib/python3*/site-packages")
    _port(interpreter, site)
    done.touch()
    return interpreter


def _run(*command: str) -> None:
    environment = os.environ | {"PYTHONWARNINGS": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}")


def _port(interpreter: pathlib.Path, site: pathlib.Path) -> None:
    suite = site / "autobahntestsuite"
    cases = sorted((suite / "case").glob("*.py"))
    (suite / "__init__.py").write_text("from ._version import __version__\n\nversion = __version__\n")  # no WAMP
    options = [word for fix in FIXES for word in ("-f", fix)]
    sources = [*(suite / name for name in ("fuzzing.py", "caseset.py", "report.py", "util.py")), *cases]
    _run(str(interpreter), "-m", "fissix", "--no-diffs", "--write", "--nobackups", *options, *map(str, sources))
    for path in cases:
        _mend_case(path)
    _mend(suite / "case" / "__init__.py", r"^from \.case9_9_1 import \*$", "")  # is not run, and asks for an old zope
    _mend(suite / "case" / "case10_1_1.py", r"len\(self\.payload\) / ", "len(self.payload) // ")
    _mend(suite / "util.py", r"\bl / 2\b", "l // 2")
    library = site / "autobahn" / "websocket" / "protocol.py"
    _mend(library, r"payload_len / len\(payload\)", "payload_len // len(payload)")


def _mend_case(path: pathlib.Path) -> None:
    data = path.read_bytes()
    text = data.decode("latin-1").replace("(object, Case, )", "(Case, )").replace("(object, Case,)", "(Case,)")
    if not data.isascii():
        text = LATIN_1 + re.sub(r"\A#.*coding.*\n", "", text)
    path.write_bytes(text.encode("latin-1"))


def _mend(path: pathlib.Path, pattern: str, text: str) -> None:
    changed, count = re.subn(pattern, text, path.read_text(), flags=re.MULTILINE)
    if count != 1:
        sys.exit(f"{path} has {count} of {pattern!r}: this is another release than that which is known here")
    path.write_text(changed)
