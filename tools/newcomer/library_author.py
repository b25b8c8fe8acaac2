"""A library author's first hour: types, help, the source distribution, each Python, and the lowest versions stated.

    python tools/newcomer/library_author.py dist [PYTHON ...]

dist/ has what `make wheel` builds. Pythons 3.10 to 3.14 are looked for on PATH and in pyenv's folder; others may be
named.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from steps import Environment, Journal, Wrong, find

SMOKE = Path(__file__).with_name("smoke.py").read_text()
MINORS = range(10, 15)
STRICT = ["-W", "error", "-W", "ignore::DeprecationWarning:gevent"]
LIBRARY = '''\
from __future__ import annotations

from collections.abc import Iterator

from geventws import PubSub, WebSocket, WebSocketWSGI, connect

pubsub = PubSub()


def lines(ws: WebSocket) -> Iterator[str]:
    for message in ws:
        if isinstance(message, str):
            yield message


@WebSocketWSGI(subprotocols=["lines"], ping_interval=10)
def application(ws: WebSocket) -> None:
    pubsub.subscribe(ws, "lines")
    for line in lines(ws):
        ws.send(line.upper())


def ask(uri: str, question: str) -> str | bytes | None:
    with connect(uri, subprotocols=["lines"]) as ws:
        ws.send(question)
        return ws.wait(timeout=5)
'''
HELP = '''\
import geventws, pydoc
silent = []
for name in geventws.__all__:
    text = pydoc.plain(pydoc.render_doc(getattr(geventws, name)))
    if not (getattr(geventws, name).__doc__ or "").strip():
        silent.append(name)
print(f"help() of {len(geventws.__all__)} names; without a docstring: {', '.join(silent) or 'none'}")
'''


WORKER = "import gunicorn, geventws.gunicorn; print(f'gunicorn {gunicorn.__version__}: the worker can be imported')"


def smoke(environment: Environment, *words: str) -> str:
    """Run smoke.py, and return its verdict."""
    return environment.python(*words, "-c", SMOKE).splitlines()[0]


def check_types(journal: Journal, folder: Path, wheel: Path) -> None:
    """Check a library that is typed strictly, and the package's own types."""
    with journal.step("pip install 'geventws[flask,metrics,redis]' mypy pyright"):
        environment = Environment(folder / "typed")
        environment.pip(f"geventws[flask,metrics,redis] @ {wheel.as_uri()}", "mypy", "pyright")
        (environment.work / "library.py").write_text(LIBRARY)
    for words in (["mypy", "--strict", "library.py"], ["pyright", "library.py"]):
        with journal.step(" ".join(words)) as seen:
            seen.append(environment.python("-m", *words).splitlines()[-1])
    with journal.step("pyright --verifytypes geventws") as seen:
        said = environment.python("-m", "pyright", "--ignoreexternal", "--verifytypes", "geventws")
        seen += [line.strip() for line in said.splitlines() if "completeness" in line]
    with journal.step("help() of every public name") as seen:
        seen.append(environment.python("-c", HELP))
        if not seen[0].endswith("none"):
            raise Wrong("somebody has to read the source")


def find_pythons(more: list[str]) -> dict[str, str]:
    """Return what runs, by its version."""
    found: dict[str, str] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in MINORS:
        names = [shutil.which(f"python3.{minor}"), *map(str, sorted(pyenv.glob(f"3.{minor}.*/bin/python")))]
        for python in filter(None, [*names, *more]):
            asked = [python, "-c", "import ensurepip, venv, sys; print('%d.%d' % sys.version_info[:2])"]
            done = subprocess.run(asked, capture_output=True, text=True)
            if not done.returncode and done.stdout.strip() == f"3.{minor}":
                found.setdefault(done.stdout.strip(), python)
    return found


def lowest() -> list[str]:
    """Return the lowest versions that pyproject.toml states, of what geventws runs on."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    stated = dict(re.findall(r'"(gevent|cffi|gunicorn)(?:\[gevent\])?>=([\d.]+)"', text))
    return [f"{name}=={version}.*" for name, version in sorted(stated.items())]


def check_pythons(journal: Journal, folder: Path, wheel: Path, pythons: dict[str, str]) -> None:
    """Run what has to work on each Python, with all warnings as errors."""
    for minor in MINORS:
        version = f"3.{minor}"
        if version not in pythons:
            with journal.step(f"Python {version}") as seen:
                seen.append("is not on this machine")
            continue
        with journal.step(f"Python {version}: pip install geventws, and all warnings are errors") as seen:
            environment = Environment(folder / version, pythons[version])
            environment.pip(wheel)
            seen.append(smoke(environment, *STRICT))


def main(dist: str, *more: str) -> None:
    """Take all steps."""
    journal = Journal("A library author")
    wheel, source = find(dist, "*-manylinux*.whl"), find(dist, "*.tar.gz")
    pythons = find_pythons(list(more))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check_types(journal, folder, wheel)
        with journal.step("pip install the source distribution") as seen:
            environment = Environment(folder / "source")
            environment.pip(source)
            seen.append(smoke(environment))
        with journal.step("pip install the wheel without the C core") as seen:
            environment = Environment(folder / "pure")
            environment.pip(find(dist, "*-none-any.whl"))
            seen.append(smoke(environment))
        check_pythons(journal, folder, wheel, pythons)
        oldest = min(pythons, key=lambda version: int(version[2:]))
        with journal.step(f"Python {oldest} with {' '.join(lowest())}") as seen:
            environment = Environment(folder / "lowest", pythons[oldest])
            environment.pip(wheel, *lowest())
            seen.append(smoke(environment))
            seen.append(environment.python("-c", WORKER))
    journal.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
