"""Servers as users start them, each in a process of its own, with what it writes."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import threading
from typing import Any

import geventws

TESTS = pathlib.Path(__file__).parents[2]
ROOT = pathlib.Path(geventws.__file__).parent.parent
PYWSGI = [sys.executable, "-m", "kit.apps.hosted"]
GUNICORN = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--access-logfile", "-"]
GUNICORN += ["--graceful-timeout", "1", "kit.apps.hosted:application"]
COMMANDS = {
    "pywsgi": PYWSGI,
    "pywsgi, patched": [*PYWSGI, "--patched"],
    "gunicorn -k gevent": [*GUNICORN, "-k", "gevent"],
    "gunicorn -k gevent_pywsgi": [*GUNICORN, "-k", "gevent_pywsgi"],
    "gunicorn -k geventws.gunicorn.Worker": [*GUNICORN, "-k", "geventws.gunicorn.Worker"],
}
PATIENT = {"GUNICORN_CMD_ARGS": "--keep-alive 30"}
"""gunicorn hangs up on a client whose request is not there after 2 seconds: too few for us on a busy machine."""

START = 30.0
"""Seconds for a server to listen, on a busy machine."""

END = 40.0
"""Seconds for it to end: gunicorn gives a worker that was told before it could hear it as long as it is told to."""


class Host:
    """A server's process.

    Args:
        command: how it is started.
        tls: paths of the certificate and of its key, or nothing.
        client: a gevent SSLContext for its clients, or None.
        more: what it has in its environment besides ours.
    """

    def __init__(
        self, command: list[str], tls: tuple[str, ...] = (), client: Any = None, more: dict[str, str] | None = None
    ) -> None:
        if tls:
            command = command + (["--certfile", tls[0], "--keyfile", tls[1]] if "gunicorn" in command else list(tls))
        path = os.pathsep.join([str(TESTS), str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **PATIENT, **(more or {})}
        self.command = command
        self.tls = client
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()

    def wait_for(self, pattern: str, timeout: float = START) -> re.Match[str]:
        """Block this thread until a line matches."""

        def search() -> re.Match[str] | None:
            return next((found for line in self.lines if (found := re.search(pattern, line))), None)

        with self._more:
            found = self._more.wait_for(search, timeout)
        assert found, f"no {pattern!r} in\n" + "\n".join(self.lines)
        return found

    def listening(self) -> Host:
        """Block until it listens."""
        self.port = int(self.wait_for(r"Listening at: https?://127\.0\.0\.1:(\d+)", START)[1])
        return self

    def statuses(self, path: str) -> list[str]:
        """Return the statuses that the access log has for a path."""
        found = (re.search(rf'"GET {re.escape(path)} HTTP/1.1" (\S+)', line) for line in self.lines)
        return [match[1] for match in found if match]

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    def terminate(self) -> None:
        """End it as a supervisor does."""
        self._process.terminate()

    def wait(self) -> int:
        """Block until it has ended, and return its exit status."""
        try:
            return self._process.wait(END)
        finally:
            self._process.kill()
            self._process.wait()
            self._reading.join(5)
            assert self._process.stdout is not None
            self._process.stdout.close()
