"""Real proxies in front of servers of this machine: nginx and HAProxy, each ended by its own process id."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
{user}
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""




@contextlib.contextmanager
def running(command: list[str], **options) -> Iterator[subprocess.Popen[str]]:
    """Run a program for as long as the block lasts."""
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


def wait_until_up(process: subprocess.Popen[str], port: int) -> None:
    """Block until it listens."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.02)
    raise RuntimeError(f"{process.args} does not listen; it ended with {process.poll()}")


def find_program(name: str) -> str:
    """Return a program's path; Debian keeps these where only root's PATH looks."""
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    assert program, f"no {name} (apt-get install {name})"
    return program


@contextlib.contextmanager
def nginx(folder: pathlib.Path, site: str, port: int) -> Iterator[None]:
    """Run nginx with the configuration of a site, which listens on the port."""
    user = (
        "user root;" if os.getuid() == 0 else ""
    )  # otherwise root's workers are nobody's, and cannot enter the folder
    (folder / "main.conf").write_text(NGINX.format(folder=folder, user=user))
    (folder / "site.conf").write_text(site)
    with running([find_program("nginx"), "-p", str(folder), "-c", str(folder / "main.conf")]) as process:
        wait_until_up(process, port)
        yield


@contextlib.contextmanager
def haproxy(folder: pathlib.Path, site: str, port: int) -> Iterator[None]:
    """Run HAProxy with a configuration, which listens on the port."""
    (folder / "haproxy.cfg").write_text(site)
    with running([find_program("haproxy"), "-db", "-q", "-f", str(folder / "haproxy.cfg")]) as process:
        wait_until_up(process, port)
        yield
